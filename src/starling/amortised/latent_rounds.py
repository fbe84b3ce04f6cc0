"""The chains in the flow's coordinates of many galaxies: batches, and rounds for those that have not converged."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.amortised import latent
from starling.amortised.adapt import Mixture, both
from starling.amortised.batches import Batch, Task, make_batch
from starling.amortised.importance import Galaxy
from starling.amortised.outcome import Outcome, judge_chains
from starling.amortised.proposal import Proposal
from starling.amortised.settings import AmortisedSettings, LatentChains
from starling.forward import ForwardModel
from starling.inference.compiled import over_galaxies, put
from starling.inference.hopeless import Standing, why_hopeless
from starling.inference.rounds import Kept, Store, added, handed_out, multiples, with_room


class _Galaxy(NamedTuple):
    """Where ONE galaxy is between rounds; numpy arrays."""

    chains: latent.Chains
    store: Store
    standings: tuple[Standing, ...]


def by_chains(
    task: Task, rows: list[int], number: int, before: dict[int, Outcome], devices: int
) -> Iterator[tuple[int, Outcome]]:
    """Each of these galaxies as its chains leave it, as soon as that is known; ``before`` is what weights made of it.

    As in ``starling.inference.fit`` those that have not converged go on among themselves, while that brings anything.
    """
    settings = task.settings
    assert settings.chains is not None
    most = settings.chains.patience
    # the same shapes however many galaxies wait: nothing compiles twice
    size = -(-min(settings.batch_size, len(task.observations.flux)) // devices) * devices
    free = task.forward_model.space.free(task.observations.fixed)
    columns = np.asarray([task.forward_model.space.index(name) for name in free])
    waiting: dict[int, _Galaxy | None] = dict.fromkeys(rows)
    done = 0
    for multiple in multiples(most):
        rows = list(waiting)
        for first in range(0, len(rows), size):
            some = rows[first : first + size]
            batch = make_batch(task, some, size, number, before)
            galaxies = _advance(batch, task, [waiting[row] for row in some], done, multiple, devices)
            for row, galaxy in zip(some, galaxies, strict=True):
                outcome, standings = _judged(before[row], galaxy, number, columns, settings, multiple == most)
                if standings:
                    room = with_room(galaxy.store, settings.n_draws)
                    waiting[row] = galaxy._replace(store=room, standings=standings)
                else:
                    del waiting[row]
                    yield row, outcome
        done = multiple


def _judged(
    before: Outcome,
    galaxy: _Galaxy,
    number: int,
    columns: np.ndarray,
    settings: AmortisedSettings,
    last: bool,
) -> tuple[Outcome, tuple[Standing, ...]]:
    """What a galaxy would hand out, and how it stood after each round: empty where it gets no further one."""
    assert settings.chains is not None
    store, n_draws = galaxy.store, settings.n_draws
    step = float(np.exp(galaxy.chains.step_size.log_step_size_avg))
    every = store.every(n_draws)
    outcome = judge_chains(before, handed_out(store, n_draws), every, step, columns, number, settings)
    if outcome.stage:
        return outcome, ()
    found = outcome.chains
    assert found is not None
    rhat, ess = np.max(found.rhat), min(np.min(found.ess_bulk), np.min(found.ess_tail)) / settings.ess
    standings = (*galaxy.standings, Standing(every, float(rhat), float(ess)))
    words = "" if last else why_hopeless(standings, settings.chains.patience, n_draws)
    if not last and not words and np.isfinite(rhat):
        return outcome, standings
    # weights whose tail can be trusted are the better draws
    return (before if before.smoothed.k_hat < settings.k_hat else outcome._replace(gave_up=words)), ()


def _advance(
    batch: Batch, task: Task, states: list[_Galaxy | None], done: int, until: int, devices: int
) -> list[_Galaxy]:
    """From ``done`` to ``until`` times ``n_draws`` transitions; the first call begins with the warm-up."""
    settings = task.settings
    assert settings.chains is not None
    plan, rest = settings.chains, (batch.mixtures, batch.galaxies, task.proposal, task.forward_model)
    static: dict[str, Any] = {"plan": plan, "devices": devices}
    known = [state for state in states if state is not None]
    if known:
        padded = [*known, *known[:1] * (len(batch.keys) - len(known))]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[state.chains for state in padded])
        chains = put(stacked, devices)
    else:
        chains = _begin(batch.keys, *rest, n_chains=settings.n_chains, **static)
        for first in range(0, plan.n_warmup, plan.chunk):
            # the metric is estimated anew after a third and after two thirds of the warm-up
            if first // plan.chunk in {plan.n_warmup * k // (3 * plan.chunk) for k in (1, 2)}:
                chains = _update_metric(chains, **static)
            chains, _ = _transitions(
                batch.keys, chains, jnp.asarray(first), jnp.asarray(True), *rest, **static
            )
    pieces = -(-settings.n_draws // plan.chunk)  # of a round; what is beyond its draws is not kept
    rounds: list[list[latent.LatentDraws]] = []
    for piece in range(done * pieces, until * pieces):
        first = plan.n_warmup + piece * plan.chunk
        chains, drawn = _transitions(
            batch.keys, chains, jnp.asarray(first), jnp.asarray(False), *rest, **static
        )
        if piece % pieces == 0:
            rounds.append([])
        rounds[-1].append(jax.device_get(drawn))
    whole = [
        jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=2)[:, :, : settings.n_draws], *some)
        for some in rounds
    ]
    drawn = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=2), *whole)
    chains = jax.device_get(chains)

    def galaxy(i: int, state: _Galaxy | None) -> _Galaxy:
        own, mine = jax.tree.map(lambda leaf: np.array(leaf[i]), (chains, drawn))
        store = added(None if state is None else state.store, _kept(mine))
        return _Galaxy(own, store, () if state is None else state.standings)

    return [galaxy(i, state) for i, state in enumerate(states)]


def _kept(drawn: latent.LatentDraws) -> Kept:
    """Every draw of one galaxy; how remote they are is asked of those alone that are handed out."""
    theta, log_density, rate, diverging, n_steps = map(np.asarray, drawn)
    unknown = np.full(log_density.shape, np.nan)
    return Kept(theta, unknown, {}, log_density, rate, diverging.astype(int), n_steps)


@partial(jax.jit, static_argnames=("n_chains", "plan", "devices"))
def _begin(
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
    """Chains of a batch of galaxies at their starts."""

    def one(key: Array, mixture: Mixture, about: Galaxy) -> latent.Chains:
        return latent.begin(
            jax.random.fold_in(key, 0), n_chains, plan, both(mixture), about, proposal, forward_model
        )

    return over_galaxies(jax.vmap(one), devices, keys, mixtures, galaxies)


@partial(jax.jit, static_argnames=("plan", "devices"))
def _transitions(
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
