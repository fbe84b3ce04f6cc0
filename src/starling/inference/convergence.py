"""Rank-normalised split R-hat, bulk and tail ESS of many series in one go, and what they must be."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from scipy.special import ndtri
from scipy.stats import rankdata


class Thresholds(NamedTuple):
    """What a galaxy must reach in every free parameter and further latent site to pass."""

    rhat: float = 1.01
    ess_bulk: float = 400.0
    ess_tail: float = 400.0
    diverging: float = 0.01  # fraction of the transitions
    outside: float = 0.01  # fraction of the draws


_BEST = (1.0, np.inf, np.inf)  # R-hat, bulk and tail ESS


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


class Verdicts(NamedTuple):
    """Of every galaxy: whether its chains have converged, and how far they are from it."""

    good: Bool[np.ndarray, " galaxy"]
    moved: Bool[np.ndarray, " galaxy"]  # ever, in every parameter
    rhat: Float[np.ndarray, " galaxy"]  # the largest; NaN where one does not move
    ess: Float[np.ndarray, " galaxy"]  # the smallest, bulk and tail, as a part of what it must be


def converged(
    draws: Float[np.ndarray, "chain draw galaxy free"],
    diverging: Bool[np.ndarray, "chain draw galaxy"] | Int[np.ndarray, "chain draw galaxy"],
    thresholds: Thresholds,
    *,
    every: Int[np.ndarray, " galaxy"] | int = 1,
    latents: Float[np.ndarray, "chain draw galaxy latent"] | None = None,
) -> Verdicts:
    """Whether the chains of each galaxy have converged.

    ``diverging`` counts among the ``every`` transitions that a draw stands for. ``latents`` (``latents_of``) that move
    must have converged too.
    """
    rhat, bulk, tail = convergence(draws)
    moved = np.isfinite(rhat).all(axis=1)
    if latents is not None:
        further = convergence(latents)
        # those that do not move have nothing to converge to
        still = [np.where(np.isnan(one), best, one) for one, best in zip(further, _BEST, strict=True)]
        rhat, bulk, tail = (np.append(*pair, axis=1) for pair in zip((rhat, bulk, tail), still, strict=True))
    good = _reached(rhat, bulk, tail, thresholds).all(axis=1)
    few = diverging.mean(axis=(0, 1)) / every < thresholds.diverging
    ess = np.minimum(bulk / thresholds.ess_bulk, tail / thresholds.ess_tail)
    return Verdicts(good & few, moved, rhat.max(axis=1), ess.min(axis=1))


def _reached(rhat: np.ndarray, bulk: np.ndarray, tail: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (rhat < thresholds.rhat) & (bulk >= thresholds.ess_bulk) & (tail >= thresholds.ess_tail)


class Latents(NamedTuple):
    """Every element of the latent sites beyond the parameters, and what it is called."""

    names: tuple[str, ...]
    draws: Float[np.ndarray, "chain draw galaxy latent"]


def latents_of(extra: Mapping[str, np.ndarray]) -> Latents | None:
    """From sites [galaxy, chain, draw, ...], as ``zero_points[0]``; None where there are none."""
    names = [
        f"{name}[{', '.join(map(str, place))}]" if place else name
        for name, values in extra.items()
        for place in np.ndindex(values.shape[3:])
    ]
    if not names:
        return None
    flat = [
        np.asarray(values, float).reshape(*values.shape[:3], math.prod(values.shape[3:]))
        for values in extra.values()
    ]
    return Latents(tuple(names), np.moveaxis(np.concatenate(flat, axis=-1), 0, 2))
