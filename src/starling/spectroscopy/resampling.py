"""From one set of wavelengths to another by Lagrange's interpolation: fixed weights, prepared once in float64."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Taps:
    """A sparse matrix whose rows have as many entries each."""

    index: Int[Array, "row tap"]
    weight: Float[Array, "row tap"]

    def __call__(self, values: Float[Array, " column"]) -> Float[Array, " row"]:
        """The matrix times a vector."""
        total = jnp.zeros(self.index.shape[0], values.dtype)
        # tap by tap: half the time of one gather of all
        for tap in range(self.index.shape[1]):
            total = total + self.weight[:, tap].astype(values.dtype) * values[self.index[:, tap]]
        return total


def lagrange(x: Float[np.ndarray, " column"], at: Float[np.ndarray, " row"], points: int) -> Taps:
    """Interpolation of values at ascending ``x`` through so many nearest points; beyond the ends, the end value."""
    inside = np.clip(at, x[0], x[-1])
    right = np.clip(np.searchsorted(x, inside), 1, x.size - 1)
    index = np.clip(right - points // 2, 0, x.size - points)[:, None] + np.arange(points)
    nodes = x[index]
    weight = np.ones(index.shape)
    for i in range(points):
        for j in range(points):
            if i != j:
                weight[:, i] *= (inside - nodes[:, j]) / (nodes[:, i] - nodes[:, j])
    return Taps(jnp.asarray(index, jnp.int32), jnp.asarray(weight, jnp.float32))
