"""Which bands a flow had better not hear of: outliers, where the likelihood allows for them.

A flow learned from galaxies whose bands scatter as their errors say. A band that is far off moves its whole proposal,
while the posterior hardly knows of the band. So a short fit, reweighted as the likelihood says, finds such bands, and
the flow is told that they are missing, which it knows well. This makes a proposal and nothing else: the weights of the
draws count every band.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from starling.amortised.amplitude import amplitude_of
from starling.amortised.features import Seen
from starling.amortised.proposal import Proposal, local_of
from starling.forward import ForwardModel
from starling.inference.coordinates import MASS
from starling.inference.noise import Noise
from starling.inference.outliers import suspects

_FITS = 2
_LEAST_WEIGHT = 0.15  # of a band that is told: 5.4 errors off, for a Student-t of 4 degrees of freedom
_LEAST_SHARE = 0.5  # of the bands that are left; with fewer all are told


def spread(seen: Seen, columns: Int[Array, " band"], n_bands: int) -> Seen:
    """The same galaxy in all the bands of a flow."""

    def put(values: Array, empty: Array) -> Array:
        return empty.at[columns].set(values, mode="drop")

    zeros = jnp.zeros(n_bands, seen.flux.dtype)
    return Seen(
        put(seen.flux, zeros), put(seen.error, zeros + 1.0), put(seen.mask, zeros.astype(bool)), seen.fixed
    )


def without_outliers(
    seen: Seen,
    limit: Array,
    columns: Int[Array, " band"],
    noise: Noise,
    proposal: Proposal,
    forward_model: ForwardModel,
) -> Seen:
    """ONE galaxy with its outliers masked; ``columns`` are the places of its bands among those of the flow."""
    outliers = noise.outliers
    if outliers is None:
        return seen
    coordinates = proposal.coordinates
    apart = dict(zip(coordinates.fixed, seen.fixed, strict=True))
    if coordinates.has_mass:
        low, high = (end[coordinates.space.index(MASS)] for end in coordinates.space.bounds)
        apart[MASS] = jnp.asarray(0.5 * (low + high), seen.flux.dtype)

    def fit(_: Array, mask: Array) -> Array:
        told = seen._replace(mask=mask)
        features = proposal.standard.features(spread(told, columns, len(proposal.bands)))
        local = local_of(proposal.flow, features, told, coordinates, forward_model)
        flux: Float[Array, " band"] = forward_model(coordinates.to_theta(local.mean, apart))
        if coordinates.has_mass:
            flux = flux * amplitude_of(flux, seen, limit, noise).mean
        z = jnp.where(seen.mask, (jnp.where(seen.mask, seen.flux, 0.0) - flux) / seen.error, 0.0)
        weight = suspects(outliers, z, seen.mask, jnp.zeros_like(seen.mask)).weight
        kept = seen.mask & (weight > _LEAST_WEIGHT)
        return jnp.where(jnp.sum(kept) >= _LEAST_SHARE * jnp.sum(seen.mask), kept, seen.mask)

    return seen._replace(mask=jax.lax.fori_loop(0, _FITS, fit, seen.mask))
