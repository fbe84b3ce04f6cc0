"""Power laws, and the front of networks that no other beats in both accuracy and cost."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_FEWEST = 2


class PowerLaw(NamedTuple):
    """``y = amplitude * x**exponent``, from ``n`` points with ``low <= x <= high``.

    ``exponent_error`` is the standard error from the scatter of the points about the line, with ``n - 2`` degrees of
    freedom; None for two points, which have no scatter.
    """

    amplitude: float
    exponent: float
    exponent_error: float | None
    low: float
    high: float
    n: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.amplitude * np.asarray(x, float) ** self.exponent

    def __str__(self) -> str:
        error = "" if self.exponent_error is None else f" ± {self.exponent_error:.2f}"
        return f"N^({self.exponent:.2f}{error}), {self.low:g} ≤ N ≤ {self.high:g}"


def fit_power_law(
    x: Sequence[float], y: Sequence[float], low: float = 0.0, high: float = np.inf
) -> PowerLaw | None:
    """Least squares in the logarithms over ``low <= x <= high``; None where fewer than two different x are there.

    Raises ValueError where a number is not above 0.
    """
    wide, tall = np.asarray(x, float), np.asarray(y, float)
    if not (np.all(wide > 0) and np.all(tall > 0)):
        raise ValueError("a power law needs numbers above 0")
    used = (wide >= low) & (wide <= high)
    wide, tall = wide[used], tall[used]
    if len(np.unique(wide)) < _FEWEST:
        return None
    centre = np.log(wide) - np.log(wide).mean()
    exponent = float(centre @ np.log(tall) / (centre @ centre))
    amplitude = float(np.exp(np.log(tall).mean() - exponent * np.log(wide).mean()))
    error = None
    if len(wide) > _FEWEST:
        residual = np.log(tall) - np.log(amplitude) - exponent * np.log(wide)
        error = float(np.sqrt(residual @ residual / (len(wide) - _FEWEST) / (centre @ centre)))
    return PowerLaw(amplitude, exponent, error, float(wide.min()), float(wide.max()), len(wide))


def front(cost: Sequence[float], error: Sequence[float]) -> list[int]:
    """Indices of what nothing beats: no other is as good in both and better in one; the cheapest first."""
    pairs = list(zip(cost, error, strict=True))
    members = [
        i
        for i, (c, e) in enumerate(pairs)
        if not any(other != (c, e) and other[0] <= c and other[1] <= e for other in pairs)
    ]
    return sorted(members, key=lambda i: pairs[i])


def choose(cost: Sequence[float], error: Sequence[float], bar: float) -> int:
    """The cheapest whose error is at most ``bar``; where none is, the one with the smallest error."""
    good = [i for i, e in enumerate(error) if e <= bar]
    if good:
        return min(good, key=lambda i: (cost[i], error[i]))
    return min(range(len(error)), key=lambda i: (error[i], cost[i]))
