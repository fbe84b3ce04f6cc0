"""Draws from a flow and their weights under the exact posterior, for ONE galaxy; callers ``vmap``.

A draw is the flow's coordinates, and a mass given them; its weight is the likelihood times the prior over the density
that it was drawn with. The forward model is evaluated once per draw, at a reference mass: its flux is linear in the
mass.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from starling.amortised.adapt import Adaptation, Mixture, adapt, log_density
from starling.amortised.amplitude import amplitude_of
from starling.amortised.features import Seen
from starling.amortised.flow import Context
from starling.amortised.mass import draw_log_mass, log_mass_at
from starling.amortised.proposal import Proposal
from starling.amortised.reliability import NEVER, Reliability
from starling.amortised.struck import spread, without_outliers
from starling.forward import ForwardModel
from starling.inference.coordinates import MASS, Coordinates
from starling.inference.likelihood import log_likelihood_at
from starling.inference.noise import Noise, single_error
from starling.inference.observation import Observation

_IN_CACHE = 500  # draws at once


class Galaxy(NamedTuple):
    """What is known of one galaxy, and what the flow is for it."""

    observation: Observation
    noise: Noise
    context: Context


class Weighted(NamedTuple):
    """Draws of one galaxy: parameters, log weights; those that are not ``made`` are room for more."""

    theta: Float[Array, "draw param"]
    log_weight: Float[Array, " draw"]
    log_density: Float[Array, " draw"]  # as in ``Evaluated``
    made: Bool[Array, " draw"]


class Evaluated(NamedTuple):
    """A point, or draws with their axis first.

    ``log_density`` is likelihood times prior, over the prior-whitened coordinates and the mass; with ``log_slope`` it
    is over z and whatever the mass was placed by.
    """

    theta: Float[Array, "*draw param"]
    log_density: Float[Array, "*draw"]
    log_slope: Float[Array, "*draw"]


def seen_of(observation: Observation, noise: Noise, coordinates: Coordinates) -> Seen:
    """What a flow is told of ONE galaxy; a limit is told as nothing seen, with the limit for its error."""
    limit = observation.upper_limit
    flux = jnp.where(limit, 0.0, observation.flux)
    error = single_error(observation, noise, noise.error)
    error = jnp.where(limit, jnp.hypot(error, observation.flux), error)
    fixed = [jnp.asarray(observation.fixed[name], flux.dtype) for name in coordinates.fixed]
    return Seen(flux, error, observation.mask, jnp.stack(fixed) if fixed else jnp.zeros(0, flux.dtype))


def places(mine: Sequence[str], known: Sequence[str]) -> Int[np.ndarray, " band"]:
    """Where bands are among those that a flow knows; one past the end for those that it does not."""
    return np.asarray([known.index(band) if band in known else len(known) for band in mine], int)


def weighted_draws(
    key: Array,
    start: Mixture,
    galaxy: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
    plan: Adaptation,
    until: Reliability = NEVER,
) -> tuple[Weighted, Mixture]:
    """The draws of some rounds for one galaxy, with their exact weights, and the proposal that they end with.

    ``plan`` and ``until``: as in ``adapt``.
    """

    def evaluate(key: Array, z: Float[Array, "free draw"]) -> tuple[Array, Evaluated]:
        found = _evaluate(key, z, galaxy, proposal, forward_model)
        return found.log_density + found.log_slope, found

    found = adapt(key, evaluate, start, plan, until)
    at = found.values
    return Weighted(at.theta, found.log_weight, at.log_density, found.made), found.halves


def weigh(
    key: Array,
    z: Float[Array, "free draw"],
    mixture: Mixture,
    galaxy: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
) -> Weighted:
    """Draws of one proposal, with their exact weights."""
    found = _evaluate(key, z, galaxy, proposal, forward_model)
    value = found.log_density + found.log_slope - log_density(mixture, z)
    log_weight = jnp.where(jnp.isfinite(value), value, -jnp.inf)
    return Weighted(found.theta, log_weight, found.log_density, jnp.ones(value.shape, bool))


def galaxy_of(
    observation: Observation,
    noise: Noise,
    columns: Int[Array, " band"],
    proposal: Proposal,
    forward_model: ForwardModel,
) -> Galaxy:
    """ONE galaxy as the flow sees it; ``columns``: where its bands are among the proposal's (``places``)."""
    seen = seen_of(observation, noise, proposal.coordinates)
    seen = without_outliers(seen, observation.upper_limit, columns, noise, proposal, forward_model)
    context = proposal.context(spread(seen, columns, len(proposal.bands)), seen, forward_model)
    return Galaxy(observation, noise, context)


