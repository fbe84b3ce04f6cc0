"""Monotone rational-quadratic splines (Durkan et al. 2019) and their inverses, for many numbers at once.

Every number has a spline of its own between ``-bound`` and ``bound``; outside it is the identity, and the slope at both
ends is 1. The knots are unrolled, axis 0 of the raw parameters: what is left is arithmetic on arrays of the shape of
the numbers, which compiles into few loops.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

_LEAST_WIDTH = 1e-3  # of a bin, as a share of the range
_LEAST_SLOPE = 1e-3
# the raw slope at which a spline is the identity
_UNIT_SLOPE = float(np.log(np.expm1(1.0 - _LEAST_SLOPE)))


class _Bin(NamedTuple):
    """The bin that a number lies in: its corner, size and the slopes at its ends."""

    x: Array
    y: Array
    width: Array
    height: Array
    left: Array
    right: Array


def n_raw(bins: int) -> int:
    """Raw parameters of one spline: widths, heights and inner slopes. Zeros make the identity."""
    return 3 * bins - 1


def spline(
    x: Float[Array, "*shape"], raw: Array, bins: int, bound: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The splines at ``x`` and the logarithms of their slopes; ``raw`` is [raw, *shape]."""
    at = jnp.clip(x, -bound, bound)
    found = _find(at, raw, bins, bound, by_height=False)
    slope = found.height / found.width
    xi = (at - found.x) / found.width
    value, log_slope = _rational(found, slope, xi)
    inside = jnp.abs(x) < bound
    return jnp.where(inside, value, x), jnp.where(inside, log_slope, 0.0)


def inverse_spline(
    y: Float[Array, "*shape"], raw: Array, bins: int, bound: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The inverses of the splines at ``y`` and the logarithms of the INVERSES' slopes."""
    at = jnp.clip(y, -bound, bound)
    found = _find(at, raw, bins, bound, by_height=True)
    slope = found.height / found.width
    up = at - found.y
    bend = found.left + found.right - 2.0 * slope
    a = found.height * (slope - found.left) + up * bend
    b = found.height * found.left - up * bend
    c = -slope * up
    root = jnp.sqrt(jnp.maximum(b**2 - 4.0 * a * c, 0.0))
    xi = jnp.clip(2.0 * c / (-b - root), 0.0, 1.0)
    _, log_slope = _rational(found, slope, xi)
    inside = jnp.abs(y) < bound
    return jnp.where(inside, found.x + xi * found.width, y), jnp.where(inside, -log_slope, 0.0)


def _rational(found: _Bin, slope: Array, xi: Array) -> tuple[Array, Array]:
    """Value and log slope at the share ``xi`` of a bin (Durkan et al. 2019, eqs. 4 and 5)."""
    mixed = xi * (1.0 - xi)
    below = slope + (found.left + found.right - 2.0 * slope) * mixed
    value = found.y + found.height * (slope * xi**2 + found.left * mixed) / below
    above = found.right * xi**2 + 2.0 * slope * mixed + found.left * (1.0 - xi) ** 2
    return value, 2.0 * jnp.log(slope / below) + jnp.log(above)


def _shares(raw: Array, bound: float) -> list[Array]:
    """Sizes of the bins, which sum to the range."""
    raised = [jnp.exp(one) for one in raw - jax.lax.stop_gradient(jnp.max(raw, axis=0))]
    total = sum(raised[1:], raised[0])
    scale = 2.0 * bound * (1.0 - len(raised) * _LEAST_WIDTH) / total
    return [one * scale + 2.0 * bound * _LEAST_WIDTH for one in raised]


def _find(at: Array, raw: Array, bins: int, bound: float, *, by_height: bool) -> _Bin:
    """The bin of every number, found by its place along x or along y."""
    widths, heights = _shares(raw[:bins], bound), _shares(raw[bins : 2 * bins], bound)
    one = jnp.ones_like(at)
    slopes = [one, *(jax.nn.softplus(r + _UNIT_SLOPE) + _LEAST_SLOPE for r in raw[2 * bins :]), one]
    x = y = jnp.full_like(at, -bound)
    found = _Bin(x, y, widths[0], heights[0], slopes[0], slopes[1])
    for k in range(1, bins):
        x, y = x + widths[k - 1], y + heights[k - 1]
        here = _Bin(x, y, widths[k], heights[k], slopes[k], slopes[k + 1])
        beyond = at >= (y if by_height else x)
        found = _Bin(*(jnp.where(beyond, new, old) for new, old in zip(here, found, strict=True)))
    return found
