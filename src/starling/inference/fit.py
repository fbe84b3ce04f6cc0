"""Posterior draws for many galaxies: batches of them through compiled initialisation, warm-up and sampling."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.forward import ForwardModel, Part, parts_of
from starling.inference import compiled
from starling.inference.density import Model
from starling.inference.likelihood import galaxy_model
from starling.inference.noise import prepare_all
from starling.inference.observation import Observation, check, take
from starling.inference.settings import SamplerSettings
from starling.inference.target import check_model

# what a batch costs beyond its galaxies, in galaxies: small matrix products are slow
_BATCH_OVERHEAD = 8


class Progress(NamedTuple):
    """Where a fit is: ``fraction`` of all its transitions, and what it is doing."""

    fraction: float
    galaxies_done: int
    galaxies: int
    stage: str


class Draws(NamedTuple):
    """Posterior draws; numpy arrays [galaxy, chain, draw, ...]."""

    names: tuple[str, ...]  # all parameters of the space, the last axis of ``theta``
    free: tuple[str, ...]  # those that were sampled
    theta: Float[np.ndarray, "galaxy chain draw param"]
    remoteness: np.ndarray  # above 1 outside what the forward model was made for; NaN where it does not know
    extra: dict[str, np.ndarray]  # latent sites of the model beyond the space's
    log_density: np.ndarray
    acceptance_rate: np.ndarray
    diverging: np.ndarray
    n_steps: np.ndarray  # leapfrog steps, that is gradients
    step_size: Float[np.ndarray, " galaxy"]
    n_modes: np.ndarray  # modes of comparable mass that the starts found
    problems: tuple[str, ...]  # per galaxy what is wrong with its data, empty where nothing is


def fit(
    key: Array,
    observations: Observation,
    forward_model: ForwardModel,
    *,
    settings: SamplerSettings | None = None,
    model: Model = galaxy_model,
    progress: Callable[[Progress], None] | None = None,
    numbers: Sequence[int] | Int[np.ndarray, " galaxy"] | None = None,
) -> Draws:
    """Posterior draws for a batch of galaxies, maggies in, one leading galaxy axis.

    ``model`` is any NumPyro model of one galaxy with the signature of ``galaxy_model`` and its sites (call it inside
    yours); it gets ``noise``, the errors prepared once, if it takes that. Galaxies run in batches of
    ``settings.batch_size``, shared out over all JAX devices; the last one is padded, so that nothing compiles twice.
    Where the forward model is cheaper for some galaxies apart (``parts_of``), a batch holds such as go together. The
    draws of a galaxy depend on ``key`` and its position in the input (or its number, where ``numbers`` are given), not
    on its neighbours. A galaxy that cannot be fitted gets draws and a flag (see ``diagnose``), never an exception.
    """
    settings = settings or SamplerSettings()
    problems = check(observations, forward_model)
    check_model(model, settings.model_error, settings.errors)
    n = observations.flux.shape[0]
    devices = min(jax.device_count(), n)
    batches, size = _batches(parts_of(forward_model, observations.fixed, n), settings.batch_size, devices)
    own = np.arange(n) if numbers is None else np.asarray(numbers)
    pieces: list[_Batch] = []
    begun = 0
    for number, (rows, part_model) in enumerate(batches):
        index = np.append(rows, np.full(size - len(rows), rows[0]))
        batch = take(observations, index)
        steps = _run(key, jnp.asarray(own[index]), batch, part_model, model, settings, devices)
        for done, total, stage, result in steps:
            if progress is not None:
                progress(Progress((number + done / total) / len(batches), begun, n, stage))
            if result is not None:
                pieces.append(jax.tree.map(lambda leaf, rows=rows: leaf[: len(rows)], result))
        begun += len(rows)
    if progress is not None:
        progress(Progress(1.0, n, n, "done"))
    in_order = np.argsort(np.concatenate([rows for rows, _ in batches]))
    whole: _Batch = jax.tree.map(lambda *leaves: np.concatenate(leaves)[in_order], *pieces)
    return Draws(
        names=forward_model.space.names,
        free=forward_model.space.free(observations.fixed),
        **whole._asdict(),
        problems=tuple(problems),
    )


def _batches(parts: Sequence[Part], most: int, devices: int) -> tuple[list[Part], int]:
    """The parts cut into batches, and the size that all of them are padded to, so that nothing compiles twice.

    One part fills batches of ``most``. For several the size is halved while that computes less in all.
    """
    counts = np.asarray([len(part.rows) for part in parts])
    size = -(-min(most, int(counts.max())) // devices) * devices
    halves = [size]
    while len(parts) > 1 and halves[-1] % (2 * devices) == 0:
        halves.append(halves[-1] // 2)
    size = min(halves, key=lambda s: int(np.sum(-(-counts // s)) * (s + _BATCH_OVERHEAD)))
    cut = [
        Part(part.rows[first : first + size], part.model)
        for part in parts
        for first in range(0, len(part.rows), size)
    ]
    return cut, size


def _metric_updates(settings: SamplerSettings) -> set[int]:
    """Transitions before which the metric is estimated anew: a sixth, a third and two thirds of the warm-up."""
    pieces = settings.n_warmup // settings.chunk
    return {pieces * sixths // 6 * settings.chunk for sixths in (1, 2, 4)}


class _Batch(NamedTuple):
    theta: np.ndarray
    remoteness: np.ndarray
    extra: dict[str, np.ndarray]
    log_density: np.ndarray
    acceptance_rate: np.ndarray
    diverging: np.ndarray
    n_steps: np.ndarray
    step_size: np.ndarray
    n_modes: np.ndarray


def _run(
    key: Array,
    index: Array,
    observations: Observation,
    forward_model: ForwardModel,
    model: Model,
    settings: SamplerSettings,
    devices: int,
) -> Iterator[tuple[int, int, str, _Batch | None]]:
    """One batch, yielding (transitions done, of all, stage, result) after every compiled call."""
    total = settings.n_warmup + settings.n_draws
    key_start, key_chain = jax.random.split(key)
    static: dict[str, Any] = {
        "model": model,
        "static": compiled.Static(
            settings.kernel,
            settings.n_chains,
            settings.chunk,
            settings.target_accept,
            settings.max_doublings,
            settings.n_descents,
            settings.descent_steps,
            settings.error_floor,
            devices,
        ),
    }
    noise = prepare_all(
        observations, forward_model, settings.error_floor, settings.model_error, settings.errors
    )
    yield 0, total, "initialising", None
    chains, n_modes = compiled.begin(key_start, index, observations, noise, forward_model, **static)
    jax.block_until_ready(chains)
    pieces = []
    for first in range(0, total, settings.chunk):
        warming = first < settings.n_warmup
        yield first, total, "warm-up" if warming else "sampling", None
        if first and first in _metric_updates(settings):
            chains = compiled.update_metric(chains, static["static"])
        chains, record = compiled.advance(
            key_chain,
            index,
            observations,
            noise,
            forward_model,
            chains,
            jnp.asarray(first),
            jnp.asarray(settings.mean_steps, jnp.float32),
            jnp.asarray(warming),
            **static,
        )
        jax.block_until_ready(record)
        if not warming:
            sites = compiled.sites_of(record.position, observations, noise, forward_model, **static)
            pieces.append(jax.tree.map(np.asarray, (record, *sites)))
    record, theta, remote, extra = jax.tree.map(
        lambda *leaves: np.moveaxis(np.concatenate(leaves, axis=1), 1, 2), *pieces
    )
    yield (
        total,
        total,
        "sampling",
        _Batch(
            theta,
            remote,
            extra,
            record.log_density,
            record.acceptance_rate,
            record.diverging,
            record.n_steps,
            np.exp(np.asarray(chains.step_size.log_step_size_avg)),
            np.asarray(n_modes),
        ),
    )
