"""Posteriors of many galaxies from a flow: draws, exact weights, more draws for those that need them, then chains.

The flow is only ever a proposal. A galaxy passes by its weights alone (PSIS k-hat and effective sample size) or, where
those do not do, by chains in the coordinates of the proposal that was adapted to it (R-hat and effective sample size).
One that passes neither has stage 0: it is for another engine.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.amortised import latent
from starling.amortised.adapt import Adaptation, Mixture, both, of_flow
from starling.amortised.checks import check_fits
from starling.amortised.features import Seen
from starling.amortised.importance import (
    Galaxy,
    Weighted,
    galaxy_of,
    places,
    seen_of,
    weighted_draws,
)
from starling.amortised.outcome import Amortised, Outcome, gather, judge_chains, judge_weights
from starling.amortised.proposal import Proposal
from starling.amortised.reliability import Reliability
from starling.amortised.settings import AmortisedSettings, LatentChains
from starling.amortised.struck import spread
from starling.amortised.trained import Trained
from starling.forward import ForwardModel
from starling.inference.compiled import over_galaxies
from starling.inference.fit import Progress
from starling.inference.noise import Noise, prepare_all
from starling.inference.observation import Observation, check, take


class _Task(NamedTuple):
    """What all stages need."""

    key: Array
    observations: Observation
    noise: Noise
    forward_model: ForwardModel
    proposal: Proposal
    settings: AmortisedSettings


class _Batch(NamedTuple):
    """Some galaxies at once, filled up to a fixed number; ``rows`` are those that count."""

    rows: list[int]
    keys: Array
    galaxies: Galaxy
    mixtures: Mixture


def amortised_posterior(
    key: Array,
    observations: Observation,
    forward_model: ForwardModel,
    proposal: Proposal,
    trained: Trained,
    settings: AmortisedSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Amortised:
    """Posterior draws for a batch of galaxies; see ``fit`` for the observations.

    The draws of a galaxy depend on ``key`` and its position in the input, not on its neighbours. ValueError
    where the proposal is for another space or for other fixed parameters. A galaxy that cannot be fitted gets draws
    and fails.
    """
    settings = settings or AmortisedSettings()
    problems = check(observations, forward_model)
    check_fits(proposal, observations, forward_model)
    n = observations.flux.shape[0]
    noise = prepare_all(
        observations, forward_model, settings.error_floor, settings.model_error, settings.errors
    )
    task = _Task(key, observations, noise, forward_model, proposal, settings)
    outcomes: dict[int, Outcome] = {}
    n_stages = len(settings.stages) + (settings.chains is not None)
    for number in range(1, n_stages + 1):
        waiting = [row for row in range(n) if row not in outcomes or not outcomes[row].stage]
        if not waiting:
            break
        words = (
            f"up to {settings.stages[number - 1].total} draws" if number <= len(settings.stages) else "chains"
        )
        for done, (row, outcome) in enumerate(_stage(task, waiting, number, outcomes), start=1):
            outcomes[row] = outcome
            if progress is not None:
                share = (number - 1 + done / len(waiting)) / n_stages
                progress(Progress(share, n - len(waiting), n, words))
    if progress is not None:
        progress(Progress(1.0, n, n, "done"))
    ordered = [outcomes[row] for row in range(n)]
    outside = _outside(observations, noise, forward_model, proposal, trained)
    return gather(ordered, observations, forward_model, settings, problems, outside)


def _stage(
    task: _Task, rows: list[int], number: int, before: dict[int, Outcome]
) -> Iterator[tuple[int, Outcome]]:
    """Stage ``number`` for each of these galaxies, in batches of one size; ``before`` is what they were so far."""
    settings, n = task.settings, len(task.observations.flux)
    # the same shapes however many galaxies wait: nothing compiles twice
    devices = min(jax.device_count(), n)
    weighted = number <= len(settings.stages)
    # the draws of one galaxy fill a core, a transition of its chains does not
    size = devices if weighted else -(-min(settings.batch_size, n) // devices) * devices
    for first in range(0, len(rows), size):
        batch = _batch(task, rows[first : first + size], size, number, before)
        yield from (
            _weights(task, batch, number, devices)
            if weighted
            else _chains(task, batch, number, before, devices)
        )


def _batch(task: _Task, rows: list[int], size: int, number: int, before: dict[int, Outcome]) -> _Batch:
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
    return _Batch(rows, keys, galaxies, mixtures)


def _weights(task: _Task, batch: _Batch, number: int, devices: int) -> Iterator[tuple[int, Outcome]]:
    """Draws and their weights."""
    settings = task.settings
    stage = settings.stages[number - 1]
    plan = Adaptation(stage.rounds, stage.draws, settings.worth)
    # numbers and not part of the plan: nothing compiles anew for another limit
    until = Reliability(
        jnp.asarray(min(settings.calm, settings.k_hat)), jnp.asarray(settings.surplus * settings.ess)
    )
    rest = batch.galaxies, task.proposal, task.forward_model
    found = _draw(_apart(batch.keys, 1), until, batch.mixtures, *rest, plan=plan, devices=devices)
    whole, mixtures = jax.device_get(found)
    for i, row in enumerate(batch.rows):
        drawn, mixture = jax.tree.map(lambda leaf, i=i: leaf[i], (whole, mixtures))
        seed = [*np.asarray(jax.random.key_data(batch.keys[i])).ravel().tolist()]
        yield row, judge_weights(drawn, mixture, number, settings, np.random.default_rng(seed))


def _chains(
    task: _Task, batch: _Batch, number: int, before: dict[int, Outcome], devices: int
) -> Iterator[tuple[int, Outcome]]:
    """latent.Chains from what the weighted draws left."""
    settings, space = task.settings, task.forward_model.space
    assert settings.chains is not None
    plan, rest = settings.chains, (batch.mixtures, batch.galaxies, task.proposal, task.forward_model)
    static: dict[str, Any] = {"plan": plan, "devices": devices}
    chains = _begin_chains(batch.keys, *rest, n_chains=settings.n_chains, **static)
    pieces = []
    n_draws = settings.n_draws * plan.thin
    for first in range(0, plan.n_warmup + n_draws, plan.chunk):
        # the metric is estimated anew after a third and after two thirds of the warm-up
        if first < plan.n_warmup and first // plan.chunk in {
            plan.n_warmup * k // (3 * plan.chunk) for k in (1, 2)
        }:
            chains = _update_metric(chains, **static)
        chains, drawn = _advance_chains(
            batch.keys, chains, jnp.asarray(first), jnp.asarray(first < plan.n_warmup), *rest, **static
        )
        if first >= plan.n_warmup:
            pieces.append(jax.device_get(drawn))
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=2)[:, :, :n_draws], *pieces)
    steps = np.exp(np.asarray(chains.step_size.log_step_size_avg))
    free = np.asarray([space.index(name) for name in space.free(task.observations.fixed)])
    for i, row in enumerate(batch.rows):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], whole)
        yield row, judge_chains(before[row], own, float(steps[i]), free, number, settings)


def _apart(keys: Array, number: int) -> Array:
    """Keys of their own for a purpose."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


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


