"""Have the chains converged? Rank-normalised split R-hat, bulk and tail ESS for many galaxies in one go, in words."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from scipy.special import ndtri
from scipy.stats import rankdata

from starling.inference.fit import Draws


class Thresholds(NamedTuple):
    """What a galaxy must reach in every free parameter to pass."""

    rhat: float = 1.01
    ess_bulk: float = 400.0
    ess_tail: float = 400.0
    diverging: float = 0.01  # fraction of the transitions
    outside: float = 0.01  # fraction of the draws


class Weights(NamedTuple):
    """Per galaxy, where weighted draws of a proposal came first: what settled it, and how good the weights were."""

    stage: tuple[str, ...]  # "weights 1" ..., "latent chains", "chains" or "unsettled"
    k_hat: np.ndarray  # PSIS
    ess: np.ndarray
    log_evidence: np.ndarray  # of the likelihood without its constants
    log_evidence_err: np.ndarray
    outside: tuple[
        str, ...
    ]  # how a galaxy is unlike what the proposal was trained for; empty where it is not


class Diagnostics(NamedTuple):
    """Convergence per galaxy (and free parameter); ``flag`` is empty where ``passed``.

    Where ``weights`` settled a galaxy, R-hat is NaN and the ESS is that of the weights.
    """

    names: tuple[str, ...]
    rhat: Float[np.ndarray, "galaxy free"]
    ess_bulk: Float[np.ndarray, "galaxy free"]
    ess_tail: Float[np.ndarray, "galaxy free"]
    divergences: np.ndarray  # number of divergent transitions
    outside: np.ndarray  # share of the draws outside the forward model's domain, NaN where it does not know
    passed: np.ndarray
    flag: tuple[str, ...]
    weights: Weights | None = None


def _normal_scores(draws: Float[np.ndarray, "chain draw *series"]) -> np.ndarray:
    """Draws replaced by the normal quantiles of their ranks among all chains (Vehtari et al. 2021, eq. 14)."""
    n = draws.shape[0] * draws.shape[1]
    ranks = rankdata(draws.reshape(n, -1), axis=0).reshape(draws.shape)
    return ndtri((ranks - 0.375) / (n + 0.25))


def _split(draws: Float[np.ndarray, "chain draw *series"]) -> np.ndarray:
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def convergence(
    draws: Float[np.ndarray, "chain draw *series"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank-normalised split R-hat, bulk ESS and tail ESS of every series (Vehtari et al. 2021).

    R-hat is the larger one of bulk and folded; the tail ESS the smaller one of the 5% and 95% quantiles. NaN where
    the draws are not finite or do not move.
    """
    draws = np.asarray(draws, float)
    moves = np.isfinite(draws).all(axis=(0, 1)) & (np.ptp(draws, axis=(0, 1)) > 0)
    # series that cannot be judged are replaced by anything that moves, and by NaN at the end
    ramp = np.arange(draws.shape[0] * draws.shape[1], dtype=float).reshape(draws.shape[:2])
    safe = np.where(moves, draws, ramp.reshape(*draws.shape[:2], *[1] * (draws.ndim - 2)))
    scores = _normal_scores(safe)
    folded = _normal_scores(np.abs(safe - np.median(_split(safe), axis=(0, 1))))
    rhat = np.maximum(split_gelman_rubin(scores), split_gelman_rubin(folded))
    bulk = _ess(_split(scores))
    low, high = np.quantile(safe, [0.05, 0.95], axis=(0, 1))
    tail = np.minimum(_ess(_split((safe <= low).astype(float))), _ess(_split((safe <= high).astype(float))))
    rhat, bulk, tail = (np.where(moves, value, np.nan) for value in (rhat, bulk, tail))
    return rhat, bulk, tail


def _ess(draws: np.ndarray) -> np.ndarray:
    """NumPyro's ESS, capped like Stan's at n log10(n): antithetic chains make the estimate wild beyond."""
    n = draws.shape[0] * draws.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ess = effective_sample_size(draws)
    # no autocorrelation could be estimated: nothing is known of the series, so it counts as no draw at all
    ess = np.where(np.isnan(ess), 0.0, ess)
    return np.where(ess >= 0, np.minimum(ess, n * np.log10(n)), n * np.log10(n))


def diagnose(draws: Draws, thresholds: Thresholds | None = None) -> Diagnostics:
    """Convergence of every galaxy in every free parameter, and in words what keeps a galaxy from passing."""
    thresholds = thresholds or Thresholds()
    columns = [draws.names.index(name) for name in draws.free]
    series = np.moveaxis(draws.theta[..., columns], 0, 2)  # chain, draw, galaxy, parameter
    rhat, bulk, tail = convergence(series)
    divergences = draws.diverging.sum(axis=(1, 2))
    fraction = divergences / draws.diverging[0].size
    outside = outside_domain(draws.remoteness)
    flags = tuple(
        "; ".join(
            [
                *_sentences(
                    draws.free, rhat[i], bulk[i], tail[i], fraction[i], draws.problems[i], thresholds
                ),
                *_of_domain(outside[i], thresholds),
            ]
        )
        for i in range(rhat.shape[0])
    )
    passed = np.array([flag == "" for flag in flags])
    return Diagnostics(draws.free, rhat, bulk, tail, divergences, outside, passed, flags)


def outside_domain(remoteness: Float[np.ndarray, "galaxy chain draw"]) -> np.ndarray:
    """Share of the draws of each galaxy that are outside the domain; NaN where none can be told."""
    return np.where(np.isnan(remoteness).all(axis=(1, 2)), np.nan, (remoteness > 1.0).mean(axis=(1, 2)))


def _of_domain(outside: float, thresholds: Thresholds) -> list[str]:
    if not outside > thresholds.outside:
        return []
    limit = f"(limit {100 * thresholds.outside:g}%)"
    return [f"{100 * outside:.1f}% of the draws are outside what the emulator was trained on {limit}"]


def _sentences(
    names: tuple[str, ...],
    rhat: np.ndarray,
    bulk: np.ndarray,
    tail: np.ndarray,
    diverging: float,
    problem: str,
    thresholds: Thresholds,
) -> list[str]:
    """What is wrong with one galaxy, worst parameters first."""
    words = [problem] if problem else []
    stuck = np.isnan(rhat)
    if stuck.all():
        return [*words, "the chains never moved: the likelihood is not finite at the starts"]
    if stuck.any():
        words.append(f"no movement in {', '.join(np.asarray(names)[stuck])}")

    def worst(value: np.ndarray, bad: np.ndarray, form: str) -> str:
        order = [i for i in np.argsort(value)[::-1] if bad[i]]
        listed = ", ".join(f"{names[i]} ({format(abs(value[i]), form)})" for i in order[:3])
        return listed + (f" and {len(order) - 3} more" if len(order) > 3 else "")

    bad = rhat >= thresholds.rhat
    if bad.any():
        words.append(f"the chains disagree: R-hat not below {thresholds.rhat:g} in {worst(rhat, bad, '.3f')}")
    for name, ess, least in (("bulk", bulk, thresholds.ess_bulk), ("tail", tail, thresholds.ess_tail)):
        bad = ess < least
        if bad.any():
            words.append(
                f"too few independent draws: {name} ESS below {least:g} in {worst(-ess, bad, '.0f')}"
            )
    if diverging >= thresholds.diverging:
        words.append(
            f"{100 * diverging:.1f}% of the transitions diverged (limit {100 * thresholds.diverging:g}%)"
        )
    return words
