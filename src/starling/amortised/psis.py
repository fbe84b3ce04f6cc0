"""Pareto-smoothed importance sampling (Vehtari et al. 2024): how heavy the tail of the weights is, and a cure.

The largest weights are fitted with a generalised Pareto distribution (Zhang & Stephens 2009) and replaced by its
quantiles. Its shape, k-hat, says whether the estimates can be trusted: below 0.7 they can.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Smoothed(NamedTuple):
    """Normalised weights of one galaxy, smoothed; ``ess`` is that of the weights before they were smoothed."""

    weights: Float[np.ndarray, " draw"]
    k_hat: float
    ess: float
    log_mean: float  # log of the mean weight: the evidence


def smooth(log_weights: Float[np.ndarray, " draw"]) -> Smoothed:
    """Smooth the weights of one galaxy; draws with a weight of zero (-inf, NaN) never count."""
    log_weights = np.where(np.isfinite(log_weights), log_weights, -np.inf).astype(float)
    n, largest = log_weights.size, log_weights.max()
    if not np.isfinite(largest):
        return Smoothed(np.full(n, 1.0 / n), float("inf"), 0.0, -np.inf)
    weights = np.exp(log_weights - largest)
    total = weights.sum()
    ess = float(total**2 / (weights**2).sum())
    log_mean = float(largest + np.log(total / n))
    n_tail = n_in_tail(n)
    order = np.argsort(weights, kind="stable")
    tail, cut = order[n - n_tail :], weights[order[n - n_tail - 1]] if n > n_tail else 0.0
    excess = weights[tail] - cut
    if n_tail < 5 or excess[0] < 0 or excess[-1] <= 0 or np.count_nonzero(excess) < 5:
        # a tail of hardly any draws is heavier than any that could be fitted
        return Smoothed(weights / total, float("inf"), ess, log_mean)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # excesses that span all of float64
        k_hat, sigma = fit_pareto(excess[excess > 0])
    if not (np.isfinite(k_hat) and np.isfinite(sigma)):
        return Smoothed(weights / total, float("inf"), ess, log_mean)
    quantiles = (np.arange(n_tail) + 0.5) / n_tail
    smoothed = weights.copy()
    smoothed[tail] = np.minimum(cut + pareto_quantile(quantiles, k_hat, sigma), 1.0)
    return Smoothed(smoothed / smoothed.sum(), k_hat, ess, log_mean)


def n_in_tail(n: int) -> int:
    """How many of ``n`` weights are their tail."""
    return int(min(0.2 * n, 3.0 * np.sqrt(n)))


def fit_pareto(excess: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution from ascending numbers above 0.

    The profile posterior mean of Zhang & Stephens (2009), the shape drawn to 0.5 as if by ten draws (Vehtari et al.
    2024).
    """
    n = excess.size
    m = 30 + int(np.sqrt(n))
    grid = 1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    grid = grid / (3.0 * excess[int(n / 4 + 0.5) - 1]) + 1.0 / excess[-1]
    shapes = np.mean(np.log1p(-grid[:, None] * excess), axis=1)
    log_likelihood = n * (np.log(-grid / shapes) - shapes - 1.0)
    posterior = np.exp(log_likelihood - log_likelihood.max())
    posterior /= posterior.sum()
    b = float(np.sum(grid * posterior))
    k = float(np.mean(np.log1p(-b * excess)))
    sigma = -k / b
    return (n * k + 10 * 0.5) / (n + 10), sigma


def pareto_quantile(p: Float[np.ndarray, " draw"], shape: float, scale: float) -> Float[np.ndarray, " draw"]:
    """Quantiles of a generalised Pareto distribution that begins at 0."""
    if abs(shape) < 1e-9:
        return -scale * np.log1p(-p)
    with np.errstate(over="ignore"):  # infinite, where tails are as heavy as that
        return scale * np.expm1(-shape * np.log1p(-p)) / shape


def resample(
    generator: np.random.Generator, weights: Float[np.ndarray, " draw"], n: int
) -> Int[np.ndarray, " kept"]:
    """``n`` draws of equal weight: systematic resampling, in random order."""
    places = (np.arange(n) + generator.uniform()) / n
    chosen = np.searchsorted(np.cumsum(weights), places * (1.0 - 1e-12))
    return generator.permutation(np.minimum(chosen, weights.size - 1))
