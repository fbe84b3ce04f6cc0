"""How far an emulator is off: per-output statistics of its errors on held-out galaxies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

WITHIN = (0.01, 0.02, 0.05)
# cumulative probabilities of the standard normal at -4 ... 4 sigma
QUANTILES = tuple(float(p) for p in ndtr(np.arange(-4, 5)))


def error_statistics(error: Float[np.ndarray, "row output"], names: Sequence[str]) -> dict[str, Any]:
    """Statistics over galaxies of emulated minus exact values: JSON-able, one number per output in each list.

    ``robust_sigma`` is half the width of the central 68.3%; ``abs_999`` the 99.9% quantile of the absolute error;
    ``quantiles`` [9, output] are those of ``QUANTILES``, at -4 ... 4 sigma of a normal distribution.
    """
    error = np.asarray(error, np.float64)
    quantiles = np.quantile(error, QUANTILES, axis=0)
    return {
        "n": error.shape[0],
        "names": list(names),
        "mean": error.mean(axis=0).tolist(),
        "std": error.std(axis=0).tolist(),
        "robust_sigma": (0.5 * (quantiles[5] - quantiles[3])).tolist(),
        "abs_999": np.quantile(np.abs(error), 0.999, axis=0).tolist(),
        "quantiles": quantiles.tolist(),
        "within": {str(limit): np.mean(np.abs(error) <= limit, axis=0).tolist() for limit in WITHIN},
    }
