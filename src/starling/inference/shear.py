"""Coordinates in which the mass no longer bends a posterior: each point's mass, less the one that fits best there.

The flux of a galaxy is linear in ``10**logmass``, so that the total flux, known best of all, ties the mass to every
other parameter, along a curve. With x the mass in the coordinate that its prior is a standard normal in, v the other
parameters (``starling.inference.coordinates``) and h(v) the x of the mass that fits best at v, chains run over

    (a, v),   x = a + h(v)

a shear: its Jacobian determinant is 1, and no mass ever leaves its prior's range. h is closed; where the flux is hardly
seen it goes over into a constant. The forward model is evaluated once per point, at a reference mass.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Float

from starling.forward import ForwardModel, is_linear_in_mass
from starling.inference.coordinates import MASS, Coordinates
from starling.inference.density import FlatDensity
from starling.inference.likelihood import independent_residuals, log_likelihood_at
from starling.inference.noise import Noise
from starling.inference.observation import Observation
from starling.priors import ConditionalPrior

_HARDLY_SEEN = 2.0  # flux over its error, all bands together, at which h is half of what fits best
_EDGE = 0.01  # of the mass's prior, left free at either end


def can_shear(forward_model: ForwardModel, observation: Observation) -> bool:
    """Whether the flux is linear in the mass, and that is free, with a prior of its own, and is not all that is."""
    if not is_linear_in_mass(forward_model):
        return False
    space = forward_model.space
    free = space.free(observation.fixed)
    if MASS not in free or len(free) == 1:
        return False
    return not isinstance(space.parameters[space.index(MASS)].prior, ConditionalPrior)


def best_mass(
    flux: Float[Array, " band"], observation: Observation, noise: Noise
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """log10 of the factor that brings a model's flux nearest to the detections, and how surely (0 to 1)."""
    noise = noise._replace(marginal=None)  # whose covariance follows the flux: of two fluxes it has two
    counted = jnp.where(observation.upper_limit, 0.0, 1.0)
    data = counted * independent_residuals(observation, jnp.zeros_like(flux), noise)
    model = data - counted * independent_residuals(observation, flux, noise)
    square = jnp.maximum(jnp.sum(model**2), 1e-20)
    product = jnp.sum(model * data)
    seen = jnp.maximum(product, 0.0) / jnp.sqrt(square)
    share = seen**4 / (seen**4 + _HARDLY_SEEN**4)
    good = jnp.isfinite(product) & (product > 1e-6 * square)
    factor = jnp.where(good, product, 1.0) / jnp.where(good, square, 1.0)
    return jnp.log10(factor), jnp.where(good, share, 0.0)


def sheared(observation: Observation, forward_model: ForwardModel, noise: Noise) -> FlatDensity:
    """The density of ``galaxy_model`` in these coordinates; the mass comes first."""
    coordinates = Coordinates(forward_model.space, tuple(observation.fixed))
    space, index = forward_model.space, forward_model.space.index(MASS)
    prior = space.parameters[index].prior
    assert not isinstance(prior, ConditionalPrior)
    reference = 0.5 * (prior.low + prior.high)
    size = len(space.free(observation.fixed))
    place = space.free(observation.fixed).index(MASS)

    # traced and differentiated once, however many of the functions below are evaluated at a point
    @jax.jit
    def point(position: Float[Array, " dim"]) -> tuple[Array, Array, Array]:
        """theta, flux and x of the mass."""
        v = position[1:]
        apart = observation.fixed | {MASS: jnp.asarray(reference, v.dtype)}
        theta = coordinates.to_theta(v, apart)
        flux = forward_model(theta)
        log_factor, share = best_mass(flux, observation, noise)
        cumulative = jnp.clip(prior.cdf(reference + log_factor), _EDGE, 1.0 - _EDGE)
        x = position[0] + share * ndtri(cumulative)
        log_mass = prior.icdf(ndtr(x))
        return theta.at[index].set(log_mass), flux * 10.0 ** (log_mass - reference), x

    def log_density(position: Float[Array, " dim"]) -> Float[Array, ""]:
        theta, flux, x = point(position)
        value = log_likelihood_at(observation, forward_model, theta, flux, noise)
        return value + coordinates.log_prior_without_mass(position[1:], theta) + _log_normal(x)

    def sites(position: Float[Array, " dim"]) -> dict[str, Array]:
        theta, flux, _ = point(position)
        x = space.unconstrain(theta, tuple(observation.fixed))
        return space.unpack(theta) | {"x": x, "flux": flux}

    def reported(position: Float[Array, " dim"]) -> Float[Array, ""]:
        theta, flux, _ = point(position)
        value = log_likelihood_at(observation, forward_model, theta, flux, noise)
        return value + jnp.sum(_log_normal(space.unconstrain(theta, tuple(observation.fixed))))

    def white(position: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return position.at[0].set(point(position)[2])

    def begin(x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return jnp.concatenate([jnp.zeros(1, x.dtype), jnp.delete(x, place, assume_unique_indices=True)])

    def ravel(values: dict[str, Array]) -> Float[Array, " dim"]:
        return begin(values["x"])

    return FlatDensity(size, log_density, sites, ravel, ("x",), reported, white, mass_apart=True)


def _log_normal(x: Array) -> Array:
    return -0.5 * x**2 - 0.5 * jnp.log(2.0 * jnp.pi)