@partial(jax.jit, static_argnames=("plan", "devices"))
def _draw(
    keys: Array,
    until: Reliability,
    mixtures: Mixture,
    galaxies: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
    *,
    plan: Adaptation,
    devices: int,
) -> tuple[Weighted, Mixture]:
    """Draws of a batch of galaxies; one after the other on every device, since a galaxy's draws fill a core."""

    def one(galaxy: tuple[Array, Mixture, Galaxy]) -> tuple[Weighted, Mixture]:
        key, mixture, about = galaxy
        return weighted_draws(key, mixture, about, proposal, forward_model, plan, until)

    return over_galaxies(lambda *each: jax.lax.map(one, each), devices, keys, mixtures, galaxies)


@partial(jax.jit, static_argnames=("n_chains", "plan", "devices"))
def _begin_chains(
    keys: Array,
    mixtures: Mixture,
    galaxies: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
    *,
    n_chains: int,
    plan: LatentChains,
    devices: int,
) -> latent.Chains:
    """latent.Chains of a batch of galaxies at their starts."""

    def one(key: Array, mixture: Mixture, about: Galaxy) -> latent.Chains:
        return latent.begin(
            jax.random.fold_in(key, 0), n_chains, plan, both(mixture), about, proposal, forward_model
        )

    return over_galaxies(jax.vmap(one), devices, keys, mixtures, galaxies)


@partial(jax.jit, static_argnames=("plan", "devices"))
def _advance_chains(
    keys: Array,
    chains: latent.Chains,
    first: Array,
    adapt: Array,
    mixtures: Mixture,
    galaxies: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
    *,
    plan: LatentChains,
    devices: int,
) -> tuple[latent.Chains, latent.LatentDraws]:
    """The next transitions, all galaxies side by side: those of one galaxy do not fill a core."""

    iterations = first + jnp.arange(plan.chunk)

    def one(
        key: Array, chains: latent.Chains, mixture: Mixture, about: Galaxy
    ) -> tuple[latent.Chains, latent.LatentDraws]:
        own = jax.random.fold_in(key, 1)
        return latent.advance(
            own, chains, iterations, adapt, plan, both(mixture), about, proposal, forward_model
        )

    return over_galaxies(jax.vmap(one), devices, keys, chains, mixtures, galaxies)


@partial(jax.jit, static_argnames=("plan", "devices"))
def _update_metric(chains: latent.Chains, *, plan: LatentChains, devices: int) -> latent.Chains:
    return over_galaxies(jax.vmap(lambda one: latent.update_metric(one, plan)), devices, chains)


def _outside(
    observations: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    proposal: Proposal,
    trained: Trained,
) -> tuple[str, ...]:
    columns = jnp.asarray(places(forward_model.bands, proposal.bands))
    seen = _seen(observations, noise, columns, proposal)
    unknown = tuple(band for band in forward_model.bands if band not in proposal.bands)
    return trained.outside(seen, proposal.coordinates, unknown)


@jax.jit
def _seen(observations: Observation, noise: Noise, columns: Array, proposal: Proposal) -> Seen:
    """Galaxies in the bands of the flow."""

    def told(observation: Observation, noise: Noise) -> Seen:
        return spread(seen_of(observation, noise, proposal.coordinates), columns, len(proposal.bands))

    return jax.vmap(told)(observations, noise)
