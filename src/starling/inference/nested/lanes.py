"""dynesty's pool interface over compiled batches: what it would map over processes is computed in one call."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from starling.inference.nested.slices import Moved

Values = Callable[[np.ndarray], np.ndarray]  # [point, dim] of the unit cube -> log likelihoods
Move = Callable[[Any, np.ndarray, np.ndarray, float], Moved]  # key, starts, axes, threshold


class Lanes(NamedTuple):
    """A pool as dynesty knows it: its ``size`` is the length of the queue of new points, ``map`` fills it."""

    size: int
    map: Callable[[Any, Iterable[Any]], list[Any]]


def make_lanes(values: Values, move: Move, size: int) -> Lanes:
    """A pool that makes ``size`` new points at once; ``values`` and ``move`` are called with that many, always."""
    from dynesty.internal_samplers import RSliceSampler, UnitCubeSampler
    from dynesty.utils import LogLikelihood

    def fill(function: Any, arguments: Iterable[Any]) -> list[Any]:
        if function is RSliceSampler.sample:
            return _slices(move, list(arguments))
        if function is UnitCubeSampler.sample:
            return _uniform(values, list(arguments))
        if isinstance(function, LogLikelihood):
            return _evaluate(values, np.asarray(list(arguments)), size)
        return [function(argument) for argument in arguments]

    return Lanes(size, fill)


def _slices(move: Move, arguments: Sequence[Any]) -> list[Any]:
    """What ``RSliceSampler.sample`` returns for each of the arguments."""
    from dynesty.internal_samplers import SamplerReturn

    key = jax.random.wrap_key_data(jnp.asarray(arguments[0].rseed.generate_state(2), jnp.uint32))
    starts = np.stack([argument.u for argument in arguments])
    axes = np.stack([argument.axes * argument.scale for argument in arguments])
    moved = jax.tree.map(np.asarray, move(key, starts, axes, float(arguments[0].loglstar)))
    return [
        SamplerReturn(
            u=moved.u[i].astype(float),
            v=moved.u[i].astype(float),
            logl=float(moved.log_likelihood[i]),
            ncalls=int(moved.calls[i]),
            evaluation_history=[],
            tuning_info={
                "n_expand": int(moved.expansions[i]),
                "n_contract": int(moved.contractions[i]),
                "expansion_warning_set": False,
            },
            proposal_stats={
                "n_expand": int(moved.expansions[i]),
                "n_contract": int(moved.contractions[i]),
            },
        )
        for i in range(len(arguments))
    ]


def _uniform(values: Values, arguments: Sequence[Any]) -> list[Any]:
    """What ``UnitCubeSampler.sample`` returns for each of the arguments: the first uniform point above the contour."""
    from dynesty.internal_samplers import SamplerReturn

    rng = np.random.default_rng(arguments[0].rseed)
    threshold, dim, n = arguments[0].loglstar, arguments[0].kwargs["ndim"], len(arguments)
    u, found, calls = np.empty((n, dim)), np.full(n, -np.inf), np.zeros(n, int)
    missing = np.ones(n, bool)
    while missing.any():
        tried = rng.random((n, dim))
        value = values(tried)
        good = missing & (value > threshold)
        u[good], found[good] = tried[good], value[good]
        calls += missing
        missing &= ~good
    return [
        SamplerReturn(
            u=u[i],
            v=u[i].copy(),
            logl=float(found[i]),
            ncalls=int(calls[i]),
            evaluation_history=[],
            tuning_info=None,
            proposal_stats={"n_proposals": int(calls[i])},
        )
        for i in range(n)
    ]


def _evaluate(values: Values, points: np.ndarray, size: int) -> list[Any]:
    """The outputs of dynesty's likelihood object at points, in batches of one size."""
    from dynesty.utils import LoglOutput

    found = []
    for first in range(0, len(points), size):
        rows = np.minimum(np.arange(first, first + size), len(points) - 1)
        found.append(values(points[rows])[: len(points) - first])
    return [LoglOutput(float(value), False) for value in np.concatenate(found)]