def _evaluate(
    key: Array,
    z: Float[Array, "free draw"],
    galaxy: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
) -> Evaluated:
    """Draws at z, each with a mass of its own."""
    coordinates, observation = proposal.coordinates, galaxy.observation
    seen = seen_of(observation, galaxy.noise, coordinates)

    def one(v: Array, log_slope: Array, uniforms: Array) -> Evaluated:
        place = partial(draw_log_mass, uniforms)
        theta, flux, log_mass = _complete(v, place, coordinates, seen, galaxy, forward_model)
        value = log_likelihood_at(observation, forward_model, theta, flux, galaxy.noise)
        return Evaluated(theta, value + coordinates.log_prior(v, theta), log_slope - log_mass)

    def some(z: Array, uniforms: Array) -> Evaluated:
        v, log_slope = proposal.flow.from_normal(galaxy.context, z)
        return jax.vmap(one)(v.T, log_slope, uniforms)

    # in pieces that stay in a core's cache
    n = z.shape[1]
    size = min(n, _IN_CACHE)
    uniforms = jax.random.uniform(key, (n, 2))
    if n % size:
        return some(z, uniforms)
    pieces = z.T.reshape(-1, size, z.shape[0]).swapaxes(1, 2), uniforms.reshape(-1, size, 2)
    found = jax.lax.map(lambda piece: some(*piece), pieces)
    return jax.tree.map(lambda leaf: leaf.reshape(n, *leaf.shape[2:]), found)


def _complete(
    v: Float[Array, " free"],
    place: Callable[..., tuple[Array, Array]],
    coordinates: Coordinates,
    seen: Seen,
    galaxy: Galaxy,
    forward_model: ForwardModel,
) -> tuple[Float[Array, " param"], Float[Array, " band"], Float[Array, ""]]:
    """All parameters, the flux there, and what ``place`` says beside the log mass (0 where there is none to draw)."""
    observation, noise = galaxy.observation, galaxy.noise
    fixed = {name: observation.fixed[name] for name in coordinates.fixed}
    if not coordinates.has_mass:
        theta = coordinates.to_theta(v, fixed)
        return theta, forward_model(theta), jnp.zeros(())
    index = coordinates.space.index(MASS)
    prior = coordinates.space.parameters[index].prior
    reference = 0.5 * (prior.low + prior.high)
    theta = coordinates.to_theta(v, fixed | {MASS: jnp.asarray(reference, v.dtype)})
    flux = forward_model(theta)
    amplitude = amplitude_of(flux, seen, observation.upper_limit, noise)
    log_mass, log_density = place(amplitude, reference, prior.low, prior.high)
    return theta.at[index].set(log_mass), flux * 10.0 ** (log_mass - reference), log_density


def placed(
    z: Float[Array, " free"],
    score: Float[Array, ""],
    galaxy: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
) -> Evaluated:
    """The point at z where the mass has this normal score."""
    coordinates, observation = proposal.coordinates, galaxy.observation
    seen = seen_of(observation, galaxy.noise, coordinates)
    v, log_slope = proposal.flow.from_normal(galaxy.context, z[:, None])
    place = partial(log_mass_at, score)
    theta, flux, slope = _complete(v[:, 0], place, coordinates, seen, galaxy, forward_model)
    value = log_likelihood_at(observation, forward_model, theta, flux, galaxy.noise)
    return Evaluated(theta, value + coordinates.log_prior(v[:, 0], theta), log_slope[0] + slope)
