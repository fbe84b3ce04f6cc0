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

from starling.amortised.importance import Weighted, places, seen_of, spread, weighted_draws
from starling.amortised.proposal import Proposal
from starling.amortised.psis import Smoothed, smooth
from starling.amortised.trained import Trained
from starling.forward import ForwardModel
from starling.inference.compiled import over_galaxies
from starling.inference.fit import Draws, Progress
from starling.inference.noise import ModelError, Noise, check_model_error, prepare_all
from starling.inference.observation import Observation, check, take
from starling.inference.target import remoteness

_PER_CALL = 10_000  # draws of a galaxy that are in memory at once


@dataclass(frozen=True)
class AmortisedSettings:
    """How many draws, and what counts as passed.

    ``stages``: draws in all after each stage; galaxies that do not pass go on to the next one. ``n_chains`` and
    ``n_draws`` are those of the equal-weight draws that are kept. ``batch_size`` galaxies run at once.
    """

    stages: tuple[int, ...] = (10_000, 50_000)
    k_hat: float = 0.7
    ess: float = 400.0
    n_chains: int = 4
    n_draws: int = 500
    batch_size: int = 8
    error_floor: float = 0.05
    model_error: ModelError = "band"

    def __post_init__(self) -> None:
        check_model_error(self.model_error)
        if not self.stages or list(self.stages) != sorted(set(self.stages)) or self.stages[0] < 100:
            raise ValueError(f"stages must ascend from 100 or more, got {self.stages}")
        for name in ("n_chains", "n_draws", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class Amortised(NamedTuple):
    """Equal-weight draws in the layout of chains, and how each galaxy came out."""

    draws: Draws
    k_hat: Float[np.ndarray, " galaxy"]
    ess: Float[np.ndarray, " galaxy"]  # of the weights
    n_drawn: Int[np.ndarray, " galaxy"]
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
    """One galaxy after some stage: all of its draws as long as there may be more, then those that are kept."""

    drawn: Weighted
    smoothed: Smoothed
    n_drawn: int
    stage: int


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
    for stage, total in enumerate(settings.stages, start=1):
        for done, (row, drawn) in enumerate(
            _stage(key, waiting, stage, observations, noise, forward_model, proposal, settings)
        ):
            generator = np.random.default_rng([*np.asarray(jax.random.key_data(key)).ravel().tolist(), row])
            outcomes[row] = _judge(outcomes.get(row), drawn, stage, settings, generator)
            if progress is not None:
                share = (stage - 1 + (done + 1) / len(waiting)) / len(settings.stages)
                progress(Progress(share, n - len(waiting) + done, n, f"{total} draws"))
        waiting = np.asarray([row for row in waiting.tolist() if not outcomes[row].stage], np.int64)
        if not waiting.size:
            break
    if progress is not None:
        progress(Progress(1.0, n, n, "done"))
    ordered = [outcomes[row] for row in range(n)]
    return _result(ordered, observations, noise, forward_model, proposal, trained, settings, problems)


def check_fits(proposal: Proposal, observations: Observation, forward_model: ForwardModel) -> None:
    """ValueError unless a proposal is for these parameters, and the model's flux is linear in the mass."""
    coordinates = proposal.coordinates
    if forward_model.space != coordinates.space:
        raise ValueError(
            f"the flow is for the space {coordinates.space.name!r}, the model has {forward_model.space.name!r}, or "
            "other priors: train one for it with `starling amortise`"
        )
    if set(observations.fixed) != set(coordinates.fixed):
        raise ValueError(
            f"the flow is for galaxies with known {', '.join(coordinates.fixed) or 'nothing'}, these have "
            f"{', '.join(observations.fixed) or 'nothing'} fixed: train one for them with `starling amortise`"
        )
    if not set(forward_model.bands) & set(proposal.bands):
        raise ValueError("the flow knows none of the bands: train one with `starling amortise`")
    if coordinates.has_mass and not _linear_in_mass(forward_model):
        raise ValueError("the flux of the model is not linear in 10**logmass, which a flow takes for granted")


def _linear_in_mass(forward_model: ForwardModel) -> bool:
    space = forward_model.space
    theta = space.sample(jax.random.key(0), (4,))
    index = space.index("logmass")
    low, high = (float(end[index]) for end in space.bounds)
    flux = [np.asarray(_flux(forward_model, theta.at[:, index].set(m))) for m in (low, high)]
    return bool(np.allclose(flux[0] * 10.0 ** (high - low), flux[1], rtol=1e-3))


@jax.jit
def _flux(forward_model: ForwardModel, theta: Array) -> Array:
    return jax.vmap(forward_model)(theta)


def _stage(
    key: Array,
    rows: np.ndarray,
    stage: int,
    observations: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    proposal: Proposal,
    settings: AmortisedSettings,
) -> Iterator[tuple[int, Weighted]]:
    """The new draws of a stage for each of these galaxies, in batches of one size."""
    before = settings.stages[stage - 2] if stage > 1 else 0
    wanted = settings.stages[stage - 1] - before
    devices = min(jax.device_count(), len(rows))
    size = -(-min(settings.batch_size, len(observations.flux)) // devices) * devices
    columns = jnp.asarray(places(forward_model.bands, proposal.bands))
    for first in range(0, len(rows), size):
        mine = rows[first : first + size]
        index = np.append(mine, np.full(size - len(mine), mine[0]))
        batch, batch_noise = take(observations, index), jax.tree.map(lambda leaf, i=index: leaf[i], noise)
        pieces = []
        for piece, start in enumerate(range(0, wanted, _PER_CALL)):
            count = min(_PER_CALL, wanted - start)
            stage_key = jax.random.fold_in(jax.random.fold_in(key, stage), piece)
            arguments = stage_key, jnp.asarray(index), batch, batch_noise, forward_model, proposal, columns
            pieces.append(jax.device_get(_draw(*arguments, n=count, devices=devices)))
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *pieces)
        for i, row in enumerate(mine):
            yield int(row), jax.tree.map(lambda leaf, i=i: leaf[i], whole)


@partial(jax.jit, static_argnames=("n", "devices"))
def _draw(
    key: Array,
    index: Int[Array, " galaxy"],
    observations: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    proposal: Proposal,
    columns: Array,
    *,
    n: int,
    devices: int,
) -> Weighted:
    """Draws of a batch of galaxies; one after the other on every device, since a galaxy's draws fill a core."""

    def one(galaxy: tuple[Array, Observation, Noise]) -> Weighted:
        index, observation, noise = galaxy
        own = jax.random.fold_in(key, index)
        return weighted_draws(own, n, proposal, observation, noise, forward_model, columns)

    return over_galaxies(lambda *galaxies: jax.lax.map(one, galaxies), devices, index, observations, noise)


def _judge(
    before: _Outcome | None,
    drawn: Weighted,
    stage: int,
    settings: AmortisedSettings,
    generator: np.random.Generator,
) -> _Outcome:
    """With the draws of earlier stages: does the galaxy pass? Draws are thinned when there will be no more."""
    if before is not None:
        drawn = jax.tree.map(lambda *leaves: np.concatenate(leaves), before.drawn, drawn)
    smoothed = smooth(np.asarray(drawn.log_weight))
    passed = smoothed.k_hat < settings.k_hat and smoothed.ess >= settings.ess
    n_drawn = drawn.log_weight.size
    if passed or stage == len(settings.stages):
        kept = resample(generator, smoothed.weights, settings.n_chains * settings.n_draws)
        drawn = jax.tree.map(lambda leaf: leaf[kept], drawn)
        smoothed = smoothed._replace(weights=np.zeros(0))
    return _Outcome(drawn, smoothed, n_drawn, stage if passed else 0)


def resample(
    generator: np.random.Generator, weights: Float[np.ndarray, " draw"], n: int
) -> Int[np.ndarray, " kept"]:
    """``n`` draws of equal weight: systematic resampling, in random order."""
    places = (np.arange(n) + generator.uniform()) / n
    chosen = np.searchsorted(np.cumsum(weights), places * (1.0 - 1e-12))
    return generator.permutation(np.minimum(chosen, weights.size - 1))


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
