"""Densities of residuals with outliers: Student-t, and a mixture of two normals; for ONE galaxy.

``z`` is a residual in units of its error. Log densities are over that of a standard normal at 0, 1 / sqrt(2 pi): as
``log_likelihood`` leaves those out, evidences with different likelihoods can be compared. Of an upper limit the
probability is the distribution function in place of the density.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import betainc, betaln, gammaln, log_ndtr, logsumexp
from jaxtyping import Bool, Float

from starling.inference.error_model import FRACTION_RANGE, ErrorModel

_LEAST = 1e-30  # of a probability in float32
_HALF_LOG_2PI = 0.5 * float(np.log(2.0 * np.pi))


class StudentT(NamedTuple):
    """Degrees of freedom."""

    freedom: Float[Array, ""]


class Mixture(NamedTuple):
    """Outliers ``width`` times as wide; ``log_share``: log of the prior weight of each ``fraction`` of outliers.

    One fraction where it is known; where it is free, nodes of a quadrature that is exact, since the likelihood is a
    polynomial in the fraction, of as high a degree as there are bands.
    """

    width: Float[Array, ""]
    fraction: Float[Array, " node"]
    log_share: Float[Array, " node"]


Outliers = StudentT | Mixture


def outliers_of(errors: ErrorModel, n_bands: int) -> Outliers | None:
    """What the settings say; None for a Gaussian."""
    if errors.likelihood == "gaussian":
        return None
    if errors.likelihood == "student_t":
        return StudentT(jnp.asarray(float(errors.degrees_of_freedom)))
    nodes, weights = np.asarray([errors.f_outlier_phot]), np.ones(1)
    if errors.f_outlier_phot == "free":
        low, high = FRACTION_RANGE
        nodes, weights = np.polynomial.legendre.leggauss(n_bands // 2 + 1)
        nodes, weights = low + 0.5 * (high - low) * (nodes + 1.0), 0.5 * weights
    single = np.asarray(nodes, float), np.log(weights)
    return Mixture(jnp.asarray(float(errors.nsigma_outlier_phot)), *(jnp.asarray(a, float) for a in single))


@jax.custom_jvp
def log_t_cdf(z: Float[Array, "*any"], freedom: Float[Array, ""]) -> Float[Array, "*any"]:
    """Log of Student's distribution function, good far down its tail."""
    # 1/2 I_x(nu / 2, 1/2) is the tail beyond |z|
    half, x = 0.5 * freedom, freedom / (freedom + z**2)
    tail = 0.5 * betainc(half, 0.5, x)
    # where float32 has no such number: the leading term, and the sum of the series that follows it for large nu
    far = (
        half * jnp.log(x) + 0.5 * jnp.log1p(-jnp.minimum(x, 0.999)) - jnp.log(2.0 * half) - betaln(half, 0.5)
    )
    far -= jnp.log1p(-x * (half + 0.5) / (half + 1.0))
    near = jnp.log(jnp.maximum(tail, _LEAST))
    return jnp.where(z < 0, jnp.where(tail > _LEAST, near, far), jnp.log1p(-tail))


@log_t_cdf.defjvp
def _log_t_cdf_slope(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    z, freedom = primals
    value = log_t_cdf(z, freedom)
    # betainc's own derivative is infinite at z = 0
    slope = jnp.exp(log_t(z, freedom) - _HALF_LOG_2PI - value)
    return value, slope * tangents[0]


def log_t(z: Float[Array, "*any"], freedom: Float[Array, ""]) -> Float[Array, "*any"]:
    """Log of Student's density, over 1 / sqrt(2 pi)."""
    constant = gammaln(0.5 * (freedom + 1.0)) - gammaln(0.5 * freedom) - 0.5 * jnp.log(0.5 * freedom)
    return constant - 0.5 * (freedom + 1.0) * jnp.log1p(z**2 / freedom)


class _Sides(NamedTuple):
    """Log densities (log probabilities of limits) of a band as it should be and as an outlier."""

    good: Float[Array, " band"]
    bad: Float[Array, " band"]


def _sides(z: Float[Array, " band"], limit: Bool[Array, " band"], width: Array) -> _Sides:
    detected = _Sides(-0.5 * z**2, -0.5 * (z / width) ** 2 - jnp.log(width))
    below = jnp.where(limit, z, 0.0)
    return _Sides(
        jnp.where(limit, log_ndtr(below), detected.good),
        jnp.where(limit, log_ndtr(below / width), detected.bad),
    )


def _of_nodes(sides: _Sides, fraction: Float[Array, " node"]) -> Float[Array, "node band"]:
    return jnp.logaddexp(
        jnp.log1p(-fraction)[:, None] + sides.good[None], jnp.log(fraction)[:, None] + sides.bad[None]
    )


def log_density(
    outliers: Outliers,
    z: Float[Array, " band"],
    used: Bool[Array, " band"],
    limit: Bool[Array, " band"],
) -> Float[Array, ""]:
    """Log likelihood of the bands that are used."""
    if isinstance(outliers, StudentT):
        at_limit = log_t_cdf(jnp.where(limit, z, 0.0), outliers.freedom)
        each = jnp.where(limit, at_limit, log_t(z, outliers.freedom))
        return jnp.sum(jnp.where(used, each, 0.0))
    each = _of_nodes(_sides(z, limit, outliers.width), outliers.fraction)
    return logsumexp(outliers.log_share + jnp.sum(jnp.where(used, each, 0.0), axis=1))


class Suspects(NamedTuple):
    """How far bands are taken for outliers.

    ``probability`` that a band is one (NaN for a Student-t, which knows no two kinds of bands); ``weight``: what its
    squared residual counts, 1 in a Gaussian; ``fraction``: the expected fraction of outliers.
    """

    probability: Float[Array, " band"]
    weight: Float[Array, " band"]
    fraction: Float[Array, ""]


def suspects(
    outliers: Outliers,
    z: Float[Array, " band"],
    used: Bool[Array, " band"],
    limit: Bool[Array, " band"],
) -> Suspects:
    """At one point; the weights are those of iteratively reweighted least squares."""
    if isinstance(outliers, StudentT):
        weight = (outliers.freedom + 1.0) / (outliers.freedom + z**2)
        return Suspects(jnp.full_like(z, jnp.nan), jnp.where(used, weight, 1.0), jnp.asarray(jnp.nan))
    sides = _sides(z, limit, outliers.width)
    each = _of_nodes(sides, outliers.fraction)
    share = jax.nn.softmax(outliers.log_share + jnp.sum(jnp.where(used, each, 0.0), axis=1))
    of_node = jnp.exp(jnp.log(outliers.fraction)[:, None] + sides.bad - each)
    probability = jnp.where(used, share @ of_node, 0.0)
    weight = 1.0 - probability + probability / outliers.width**2
    return Suspects(probability, weight, share @ outliers.fraction)
