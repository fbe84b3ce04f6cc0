"""Some galaxies at once, as every stage takes them: keys, what the flow makes of each, and the proposals so far."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.amortised.adapt import Mixture, of_flow
from starling.amortised.importance import Galaxy, galaxy_of, places
from starling.amortised.outcome import Outcome
from starling.amortised.proposal import Proposal
from starling.amortised.settings import AmortisedSettings
from starling.forward import ForwardModel
from starling.inference.noise import Noise
from starling.inference.observation import Observation, take


class Task(NamedTuple):
    """What all stages need."""

    key: Array
    observations: Observation
    sound: np.ndarray  # per galaxy: nothing is wrong with its data
    noise: Noise
    forward_model: ForwardModel
    proposal: Proposal
    settings: AmortisedSettings


class Batch(NamedTuple):
    """Some galaxies at once, filled up to a fixed number; ``rows`` are those that count."""

    rows: list[int]
    keys: Array
    galaxies: Galaxy
    mixtures: Mixture


def make_batch(task: Task, rows: list[int], size: int, number: int, before: dict[int, Outcome]) -> Batch:
    """These galaxies, for stage ``number``; ``before``: what the stages before left of each."""
    index = np.append(rows, np.full(size - len(rows), rows[0]))
    noise = jax.tree.map(lambda leaf: leaf[index], task.noise)
    columns = jnp.asarray(places(task.forward_model.bands, task.proposal.bands))
    spots = jnp.broadcast_to(columns, (size, columns.size))
    galaxies = _galaxies(take(task.observations, index), noise, spots, task.proposal, task.forward_model)
    of_stage = jax.random.fold_in(task.key, number)
    keys = jax.vmap(lambda i: jax.random.fold_in(of_stage, i))(jnp.asarray(index))
    if number == 1:
        mixtures = _first(keys, len(task.proposal.coordinates.free), task.settings.n_components)
    else:
        known = [before[row].mixture for row in index.tolist()]
        mixtures = jax.tree.map(lambda *leaves: jnp.stack(leaves), *known)
    return Batch(rows, keys, galaxies, mixtures)


@jax.jit
def _galaxies(
    observations: Observation, noise: Noise, columns: Array, proposal: Proposal, forward_model: ForwardModel
) -> Galaxy:
    def one(observation: Observation, noise: Noise, columns: Array) -> Galaxy:
        return galaxy_of(observation, noise, columns, proposal, forward_model)

    return jax.vmap(one)(observations, noise, columns)


@partial(jax.jit, static_argnames=("n_free", "n_components"))
def _first(keys: Array, n_free: int, n_components: int) -> Mixture:
    """The proposals before any draw."""
    return jax.vmap(lambda key: of_flow(jax.random.fold_in(key, 0), n_free, n_components))(keys)
