"""From one set of wavelengths to another by Lagrange's interpolation: fixed weights, prepared once in float64."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import linear_call
from jaxtyping import Array, Float, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Taps:
    """A sparse matrix: every row has as many entries. Its transpose is kept too, so that gradients gather as well."""

    index: Int[Array, "row tap"]
    weight: Float[Array, "row tap"]
    index_t: Int[Array, "column tap_t"]
    weight_t: Float[Array, "column tap_t"]

    def __call__(self, values: Float[Array, " column"]) -> Float[Array, " row"]:
        """The matrix times a vector."""
        return linear_call(_forward, _backward, self, values)


def _forward(taps: Taps, values: Array) -> Array:
    return _gather(taps.index, taps.weight, values)


def _backward(taps: Taps, values: Array) -> Array:
    return _gather(taps.index_t, taps.weight_t, values)


def _gather(index: Array, weight: Array, values: Array) -> Array:
    total = jnp.zeros(index.shape[:1], values.dtype)
    for tap in range(index.shape[1]):
        total = total + weight[:, tap].astype(values.dtype) * values[index[:, tap]]
    return total


def lagrange(x: Float[np.ndarray, " column"], at: Float[np.ndarray, " row"], points: int) -> Taps:
    """Interpolation of values at ascending ``x`` through so many nearest points; beyond the ends, the end value."""
    inside = np.clip(at, x[0], x[-1])
    right = np.clip(np.searchsorted(x, inside), 1, x.size - 1)
    first = np.clip(right - points // 2, 0, x.size - points)
    index = first[:, None] + np.arange(points)
    nodes = x[index]
    weight = np.ones(index.shape)
    for i in range(points):
        for j in range(points):
            if i != j:
                weight[:, i] *= (inside - nodes[:, j]) / (nodes[:, i] - nodes[:, j])
    return make_taps(index, weight, x.size)


def make_taps(
    index: Int[np.ndarray, "row tap"], weight: Float[np.ndarray, "row tap"], n_columns: int
) -> Taps:
    """The matrix with these entries, and its transpose."""
    rows = np.repeat(np.arange(index.shape[0]), index.shape[1])
    columns, values = index.ravel(), weight.ravel()
    kept = values != 0.0
    rows, columns, values = rows[kept], columns[kept], values[kept]
    order = np.argsort(columns, kind="stable")
    rows, columns, values = rows[order], columns[order], values[order]
    counts = np.bincount(columns, minlength=n_columns)
    rank = np.arange(columns.size) - np.repeat(np.cumsum(counts) - counts, counts)
    index_t = np.zeros((n_columns, max(int(counts.max()), 1)), int)
    weight_t = np.zeros(index_t.shape)
    index_t[columns, rank], weight_t[columns, rank] = rows, values
    arrays = (index, weight, index_t, weight_t)
    return Taps(*(jnp.asarray(a, jnp.int32 if a.dtype.kind == "i" else jnp.float32) for a in arrays))
