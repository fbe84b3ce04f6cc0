"""How far two posteriors of the same galaxies are apart (Mathews et al. 2023, eq. 10)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

CATASTROPHIC = 3.0
"""A discrepancy above this is a catastrophic outlier."""

_MEDIAN_NOISE = np.sqrt(np.pi / 2)  # error of a median over that of a mean, normal distribution


class Centre(NamedTuple):
    """Median and sigma, half of the central 68%, of draws; NaN where one of the draws is not finite."""

    median: Float[np.ndarray, "*galaxy"]
    sigma: Float[np.ndarray, "*galaxy"]


class Summary(NamedTuple):
    """The distribution of discrepancies, those that are not finite left out."""

    n: int
    median: float
    upper: float  # 84%
    largest: float
    outliers: int  # above CATASTROPHIC


def centre(draws: Float[np.ndarray, "draw ..."]) -> Centre:
    """Median and sigma over the first axis."""
    finite = np.isfinite(draws).all(axis=0)
    low, middle, high = np.quantile(np.where(finite, draws, 0.0), (0.16, 0.5, 0.84), axis=0)
    return Centre(np.where(finite, middle, np.nan), np.where(finite, 0.5 * (high - low), np.nan))


def discrepancy(a: Centre, b: Centre) -> Float[np.ndarray, "*galaxy"]:
    """D = |median_a - median_b| / sqrt(sigma_a^2 + sigma_b^2); NaN where both posteriors have no width."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(a.median - b.median) / np.hypot(a.sigma, b.sigma)


def sampling_noise(
    a: Centre,
    b: Centre,
    ess_a: Float[np.ndarray, "*galaxy"],
    ess_b: Float[np.ndarray, "*galaxy"],
) -> Float[np.ndarray, "*galaxy"]:
    """One sigma of the signed discrepancy of two samples of one posterior, from their effective sizes; for normal ones.

    The median of D is then 0.67 times this.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.hypot(a.sigma / np.sqrt(ess_a), b.sigma / np.sqrt(ess_b))
        return _MEDIAN_NOISE * error / np.hypot(a.sigma, b.sigma)


def summarise_discrepancy(values: Float[np.ndarray, " any"]) -> Summary:
    """Number, median, 84%, largest and number of catastrophic outliers; NaN where there is none."""
    found = values[np.isfinite(values)]
    if not found.size:
        return Summary(0, np.nan, np.nan, np.nan, 0)
    middle, upper = np.quantile(found, (0.5, 0.84))
    return Summary(
        found.size, float(middle), float(upper), float(found.max()), int(np.sum(found > CATASTROPHIC))
    )
