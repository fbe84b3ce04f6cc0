"""Coefficients that a spectrum is linear in, integrated out: calibration, amplitudes of lines; for ONE galaxy.

With residuals z = (observed - model) / error and columns B = design * prior sigma / error, z is normal with covariance
1 + B B^T. Its quadratic form is the least of |z - B c|^2 + |c|^2 over c, which is how it is computed: nothing cancels,
as it would in z^2 - b A^-1 b; and its determinant is that of A = 1 + B^T B, of the size of c (Woodbury). The columns of
the calibration are the model times polynomials, as it multiplies the MODEL's flux: so A depends on the parameters, and
its determinant counts.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float


class Marginal(NamedTuple):
    """Residuals without what the coefficients explain, what those cost, and half the log determinant.

    ``best``: the coefficients over their prior sigma; given the parameters they are normal about it with the inverse of
    ``precision`` as their covariance. First derivatives of ``log_density`` are right, second ones are not.
    """

    z: Float[Array, " pixel"]
    penalty: Float[Array, ""]
    half_log_det: Float[Array, ""]
    best: Float[Array, " coefficient"]
    precision: Float[Array, "coefficient coefficient"]

    @property
    def log_density(self) -> Float[Array, ""]:
        """Over the constant of ``z``."""
        return -0.5 * (jnp.sum(self.z**2) + self.penalty) - self.half_log_det


def integrate_out(z: Float[Array, " pixel"], columns: Float[Array, "coefficient pixel"]) -> Marginal:
    """``columns`` in units of the errors, for one prior sigma of each coefficient; 0 in pixels that are not used."""
    precision = jnp.eye(columns.shape[0], dtype=columns.dtype) + columns @ columns.T
    factor = cho_factor(precision, lower=True)
    # at the minimum the gradient in the coefficients is 0, so they may count as constants
    best = jax.lax.stop_gradient(cho_solve(factor, columns @ z))
    half_log_det = jnp.sum(jnp.log(jnp.diagonal(factor[0])))
    return Marginal(z - best @ columns, jnp.sum(best**2), half_log_det, best, precision)


def chebyshev(x: Float[Array, " pixel"], degree: int) -> Float[Array, "degree pixel"]:
    """Chebyshev's polynomials 1 to ``degree`` at x in [-1, 1]."""
    rows = [jnp.ones_like(x), x]
    for _ in range(degree - 1):
        rows.append(2.0 * x * rows[-1] - rows[-2])
    return jnp.stack(rows[1:])
