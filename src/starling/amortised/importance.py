"""Draws from a flow and their weights under the exact posterior, for ONE galaxy; callers ``vmap``.

A draw is the flow's coordinates, and a mass given them; its weight is the likelihood times the prior over the density
that it was drawn with. The forward model is evaluated once per draw, at a reference mass: its flux is linear in the
mass.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.amortised.coordinates import MASS, Coordinates
from starling.amortised.features import Seen
from starling.amortised.mass import best_amplitude, draw_log_mass
from starling.amortised.proposal import Proposal
from starling.forward import ForwardModel
from starling.inference.likelihood import log_likelihood_at
from starling.inference.noise import Noise
from starling.inference.observation import Observation


class Weighted(NamedTuple):
    """Draws of one galaxy: parameters, log weights."""

    theta: Float[Array, "draw param"]
    log_weight: Float[Array, " draw"]
    log_density: Float[Array, " draw"]  # likelihood times prior, over the flow's coordinates and the mass


def seen_of(observation: Observation, noise: Noise, coordinates: Coordinates) -> Seen:
    """What a flow is told of ONE galaxy; a limit is told as nothing seen, with the limit for its error."""
    limit = observation.upper_limit
    flux = jnp.where(limit, 0.0, observation.flux)
    error = jnp.where(limit, jnp.hypot(noise.error, observation.flux), noise.error)
    fixed = [jnp.asarray(observation.fixed[name], flux.dtype) for name in coordinates.fixed]
    return Seen(flux, error, observation.mask, jnp.stack(fixed) if fixed else jnp.zeros(0, flux.dtype))


def places(mine: Sequence[str], known: Sequence[str]) -> Int[np.ndarray, " band"]:
    """Where bands are among those that a flow knows; one past the end for those that it does not."""
    return np.asarray([known.index(band) if band in known else len(known) for band in mine], int)


def spread(seen: Seen, columns: Int[Array, " band"], n_bands: int) -> Seen:
    """The same galaxy in all the bands of a flow."""

    def put(values: Array, empty: Array) -> Array:
        return empty.at[columns].set(values, mode="drop")

    zeros = jnp.zeros(n_bands, seen.flux.dtype)
    return Seen(
        put(seen.flux, zeros), put(seen.error, zeros + 1.0), put(seen.mask, zeros.astype(bool)), seen.fixed
    )


def weighted_draws(
    key: Array,
    n: int,
    proposal: Proposal,
    observation: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    columns: Int[Array, " band"],
) -> Weighted:
    """``n`` draws for one galaxy; ``columns``: where the model's bands are among the proposal's (``places``)."""
    coordinates = proposal.coordinates
    key_flow, key_mass = jax.random.split(key)
    z = jax.random.normal(key_flow, (len(coordinates.free), n))
    seen = seen_of(observation, noise, coordinates)
    v, log_slope = proposal.flow.from_normal(proposal.context(spread(seen, columns, len(proposal.bands))), z)
    log_q = -0.5 * jnp.sum(z**2, axis=0) - 0.5 * z.shape[0] * jnp.log(2.0 * jnp.pi) - log_slope

    def one(v: Array, log_q: Array, uniforms: Array) -> Weighted:
        theta, flux, log_mass_density = _complete(v, uniforms, coordinates, seen, observation, forward_model)
        value = log_likelihood_at(observation, forward_model, theta, flux, noise)
        log_density = value + coordinates.log_prior(v, theta)
        log_weight = log_density - log_q - log_mass_density
        return Weighted(theta, jnp.where(jnp.isfinite(log_weight), log_weight, -jnp.inf), log_density)

    return jax.vmap(one)(v.T, log_q, jax.random.uniform(key_mass, (n, 2)))


def _complete(
    v: Float[Array, " free"],
    uniforms: Float[Array, " two"],
    coordinates: Coordinates,
    seen: Seen,
    observation: Observation,
    forward_model: ForwardModel,
) -> tuple[Float[Array, " param"], Float[Array, " band"], Float[Array, ""]]:
    """All parameters, the flux there, and the log density of the mass, which is 0 where there is none to draw."""
    fixed = {name: observation.fixed[name] for name in coordinates.fixed}
    if not coordinates.has_mass:
        theta = coordinates.to_theta(v, fixed)
        return theta, forward_model(theta), jnp.zeros(())
    index = coordinates.space.index(MASS)
    prior = coordinates.space.parameters[index].prior
    reference = 0.5 * (prior.low + prior.high)
    theta = coordinates.to_theta(v, fixed | {MASS: jnp.asarray(reference, v.dtype)})
    flux = forward_model(theta)
    amplitude = best_amplitude(flux, seen.flux, seen.error, seen.mask)
    log_mass, log_density = draw_log_mass(uniforms, amplitude, reference, prior.low, prior.high)
    return theta.at[index].set(log_mass), flux * 10.0 ** (log_mass - reference), log_density
