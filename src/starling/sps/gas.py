"""Birth clouds and nebulae: which of the stars are in them, and what the gas around those emits."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from starling.sps.prepare import BIRTH_CLOUD_GYR, Nebular, Prepared, Stars
from starling.sps.stars import age_weights, hat_weights


def formed_in_clouds(
    stars: Stars, masses: Float[Array, " bin"], edges_gyr: Float[Array, " edge"], formed: Float[Array, " age"]
) -> Float[Array, " young"]:
    """Of the mass ``formed`` at the age nodes, what is in birth clouds."""
    n_young = stars.young.shape[1]
    if stars.whole_nodes:
        return formed[:n_young]
    return age_weights(masses, edges_gyr, stars.log_age, stars.log_step, BIRTH_CLOUD_GYR)[:n_young]


def formed_with_gas(
    stars: Stars, formed: Float[Array, " age"], young_formed: Float[Array, " young"]
) -> Float[Array, "place gas"]:
    """Mass with nebulae at the nodes that have them: inside birth clouds and, where nodes are whole, outside."""
    n_young, n_gas = young_formed.size, stars.photon_rate.shape[1]
    inside = jnp.pad(young_formed, (0, n_gas - n_young))
    if n_gas == n_young:
        return inside[None]
    return jnp.stack([inside, formed[:n_gas].at[:n_young].set(0.0)])


def nebular_emission(
    prepared: Prepared,
    metals: Float[Array, " z"],
    with_gas: Float[Array, "place gas"],
    values: Mapping[str, Any],
) -> tuple[Float[Array, "place pixel"], Float[Array, "place line"]]:
    """Continuum (with the weakest lines) and lines of the gas around young stars, before dust."""
    stars, nebular, n_places = prepared.stars, prepared.nebular, len(with_gas)
    if nebular is None:
        dtype = stars.young.dtype
        return jnp.zeros((n_places, stars.young.shape[-1]), dtype), jnp.zeros((n_places, 0), dtype)
    photons = (metals @ stars.photon_rate * with_gas) @ nebular.from_stars
    metallicity = hat_weights(values["gas_logz"], nebular.log_z)
    weights = (metallicity[:, None] * photons[:, None, :]).reshape(n_places, -1)
    spectra, lines = (table.reshape(weights.shape[1], -1) for table in (nebular.spectra, nebular.lines))
    return weights @ spectra, weights @ lines


def lines_in_pixels(nebular: Nebular | None, lines: Float[Array, " line"], n_pixels: int) -> Array:
    """A spectrum of emission lines, each shared between the two nearest pixels."""
    return jnp.zeros(n_pixels, lines.dtype) if nebular is None else lines @ nebular.line_pixels
