"""Posteriors of many galaxies from a flow: draws, exact weights, more draws for those that need them, then chains.

The flow is only ever a proposal. A galaxy passes by its weights alone (PSIS k-hat and effective sample size) or, where
those do not do, by chains in the coordinates of the proposal that was adapted to it (R-hat and effective sample size).
One that passes neither has stage 0: it is for another engine.
"""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.amortised.adapt import Adaptation, Mixture
from starling.amortised.batches import Batch, Task, make_batch
from starling.amortised.checks import check_fits
from starling.amortised.features import Seen
from starling.amortised.importance import Galaxy, Weighted, places, seen_of, weighted_draws
from starling.amortised.latent_rounds import by_chains
from starling.amortised.outcome import Amortised, Outcome, gather, judge_weights
from starling.amortised.proposal import Proposal
from starling.amortised.reliability import Reliability
from starling.amortised.settings import AmortisedSettings
from starling.amortised.struck import spread
from starling.amortised.trained import Trained
from starling.forward import ForwardModel
from starling.inference.compiled import over_galaxies
from starling.inference.fit import Progress
from starling.inference.noise import Noise, prepare_all
from starling.inference.observation import Observation, check


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
    sound = np.asarray([not words for words in problems])
    task = Task(key, observations, sound, noise, forward_model, proposal, settings)
    outcomes: dict[int, Outcome] = {}
    n_stages = len(settings.stages) + (settings.chains is not None)
    for number in range(1, n_stages + 1):
        # more draws are no help to a galaxy with something wrong in its data
        waiting = [row for row in range(n) if number == 1 or (sound[row] and not outcomes[row].stage)]
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
    task: Task, rows: list[int], number: int, before: dict[int, Outcome]
) -> Iterator[tuple[int, Outcome]]:
    """Stage ``number`` for each of these galaxies; ``before`` is what they were so far."""
    devices = min(jax.device_count(), len(task.observations.flux))
    if number > len(task.settings.stages):
        yield from by_chains(task, rows, number, before, devices)
        return
    # the draws of one galaxy fill a core
    for first in range(0, len(rows), devices):
        batch = make_batch(task, rows[first : first + devices], devices, number, before)
        yield from _weights(task, batch, number, devices)


def _weights(task: Task, batch: Batch, number: int, devices: int) -> Iterator[tuple[int, Outcome]]:
    """Draws and their weights."""
    settings = task.settings
    stage = settings.stages[number - 1]
    plan = Adaptation(stage.rounds, stage.draws, settings.worth)
    # numbers and not part of the plan: nothing compiles anew for another limit
    until = Reliability(jnp.asarray(settings.k_hat), jnp.asarray(settings.surplus * settings.ess))
    rest = batch.galaxies, task.proposal, task.forward_model
    found = _draw(_apart(batch.keys, 1), until, batch.mixtures, *rest, plan=plan, devices=devices)
    whole, mixtures = jax.device_get(found)
    for i, row in enumerate(batch.rows):
        drawn, mixture = jax.tree.map(lambda leaf, i=i: leaf[i], (whole, mixtures))
        seed = [*np.asarray(jax.random.key_data(batch.keys[i])).ravel().tolist()]
        yield row, judge_weights(drawn, mixture, number, settings, np.random.default_rng(seed))


def _apart(keys: Array, number: int) -> Array:
    """Keys of their own for a purpose."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


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
