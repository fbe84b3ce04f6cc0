"""The likelihood of photometry and the NumPyro model of one galaxy; ``starling.inference.noise`` has the errors."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import log_ndtr
from jaxtyping import Float

from starling.forward import ForwardModel
from starling.inference.error_model import ErrorModel
from starling.inference.noise import ModelError, Noise, local_error, prepare_noise
from starling.inference.observation import Observation
from starling.inference.outliers import log_density, suspects
from starling.inference.zero_points import Decorrelated, decorrelate, gain

ZERO_POINTS = "zero_points"  # the latent site


def residuals(
    observation: Observation, flux: Float[Array, " band"], error: Float[Array, " band"]
) -> Float[Array, " band"]:
    """(observed - model) / error; 0 in bands that are not used, whatever stands there."""
    observed = jnp.where(observation.mask, observation.flux, 0.0)
    return jnp.where(observation.mask, (observed - flux) / error, 0.0)


def independent_residuals(
    observation: Observation, flux: Float[Array, " band"], noise: Noise
) -> Float[Array, " band"]:
    """As ``residuals``, made independent of each other where their covariance is known; those of limits unchanged."""
    return _decorrelated(observation, flux, noise).z


def _decorrelated(observation: Observation, flux: Float[Array, " band"], noise: Noise) -> Decorrelated:
    z = residuals(observation, flux, noise.error)
    if noise.marginal is None:
        return Decorrelated(z if noise.whiten is None else noise.whiten @ z, jnp.zeros(()))
    detected = observation.mask & ~observation.upper_limit
    return decorrelate(noise.marginal, z, jnp.where(detected, flux / noise.error, 0.0), noise.whiten)


def log_likelihood(
    observation: Observation,
    flux: Float[Array, " band"],
    noise: Noise | Float[Array, " band"],
) -> Float[Array, ""]:
    """Log likelihood of the model ``flux`` (maggies): -chi^2 / 2 over detections plus log Phi over upper limits.

    ``noise`` may be the error of each band. What does not depend on the parameters is left out: -sum log(error sqrt(2
    pi)), which at some 27 per band would cost float32 three digits, and the determinant of a covariance. Densities of
    outliers are over the same constant; the determinant that zero points bring depends on the flux, and counts.
    """
    noise = noise if isinstance(noise, Noise) else Noise(noise)
    z, half_log_det = _decorrelated(observation, flux, noise)
    limit = observation.upper_limit & observation.mask
    if noise.outliers is not None:
        return log_density(noise.outliers, z, observation.mask, limit)
    detected = jnp.where(limit, 0.0, -0.5 * z**2)
    both = detected + jnp.where(limit, log_ndtr(jnp.where(limit, z, 0.0)), 0.0)
    return jnp.sum(both) - half_log_det


def curvature(observation: Observation, z: Float[Array, " band"], noise: Noise) -> Float[Array, " band"]:
    """What the square of each independent residual counts in a Gauss-Newton Hessian.

    1 in detections; in limits the curvature of -log Phi; with outliers, times the weight of iteratively reweighted
    least squares.
    """
    limit = observation.upper_limit & observation.mask
    beyond = jnp.where(limit, z, 0.0)  # as in the likelihood, whose log_ndtr then serves both
    hazard = jnp.exp(-0.5 * beyond**2 - 0.9189385 - log_ndtr(beyond))
    weight = jnp.where(limit, jnp.clip(hazard * (hazard + beyond), 0.0, 1.0), 1.0)
    if noise.outliers is None:
        return weight
    return weight * suspects(noise.outliers, z, observation.mask, limit).weight


def log_likelihood_at(
    observation: Observation,
    forward_model: ForwardModel,
    theta: Float[Array, " param"],
    flux: Float[Array, " band"],
    noise: Noise,
) -> Float[Array, ""]:
    """``log_likelihood`` of the model ``flux`` at ``theta``, for any kind of noise.

    Errors that depend on the parameters count with their logarithm, over that of ``noise.error`` (a constant).
    """
    if noise.known is None:
        return log_likelihood(observation, flux, noise)
    error = local_error(observation, forward_model, theta, noise)
    detected = observation.mask & ~observation.upper_limit
    normalisation = jnp.sum(jnp.where(detected, jnp.log(error / noise.error), 0.0))
    return log_likelihood(observation, flux, noise._replace(error=error, known=None)) - normalisation


def galaxy_model(
    observation: Observation,
    forward_model: ForwardModel,
    *,
    error_floor: float = 0.05,
    model_error: ModelError = "band",
    errors: ErrorModel | None = None,
    noise: Noise | None = None,
) -> None:
    """NumPyro model of ONE galaxy, for any NumPyro inference or inside a model of your own.

    Sites: ``x``, the free parameters in prior-whitened coordinates, Normal(0, 1); where zero points are to be sampled,
    ``zero_points``, one per group in units of its sigma, Normal(0, 1); deterministic: every parameter under its own
    name, ``flux`` (maggies per band) and, with zero points, ``calibrated``, what ``flux`` is in the observed fluxes'
    calibration; the factor ``log_likelihood``. Several galaxies in one model: ``numpyro.handlers.scope`` gives each its
    own site names. ``errors`` is what may be wrong beyond errors. ``noise``, made by ``prepare_noise``, is in place of
    ``error_floor``, ``model_error`` and ``errors``: whoever evaluates the model often prepares it once.
    """
    space = forward_model.space
    n_free = len(space.free(observation.fixed))
    x = numpyro.sample("x", dist.Normal(0.0, 1.0).expand([n_free]).to_event(1))
    theta = space.constrain(x, observation.fixed)
    for name, value in space.unpack(theta).items():
        numpyro.deterministic(name, value)
    flux = numpyro.deterministic("flux", forward_model(theta))
    if noise is None:
        noise = prepare_noise(observation, forward_model, error_floor, model_error, errors)
    if noise.free is not None:
        normal = dist.Normal(0.0, 1.0).expand([noise.free.sigma.size]).to_event(1)
        score = numpyro.sample(ZERO_POINTS, normal)
        flux = numpyro.deterministic("calibrated", flux * gain(noise.free, score))
    numpyro.factor("log_likelihood", log_likelihood_at(observation, forward_model, theta, flux, noise))
