"""Posteriors of many galaxies from a flow: draws, exact weights, more draws for those that need them.

The flow is only ever a proposal. A galaxy passes by its weights alone: PSIS k-hat and effective sample size. One that
does not pass with the draws of the last stage has stage 0: it is for another engine.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.amortised.adapt import Adaptation, Mixture, of_flow
from starling.amortised.checks import check_fits
from starling.amortised.importance import Galaxy, Weighted, adapted, places, seen_of, spread, weighted_draws
from starling.amortised.proposal import Proposal
from starling.amortised.psis import Smoothed, resample, smooth
from starling.amortised.trained import Trained
from starling.forward import ForwardModel
from starling.inference.compiled import over_galaxies
from starling.inference.fit import Draws, Progress
from starling.inference.noise import ModelError, Noise, check_model_error, prepare_all
from starling.inference.observation import Observation, check, take
from starling.inference.target import remoteness

_PER_CALL = 10_000  # draws of a galaxy that are in memory at once


class Stage(NamedTuple):
    """``draws`` from a proposal that first adapts itself for ``rounds`` rounds, from where the stage before left it."""

    draws: int
    rounds: int = 0


@dataclass(frozen=True)
class AmortisedSettings:
    """How many draws, and what counts as passed.

    Galaxies that do not pass a stage go on to the next one. ``n_round`` and ``worth`` are those of the rounds
    (``starling.amortised.adapt``). ``n_chains`` and ``n_draws`` are those of the equal-weight draws that are kept.
    ``batch_size`` galaxies run at once.
    """

    stages: tuple[Stage, ...] = (Stage(8000, 8), Stage(16_000, 8), Stage(50_000, 8))
    n_round: int = 2500
    worth: float = 0.1
    k_hat: float = 0.7
    ess: float = 400.0
    n_chains: int = 4
    n_draws: int = 500
    batch_size: int = 8
    error_floor: float = 0.05
    model_error: ModelError = "band"

    def __post_init__(self) -> None:
        check_model_error(self.model_error)
        if not self.stages or any(stage.draws < 100 or stage.rounds < 0 for stage in self.stages):
            raise ValueError(f"stages must be some, each with 100 draws or more, got {self.stages}")
        if not 0.0 < self.worth < 1.0:
            raise ValueError(f"worth is a share between 0 and 1, got {self.worth}")
        for name in ("n_chains", "n_draws", "batch_size", "n_round"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class Amortised(NamedTuple):
    """Equal-weight draws in the layout of chains, and how each galaxy came out."""

    draws: Draws
    k_hat: Float[np.ndarray, " galaxy"]
    ess: Float[np.ndarray, " galaxy"]  # of the weights
    n_drawn: Int[np.ndarray, " galaxy"]  # in the last stage that it went through
    stage: Int[np.ndarray, " galaxy"]  # the one that passed, from 1; 0 where none did
    log_evidence: Float[
        np.ndarray, " galaxy"
    ]  # of the likelihood without its constants, as ``log_likelihood``
    log_evidence_error: Float[np.ndarray, " galaxy"]
    passed: np.ndarray
    outside: tuple[
        str, ...
    ]  # per galaxy how it differs from all that the flow was trained on, empty where it does not


class _Outcome(NamedTuple):
    """One galaxy after some stage: the draws that are kept, and the proposal that they are from."""

    drawn: Weighted
    smoothed: Smoothed
    n_drawn: int
    stage: int
    mixture: Mixture


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
    noise = prepare_all(observations, forward_model, settings.error_floor, settings.model_error)
    outcomes: dict[int, _Outcome] = {}
    waiting = np.arange(n)
    for number, stage in enumerate(settings.stages, start=1):
        found = _stage(key, waiting, number, outcomes, observations, noise, forward_model, proposal, settings)
        for done, (row, outcome) in enumerate(found, start=1):
            outcomes[row] = outcome
            if progress is not None:
                share = (number - 1 + done / len(waiting)) / len(settings.stages)
                progress(Progress(share, n - len(waiting), n, f"{stage.draws} draws"))
        waiting = np.asarray([row for row in waiting.tolist() if not outcomes[row].stage], np.int64)
        if not waiting.size:
            break
    if progress is not None:
        progress(Progress(1.0, n, n, "done"))
    ordered = [outcomes[row] for row in range(n)]
    return _result(ordered, observations, noise, forward_model, proposal, trained, settings, problems)


def _stage(
    key: Array,
    rows: np.ndarray,
    number: int,
    before: dict[int, _Outcome],
    observations: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    proposal: Proposal,
    settings: AmortisedSettings,
) -> Iterator[tuple[int, _Outcome]]:
    """A stage for each of these galaxies, in batches of one size; ``before`` is what became of them so far."""
    stage = settings.stages[number - 1]
    devices = min(jax.device_count(), len(rows))
    size = -(-min(settings.batch_size, len(observations.flux)) // devices) * devices
    columns = jnp.asarray(places(forward_model.bands, proposal.bands))
    first_of_all = of_flow(len(proposal.coordinates.free))
    plan = Adaptation(stage.rounds, settings.n_round, settings.worth)
    for first in range(0, len(rows), size):
        mine = rows[first : first + size]
        index = np.append(mine, np.full(size - len(mine), mine[0]))
        batch, batch_noise = take(observations, index), jax.tree.map(lambda leaf, i=index: leaf[i], noise)
        galaxies = Galaxy(batch, batch_noise, jnp.broadcast_to(columns, (size, columns.size)))
        known = [before[row].mixture if row in before else first_of_all for row in index.tolist()]
        mixtures = jax.tree.map(lambda *leaves: jnp.stack(leaves), *known)
        rest = galaxies, proposal, forward_model
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, number), i))(jnp.asarray(index))
        if stage.rounds:
            mixtures = _adapt(keys, mixtures, *rest, plan=plan, devices=devices)
        pieces = []
        for piece, start in enumerate(range(0, stage.draws, _PER_CALL), start=1):
            own = jax.vmap(lambda k, piece=piece: jax.random.fold_in(k, piece))(keys)
            count = min(_PER_CALL, stage.draws - start)
            pieces.append(jax.device_get(_draw(own, mixtures, *rest, n=count, devices=devices)))
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *pieces)
        mixtures = jax.device_get(mixtures)
        for i, row in enumerate(mine.tolist()):
            drawn, mixture = jax.tree.map(lambda leaf, i=i: leaf[i], (whole, mixtures))
            seed = [*np.asarray(jax.random.key_data(keys[i])).ravel().tolist()]
            yield row, _judge(drawn, mixture, number, settings, np.random.default_rng(seed))


@partial(jax.jit, static_argnames=("plan", "devices"))
def _adapt(
    keys: Array,
    mixtures: Mixture,
    galaxies: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
    *,
    plan: Adaptation,
    devices: int,
) -> Mixture:
    """The proposals of a batch after some rounds."""

    def one(galaxy: tuple[Array, Mixture, Galaxy]) -> Mixture:
        key, mixture, about = galaxy
        return adapted(key, mixture, about, proposal, forward_model, plan)

    return over_galaxies(lambda *each: jax.lax.map(one, each), devices, keys, mixtures, galaxies)


@partial(jax.jit, static_argnames=("n", "devices"))
def _draw(
    keys: Array,
    mixtures: Mixture,
    galaxies: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
    *,
    n: int,
    devices: int,
) -> Weighted:
    """Draws of a batch of galaxies; one after the other on every device, since a galaxy's draws fill a core."""

    def one(galaxy: tuple[Array, Mixture, Galaxy]) -> Weighted:
        key, mixture, about = galaxy
        return weighted_draws(key, n, mixture, about, proposal, forward_model)

    return over_galaxies(lambda *each: jax.lax.map(one, each), devices, keys, mixtures, galaxies)


