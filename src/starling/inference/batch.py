"""The transitions of one batch of galaxies: starts, warm-up and draws, by the compiled steps."""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.forward import Part
from starling.inference import compiled
from starling.inference.chains import Chains
from starling.inference.density import Model
from starling.inference.noise import prepare_all
from starling.inference.observation import Observation, take
from starling.inference.rounds import Kept
from starling.inference.settings import SamplerSettings


class Common(NamedTuple):
    """What all batches of a fit share; ``numbers`` are the galaxies' own, which their random numbers come from."""

    key: Array
    observations: Observation
    numbers: np.ndarray
    model: Model
    settings: SamplerSettings
    devices: int
    size: int  # galaxies in a batch, padding counted


class Sampled(NamedTuple):
    """Where ONE galaxy is: its chains, and the draws of a round; numpy arrays."""

    chains: Chains
    n_modes: np.ndarray
    kept: Kept | None


def static_of(settings: SamplerSettings, devices: int) -> compiled.Static:
    """What compiled code depends on."""
    return compiled.Static(
        settings.kernel,
        settings.n_chains,
        settings.chunk,
        settings.target_accept,
        settings.max_doublings,
        settings.n_descents,
        settings.descent_steps,
        settings.error_floor,
        devices,
    )


def sample_batch(
    common: Common, batch: Part, states: Sequence[Sampled | None], before: int, until: int
) -> Generator[tuple[float, str], None, list[Sampled]]:
    """Transitions ``before`` to ``until`` of each chain after the warm-up; the first call begins with that.

    Yields (fraction, stage) after every compiled call, and returns a state for every galaxy.
    """
    settings = common.settings
    index = np.append(batch.rows, np.full(common.size - len(batch.rows), batch.rows[0]))
    observations = take(common.observations, index)
    noise = prepare_all(
        observations, batch.model, settings.error_floor, settings.model_error, settings.errors
    )
    numbers = jnp.asarray(common.numbers[index])
    key_start, key_chain = jax.random.split(common.key)
    static: dict[str, Any] = {"model": common.model, "static": static_of(settings, common.devices)}
    given = numbers, observations, noise, batch.model

    def advance(chains: Chains, first: int, warming: bool) -> Any:
        mean_steps = jnp.asarray(settings.mean_steps, jnp.float32)
        return compiled.advance(
            key_chain, *given, chains, jnp.asarray(first), mean_steps, jnp.asarray(warming), **static
        )

    total = until - before
    if states[0] is None:
        total += settings.n_warmup
        yield 0.0, "initialising"
        chains, n_modes = compiled.begin(key_start, *given, **static)
        jax.block_until_ready(chains)
        for first in range(0, settings.n_warmup, settings.chunk):
            yield first / total, "warm-up"
            if first and first in _metric_updates(settings):
                chains = compiled.update_metric(chains, static["static"])
            chains, _ = advance(chains, first, True)
            jax.block_until_ready(chains)
    else:
        places = np.append(np.arange(len(states)), np.zeros(common.size - len(states), int))
        chosen = [states[place] for place in places]
        chains, n_modes = _together([(one.chains, one.n_modes) for one in chosen if one], common.devices)
    pieces = []
    for first in range(before, until, settings.chunk):
        yield 1.0 - (until - first) / total, "sampling"
        chains, record = advance(chains, settings.n_warmup + first, False)
        jax.block_until_ready(record)
        sites = compiled.sites_of(record.position, *given[1:], **static)
        found = *sites, record.acceptance_rate, record.diverging, record.n_steps
        pieces.append(jax.tree.map(np.asarray, found))
    # [galaxy, draw, chain, ...] to [galaxy, chain, draw, ...]
    kept = Kept(*jax.tree.map(lambda *leaves: np.swapaxes(np.concatenate(leaves, axis=1), 1, 2), *pieces))
    chains, n_modes = jax.tree.map(np.asarray, (chains, n_modes))
    return apart(Sampled(chains, n_modes, kept), len(batch.rows))


def apart(batch: Sampled, n: int) -> list[Sampled]:
    """Each of the first ``n`` galaxies, copied: a view would keep the whole batch, padding and all, in memory."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i].copy(), batch) for i in range(n)]


def _together(states: list[Any], devices: int) -> Any:
    """The states of several galaxies with an axis for them, where compiled code leaves them."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    return compiled.put(stacked, devices)


def _metric_updates(settings: SamplerSettings) -> set[int]:
    """Transitions before which the metric is estimated anew: a sixth, a third and two thirds of the warm-up."""
    pieces = settings.n_warmup // settings.chunk
    return {pieces * sixths // 6 * settings.chunk for sixths in (1, 2, 4)}
