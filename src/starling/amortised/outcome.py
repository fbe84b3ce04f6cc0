"""What became of one galaxy, and of all of them together."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.amortised.adapt import Mixture
from starling.amortised.importance import Weighted
from starling.amortised.latent import LatentDraws
from starling.amortised.psis import Smoothed, resample, smooth
from starling.amortised.settings import AmortisedSettings
from starling.forward import ForwardModel
from starling.inference.convergence import convergence
from starling.inference.fit import Draws
from starling.inference.observation import Observation
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
    drawn: LatentDraws,
    step_size: float,
    free: np.ndarray,
    number: int,
    settings: AmortisedSettings,
) -> Outcome:
    """Does a galaxy pass by its chains? Where it does not, its weighted draws stay if their tail can be trusted."""
    theta = np.asarray(drawn.theta)
    rhat, bulk, tail = convergence(theta[..., free])
    divergences = int(drawn.diverging.sum())
    enough = (
        np.nanmin(np.append(bulk, np.inf)) >= settings.ess
        and np.nanmin(np.append(tail, np.inf)) >= settings.ess
    )
    mixed = bool(np.all(rhat < settings.rhat))  # not with NaN
    passed = mixed and enough and divergences < _MOST_DIVERGING * drawn.diverging.size
    if not passed and before.smoothed.k_hat < settings.k_hat:
        return before
    assert settings.chains is not None
    every = settings.chains.thin
    kept = {
        "acceptance_rate": drawn.acceptance_rate[:, ::every],
        "diverging": drawn.diverging[:, ::every],
        "n_steps": drawn.n_steps[:, ::every],
        "step_size": step_size,
    }
    return before._replace(
        theta=theta[:, ::every],
        log_density=np.asarray(drawn.log_density)[:, ::every],
        stage=number if passed else 0,
        chains=Convergence(rhat, bulk, tail, divergences),
        sampler=kept,
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
        diverging=per_draw("diverging", np.zeros(n, bool)),
        n_steps=per_draw("n_steps", np.zeros(n, int)),
        step_size=np.asarray(
            [np.nan if one.sampler is None else float(one.sampler["step_size"]) for one in outcomes]
        ),
        n_modes=np.ones(n, int),
        problems=tuple(problems),
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