def _judge(
    drawn: Weighted,
    mixture: Mixture,
    number: int,
    settings: AmortisedSettings,
    generator: np.random.Generator,
) -> _Outcome:
    """Does the galaxy pass? Of the draws only those that are kept remain."""
    smoothed = smooth(np.asarray(drawn.log_weight, float))
    passed = smoothed.k_hat < settings.k_hat and smoothed.ess >= settings.ess
    kept = resample(generator, smoothed.weights, settings.n_chains * settings.n_draws)
    thinned = jax.tree.map(lambda leaf: leaf[kept], drawn)
    n_drawn = drawn.log_weight.size
    return _Outcome(
        thinned, smoothed._replace(weights=np.zeros(0)), n_drawn, number if passed else 0, mixture
    )


def _result(
    outcomes: list[_Outcome],
    observations: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    proposal: Proposal,
    trained: Trained,
    settings: AmortisedSettings,
    problems: list[str],
) -> Amortised:
    n, shape = len(outcomes), (settings.n_chains, settings.n_draws)

    def gather(name: str) -> np.ndarray:
        values = np.stack([getattr(one.drawn, name) for one in outcomes])
        return values.reshape(n, *shape, *values.shape[2:])

    theta = gather("theta")
    drawn = np.asarray([one.n_drawn for one in outcomes])
    ess = np.asarray([one.smoothed.ess for one in outcomes])
    per_draw: dict[str, Any] = {
        "acceptance_rate": np.broadcast_to((ess / drawn)[:, None, None], (n, *shape)),
        "diverging": np.zeros((n, *shape), bool),
        "n_steps": np.zeros((n, *shape), int),
    }
    draws = Draws(
        names=forward_model.space.names,
        free=forward_model.space.free(observations.fixed),
        theta=theta,
        remoteness=np.asarray(_remoteness(forward_model, jnp.asarray(theta))),
        extra={},
        log_density=gather("log_density"),
        **per_draw,
        step_size=np.full(n, np.nan),
        n_modes=np.ones(n, int),
        problems=tuple(problems),
    )
    stage = np.asarray([one.stage for one in outcomes])
    return Amortised(
        draws=draws,
        k_hat=np.asarray([one.smoothed.k_hat for one in outcomes]),
        ess=ess,
        n_drawn=drawn,
        stage=stage,
        log_evidence=np.asarray([one.smoothed.log_mean for one in outcomes]),
        # of the logarithm of a mean of weights: their relative scatter over the root of their number
        log_evidence_error=np.sqrt(np.maximum(1.0 / np.maximum(ess, 1e-9) - 1.0 / drawn, 0.0)),
        passed=stage > 0,
        outside=_outside(observations, noise, forward_model, proposal, trained),
    )


@jax.jit
def _remoteness(forward_model: ForwardModel, theta: Float[Array, "galaxy chain draw param"]) -> Array:
    flat = theta.reshape(-1, theta.shape[-1])
    return jax.vmap(lambda at: remoteness(forward_model, at))(flat).reshape(theta.shape[:-1])


def _outside(
    observations: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    proposal: Proposal,
    trained: Trained,
) -> tuple[str, ...]:
    columns = jnp.asarray(places(forward_model.bands, proposal.bands))

    def told(observation: Observation, noise: Noise) -> Any:
        return spread(seen_of(observation, noise, proposal.coordinates), columns, len(proposal.bands))

    seen = jax.jit(jax.vmap(told))(observations, noise)
    unknown = tuple(band for band in forward_model.bands if band not in proposal.bands)
    return trained.outside(seen, proposal.coordinates, unknown)
