"""The likelihood of photometry and the NumPyro model of one galaxy; ``starling.inference.noise`` has the errors."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import log_ndtr
from jaxtyping import Float

from starling.forward import ForwardModel
from starling.inference.noise import ModelError, Noise, local_error, prepare_noise
from starling.inference.observation import Observation


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
    z = residuals(observation, flux, noise.error)
    return z if noise.whiten is None else noise.whiten @ z


def log_likelihood(
    observation: Observation,
    flux: Float[Array, " band"],
    noise: Noise | Float[Array, " band"],
) -> Float[Array, ""]:
    """Log likelihood of the model ``flux`` (maggies): -chi^2 / 2 over detections plus log Phi over upper limits.

    ``noise`` may be the error of each band. What does not depend on the parameters is left out: -sum log(error sqrt(2
    pi)), which at some 27 per band would cost float32 three digits, and the determinant of a covariance.
    """
    noise = noise if isinstance(noise, Noise) else Noise(noise)
    z = independent_residuals(observation, flux, noise)
    limit = observation.upper_limit & observation.mask
    detected = jnp.where(limit, 0.0, -0.5 * z**2)
    return jnp.sum(detected + jnp.where(limit, log_ndtr(jnp.where(limit, z, 0.0)), 0.0))


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
    return log_likelihood(observation, flux, error) - normalisation


def galaxy_model(
    observation: Observation,
    forward_model: ForwardModel,
    *,
    error_floor: float = 0.05,
    model_error: ModelError = "band",
    noise: Noise | None = None,
) -> None:
    """NumPyro model of ONE galaxy, for any NumPyro inference or inside a model of your own.

    Sites: ``x``, the free parameters in prior-whitened coordinates, Normal(0, 1); deterministic: every parameter
    under its own name and ``flux`` (maggies per band); the factor ``log_likelihood``. Several galaxies in one model:
    ``numpyro.handlers.scope`` gives each its own site names. ``noise``, made by ``prepare_noise``, is in place of
    ``error_floor`` and ``model_error``: whoever evaluates the model often prepares it once.
    """
    space = forward_model.space
    n_free = len(space.free(observation.fixed))
    x = numpyro.sample("x", dist.Normal(0.0, 1.0).expand([n_free]).to_event(1))
    theta = space.constrain(x, observation.fixed)
    for name, value in space.unpack(theta).items():
        numpyro.deterministic(name, value)
    flux = numpyro.deterministic("flux", forward_model(theta))
    if noise is None:
        noise = prepare_noise(observation, forward_model, error_floor, model_error)
    numpyro.factor("log_likelihood", log_likelihood_at(observation, forward_model, theta, flux, noise))
