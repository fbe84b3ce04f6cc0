"""What became of one galaxy, and of all of them together."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.amortised.adapt import Mixture
from starling.amortised.importance import Weighted
from starling.amortised.psis import Smoothed, resample, smooth
from starling.amortised.settings import AmortisedSettings
from starling.forward import ForwardModel
from starling.inference.convergence import convergence
from starling.inference.fit import Draws
from starling.inference.observation import Observation
from starling.inference.rounds import Kept
from starling.inference.target import remoteness

_MOST_DIVERGING = 0.01
_PIECE = 16_384  # points at once


class Convergence(NamedTuple):
    """Of the chains of one galaxy, per free parameter."""

    rhat: Float[np.ndarray, " free"]
    ess_bulk: Float[np.ndarray, " free"]
    ess_tail: Float[np.ndarray, " free"]
    divergences: int  # among all transitions, also those that are not kept


class Outcome(NamedTuple):
    """One galaxy after some stage: the draws that are kept, and the proposal that they are from.

    ``stage``: the one that it passed, 0 where none. ``chains`` where its draws are of chains.
    """

    theta: Float[np.ndarray, "chain draw param"]
    log_density: Float[np.ndarray, "chain draw"]
    smoothed: Smoothed  # without the weights
    n_drawn: int
    stage: int
    mixture: Mixture
    chains: Convergence | None = None
    sampler: dict[str, Any] | None = None  # per draw and step size, where there are chains
    every: int = 1  # transitions that each draw stands for
    gave_up: str = ""  # why the chains ended before their time, empty where they did not


class Amortised(NamedTuple):
    """Equal-weight draws in the layout of chains, and how each galaxy came out.

    Where a galaxy's draws are of chains (``by_chains``), R-hat and ESS are theirs; else R-hat is NaN, and the ESS is
    that of the weights, which is one number for all parameters.
    """

    draws: Draws
    k_hat: Float[np.ndarray, " galaxy"]
    ess: Float[np.ndarray, " galaxy"]  # of the weights
    n_drawn: Int[np.ndarray, " galaxy"]  # in the last stage of weights that it went through
    stage: Int[np.ndarray, " galaxy"]  # the one that passed, from 1; 0 where none did
    by_chains: np.ndarray
    rhat: Float[np.ndarray, "galaxy free"]
    ess_bulk: Float[np.ndarray, "galaxy free"]
    ess_tail: Float[np.ndarray, "galaxy free"]
    divergences: Int[np.ndarray, " galaxy"]  # of all transitions, also those that are not kept
    # of the likelihood without its constants, as ``log_likelihood``; without an error (NaN) where k-hat is too large
    log_evidence: Float[np.ndarray, " galaxy"]
    log_evidence_error: Float[np.ndarray, " galaxy"]
    passed: np.ndarray
    # per galaxy how it differs from all that the flow was trained on, empty where it does not
    outside: tuple[str, ...]


def judge_weights(
    drawn: Weighted,
    mixture: Mixture,
    number: int,
    settings: AmortisedSettings,
    generator: np.random.Generator,
) -> Outcome:
    """Does a galaxy pass stage ``number`` by its weights? Of the draws only those that are kept remain."""
    drawn = jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(drawn.made)], drawn)
    smoothed = smooth(np.asarray(drawn.log_weight, float))
    passed = smoothed.k_hat < settings.k_hat and smoothed.ess >= settings.ess
    shape = settings.n_chains, settings.n_draws
    kept = resample(generator, smoothed.weights, settings.n_chains * settings.n_draws)
    theta, log_density = (
        np.asarray(values)[kept].reshape(*shape, *values.shape[1:])
        for values in (drawn.theta, drawn.log_density)
    )
    bare = smoothed._replace(weights=np.zeros(0))
    return Outcome(theta, log_density, bare, drawn.log_weight.size, number if passed else 0, mixture)


def judge_chains(
    before: Outcome,
    kept: Kept,
    every: int,
    step_size: float,
    free: np.ndarray,
    number: int,
    settings: AmortisedSettings,
) -> Outcome:
    """Does a galaxy pass by its chains? ``every``: transitions that each of their draws stands for."""
    rhat, bulk, tail = convergence(kept.theta[..., free])
    divergences = int(kept.diverging.sum())
    smallest = np.nanmin(np.concatenate([bulk, tail, [np.inf]]))
    mixed = bool(np.all(rhat < settings.rhat))  # not with NaN
    few = divergences < _MOST_DIVERGING * every * kept.diverging.size
    sampler = {name: getattr(kept, name) for name in ("acceptance_rate", "diverging", "n_steps")}
    return before._replace(
        theta=kept.theta,
        log_density=kept.log_density,
        stage=number if mixed and smallest >= settings.ess and few else 0,
        chains=Convergence(rhat, bulk, tail, divergences),
        sampler=sampler | {"step_size": step_size},
        every=every,
    )


def gather(
    outcomes: list[Outcome],
    observations: Observation,
    forward_model: ForwardModel,
    settings: AmortisedSettings,
    problems: list[str],
    outside: tuple[str, ...],
) -> Amortised:
    """All galaxies in one."""
    n, shape = len(outcomes), (settings.n_chains, settings.n_draws)
    free = forward_model.space.free(observations.fixed)
    drawn = np.asarray([one.n_drawn for one in outcomes])
    ess = np.asarray([one.smoothed.ess for one in outcomes])
    by_chains = np.asarray([one.chains is not None for one in outcomes])

    def per_draw(name: str, otherwise: np.ndarray) -> np.ndarray:
        blank = np.broadcast_to(otherwise[:, None, None], (n, *shape)).copy()
        for row, one in enumerate(outcomes):
            if one.sampler is not None:
                blank[row] = one.sampler[name]
        return blank

    def per_parameter(name: str, otherwise: np.ndarray) -> np.ndarray:
        rows = [
            np.full(len(free), otherwise[row]) if one.chains is None else getattr(one.chains, name)
            for row, one in enumerate(outcomes)
        ]
        return np.stack(rows)

    theta = np.stack([one.theta for one in outcomes])
    draws = Draws(
        names=forward_model.space.names,
        free=free,
        theta=theta,
        remoteness=np.asarray(_remoteness(forward_model, jnp.asarray(theta))),
        extra={},
        log_density=np.stack([one.log_density for one in outcomes]),
        acceptance_rate=per_draw("acceptance_rate", ess / drawn),
        diverging=per_draw("diverging", np.zeros(n, int)),
        n_steps=per_draw("n_steps", np.zeros(n, int)),
        step_size=np.asarray(
            [np.nan if one.sampler is None else float(one.sampler["step_size"]) for one in outcomes]
        ),
        n_modes=np.ones(n, int),
        problems=tuple(problems),
        every=tuple(one.every for one in outcomes),
        gave_up=tuple(one.gave_up for one in outcomes),
    )
    stage = np.asarray([one.stage for one in outcomes])
    log_mean = np.asarray([one.smoothed.log_mean for one in outcomes])
    trusted = np.asarray([one.smoothed.k_hat < settings.k_hat for one in outcomes])
    return Amortised(
        draws=draws,
        k_hat=np.asarray([one.smoothed.k_hat for one in outcomes]),
        ess=ess,
        n_drawn=drawn,
        stage=stage,
        by_chains=by_chains,
        divergences=np.asarray([0 if one.chains is None else one.chains.divergences for one in outcomes]),
        rhat=per_parameter("rhat", np.full(n, np.nan)),
        ess_bulk=per_parameter("ess_bulk", ess),
        ess_tail=per_parameter("ess_tail", ess),
        log_evidence=np.where(np.isfinite(log_mean), log_mean, np.nan),
        # of the logarithm of a mean of weights: their relative scatter over the root of their number
        log_evidence_error=np.where(
            trusted, np.sqrt(np.maximum(1.0 / np.maximum(ess, 1e-9) - 1.0 / drawn, 0.0)), np.nan
        ),
        passed=stage > 0,
        outside=outside,
    )


@jax.jit
def _remoteness(forward_model: ForwardModel, theta: Float[Array, "galaxy chain draw param"]) -> Array:
    flat = theta.reshape(-1, theta.shape[-1])
    return jax.lax.map(
        lambda at: remoteness(forward_model, at), flat, batch_size=min(_PIECE, len(flat))
    ).reshape(theta.shape[:-1])
