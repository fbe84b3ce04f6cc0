"""The likelihood of photometry and the NumPyro model of one galaxy."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import log_ndtr
from jaxtyping import Float

from starling.forward import ForwardModel
from starling.inference.observation import Observation


def total_error(
    observation: Observation, forward_model: ForwardModel, error_floor: float | Array = 0.05
) -> Float[Array, " band"]:
    """Observed error, ``error_floor`` times the flux and the forward model's own error in quadrature, maggies.

    All three at the OBSERVED flux (Mathews et al. 2023, section 3), so the result does not depend on the parameters.
    1 in bands that are not used.
    """
    flux = jnp.where(observation.mask, observation.flux, 0.0)
    error = jnp.where(observation.mask, observation.flux_err, 1.0)
    # hypot does not square, so errors of 1e-20 maggies and less survive float32
    total = jnp.hypot(jnp.hypot(error, error_floor * flux), forward_model.flux_error(flux))
    return jnp.where(observation.mask, total, 1.0)


def residuals(
    observation: Observation, flux: Float[Array, " band"], error: Float[Array, " band"]
) -> Float[Array, " band"]:
    """(observed - model) / error; 0 in bands that are not used, whatever stands there."""
    observed = jnp.where(observation.mask, observation.flux, 0.0)
    return jnp.where(observation.mask, (observed - flux) / error, 0.0)


def log_likelihood(
    observation: Observation, flux: Float[Array, " band"], error: Float[Array, " band"]
) -> Float[Array, ""]:
    """Log likelihood of the model ``flux`` (maggies): -chi^2 / 2 over detections plus log Phi over upper limits.

    ``error`` is ``total_error``. The constant -sum log(error sqrt(2 pi)) is left out: it does not depend on the
    parameters, and at some 27 per band it would cost float32 three digits.
    """
    z = residuals(observation, flux, error)
    limit = observation.upper_limit & observation.mask
    detected = jnp.where(limit, 0.0, -0.5 * z**2)
    return jnp.sum(detected + jnp.where(limit, log_ndtr(jnp.where(limit, z, 0.0)), 0.0))


def galaxy_model(observation: Observation, forward_model: ForwardModel, *, error_floor: float = 0.05) -> None:
    """NumPyro model of ONE galaxy, for any NumPyro inference or inside a model of your own.

    Sites: ``x``, the free parameters in prior-whitened coordinates, Normal(0, 1); deterministic: every parameter
    under its own name and ``flux`` (maggies per band); the factor ``log_likelihood``. Several galaxies in one model:
    ``numpyro.handlers.scope`` gives each its own site names.
    """
    space = forward_model.space
    n_free = len(space.free(observation.fixed))
    x = numpyro.sample("x", dist.Normal(0.0, 1.0).expand([n_free]).to_event(1))
    theta = space.constrain(x, observation.fixed)
    for name, value in space.unpack(theta).items():
        numpyro.deterministic(name, value)
    flux = numpyro.deterministic("flux", forward_model(theta))
    error = total_error(observation, forward_model, error_floor)
    numpyro.factor("log_likelihood", log_likelihood(observation, flux, error))
