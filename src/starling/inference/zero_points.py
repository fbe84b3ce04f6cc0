"""Zero points of groups of bands: factors 1 + delta on the model's flux, delta ~ Normal(0, sigma); for ONE galaxy.

Given the model flux m, data d = (1 + delta) m + noise are normal with covariance N + sum_g sigma_g^2 m_g m_g^T, where
m_g is m in the bands of the group g and 0 elsewhere: that is exact. It depends on the parameters through m, and so does
its determinant, which counts. With the OBSERVED flux in the place of m both would be constant, and the fit too faint:
the larger of two fluxes would be thought the less certain one (D'Agostini 1994, Nucl. Instrum. Meth. A 346, 306).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.inference.error_model import ErrorModel


class ZeroPoints(NamedTuple):
    """Prior deviations of the groups, and which bands each has (0 or 1)."""

    sigma: Float[Array, " group"]
    member: Float[Array, "group band"]


class Decorrelated(NamedTuple):
    """Residuals that are independent standard normals, and half the log determinant of their covariance before."""

    z: Float[Array, " band"]
    half_log_det: Float[Array, ""]


def zero_points_of(errors: ErrorModel, bands: Sequence[str]) -> ZeroPoints:
    """What the settings say."""
    groups = errors.zero_points
    member = np.asarray([[band in group.bands for band in bands] for group in groups], float)
    return ZeroPoints(jnp.asarray([group.sigma for group in groups], float), jnp.asarray(member))


def scatter(zero: ZeroPoints) -> Float[Array, " band"]:
    """One sigma of the factor of each band."""
    return zero.sigma @ zero.member


def gain(zero: ZeroPoints, score: Float[Array, " group"]) -> Float[Array, " band"]:
    """The factor on the flux of each band; ``score`` is delta in units of its sigma."""
    return 1.0 + (zero.sigma * score) @ zero.member


def decorrelate(
    zero: ZeroPoints,
    z: Float[Array, " band"],
    model: Float[Array, " band"],
    whiten: Float[Array, "band band"] | None = None,
) -> Decorrelated:
    """Residuals ``z`` over the errors, of a ``model`` flux over the errors (0 in bands that do not take part).

    The covariance 1 + sum v v^T has, group by group, the inverse root 1 - v v^T / (q (q + 1)) with q^2 = 1 + |v|^2.
    ``whiten`` makes residuals independent that were not so before the zero points.
    """
    spread = zero.member * zero.sigma[:, None] * model
    if whiten is None:
        # no band is in two groups: all at once
        square = jnp.sum(spread**2, axis=1)
        q = jnp.sqrt(1.0 + square)
        along = (spread @ z) / (q * (q + 1.0))
        return Decorrelated(z - along @ spread, 0.5 * jnp.sum(jnp.log1p(square)))

    def one(carry: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], Array]:
        z, spread = carry
        v = spread[number]
        square = jnp.sum(v**2)
        q = jnp.sqrt(1.0 + square)
        share = v / (q * (q + 1.0))
        return (z - share * (v @ z), spread - jnp.outer(spread @ v, share)), 0.5 * jnp.log1p(square)

    (z, _), halves = jax.lax.scan(one, (whiten @ z, spread @ whiten.T), jnp.arange(zero.sigma.size))
    return Decorrelated(z, jnp.sum(halves))
