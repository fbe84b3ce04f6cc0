"""A Gaussian approximation of the posterior of ONE galaxy: where a short descent ends, and the curvature there.

A network's guess is the start. The mass is projected out (variable projection: at every point it takes the value that
fits best), so the residuals and their Jacobian are those of the shape of the spectrum. With r the residuals in units of
the errors and J their Jacobian, the curvature is J^T J + 1: in whitened coordinates the prior's is the identity.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from starling.amortised.features import Seen
from starling.forward import ForwardModel, linearise
from starling.inference.coordinates import MASS, Coordinates
from starling.inference.initialise import Optimum, levenberg_marquardt

_FARTHEST = 1.0  # last step, in prior standard deviations


class Local(NamedTuple):
    """``mean``, a lower triangular ``whitener`` W (W^T W: the inverse covariance), ``chi2`` where the descent ends."""

    mean: Float[Array, " free"]
    whitener: Float[Array, "free free"]
    chi2: Float[Array, ""]


def n_told(n_free: int) -> int:
    """Numbers in ``told``."""
    return 2 * n_free + 1


def told(local: Local) -> Float[Array, " number"]:
    """What the flow's network hears of it."""
    return jnp.concatenate([local.mean, jnp.log(jnp.diag(local.whitener)), jnp.log1p(local.chi2)[None]])


def local_gaussian(
    start: Float[Array, " free"],
    seen: Seen,
    coordinates: Coordinates,
    forward_model: ForwardModel,
    n_steps: int,
) -> Local:
    """From ``start``, with ``n_steps`` Levenberg-Marquardt steps; ``seen`` has the bands of ``forward_model``."""
    apart = dict(zip(coordinates.fixed, seen.fixed, strict=True))
    if coordinates.has_mass:
        low, high = (end[coordinates.space.index(MASS)] for end in coordinates.space.bounds)
        apart[MASS] = jnp.asarray(0.5 * (low + high), start.dtype)
    data = jnp.where(seen.mask, seen.flux / seen.error, 0.0)

    def at(v: Float[Array, " free"]) -> Optimum:
        flux, slopes = linearise(forward_model, coordinates.to_theta(v, apart))
        scaled = jnp.where(seen.mask, flux / seen.error, 0.0)
        of_theta = jnp.where(seen.mask[:, None], slopes / seen.error[:, None], 0.0)
        jacobian = of_theta @ jax.jacfwd(lambda v: coordinates.to_theta(v, apart))(v)
        amplitude = jnp.ones(())
        if coordinates.has_mass:
            square = jnp.maximum(jnp.sum(scaled**2), 1e-20)
            amplitude = jnp.maximum(jnp.sum(scaled * data) / square, 0.0)
            jacobian = jacobian - jnp.outer(scaled, scaled @ jacobian) / square
        residual = data - amplitude * scaled
        jacobian = amplitude * jacobian
        value = -0.5 * jnp.sum(residual**2) - 0.5 * jnp.sum(v**2)
        return Optimum(v, value, jacobian.T @ residual - v, jacobian.T @ jacobian + jnp.eye(v.size))

    best = levenberg_marquardt(at, start, n_steps)
    chi2 = -2.0 * best.log_density - jnp.sum(best.position**2)
    eye = jnp.eye(start.size)
    # where the fit is still poor, so is the curvature
    poor = jnp.maximum(chi2 / jnp.maximum(jnp.sum(seen.mask), 1), 1.0)
    curvature = (best.hessian - eye) / poor + eye
    good = jnp.isfinite(best.log_density) & jnp.all(jnp.isfinite(curvature))
    whitener = jnp.linalg.cholesky(jnp.where(good, curvature, eye)[::-1, ::-1])[::-1, ::-1].T
    good &= jnp.all(jnp.isfinite(whitener))
    whitener = jnp.where(good, whitener, eye)
    gradient = (best.gradient + best.position) / poor - best.position
    white = solve_triangular(whitener, gradient, lower=True, trans=1)
    step = jnp.clip(solve_triangular(whitener, white, lower=True), -_FARTHEST, _FARTHEST)
    local = Local(best.position + jnp.where(good, step, 0.0), whitener, jnp.where(good, chi2, 0.0))
    return jax.lax.stop_gradient(local)
