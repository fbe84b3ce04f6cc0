"""What dust lets through of stars, nebulae and torus, and what it emits in turn."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from starling.sps import dust
from starling.sps.conventions import Conventions
from starling.sps.prepare import DustEmission, Torus
from starling.sps.stars import hat_weights

ATTENUATIONS = ("kriek_conroy", "calzetti")


def screens(
    attenuation: str, conventions: Conventions, values: Mapping[str, Any], wave_aa: Float[Array, " wave"]
) -> Float[Array, "2 wave"]:
    """Transmission of birth clouds and diffuse dust together, and of the diffuse dust."""
    if attenuation == "calzetti":
        curve = dust.calzetti(wave_aa, conventions.calzetti)
    else:
        curve = dust.kriek_conroy(wave_aa, values["dust_index"], conventions.calzetti)
    diffuse = jnp.exp(-values["dust2"] * curve)
    clouds = diffuse * jnp.exp(-values["dust1_fraction"] * values["dust2"] * dust.birth_cloud(wave_aa))
    return jnp.stack([clouds, diffuse])


def nebulae_behind(
    emission: Float[Array, "place pixel"],
    lines: Float[Array, "place line"],
    passed: Float[Array, "2 pixel"],
    passed_lines: Float[Array, "2 line"],
    widths: Float[Array, " pixel"],
) -> tuple[Float[Array, " pixel"], Float[Array, " line"], Float[Array, ""]]:
    """Nebulae as they are seen behind the dust where they are, and the luminosity that it absorbs of them."""
    passed, passed_lines = passed[: len(emission)], passed_lines[: len(emission)]
    absorbed = jnp.sum(widths * emission * (1.0 - passed)) + jnp.sum(lines * (1.0 - passed_lines))
    return jnp.sum(emission * passed, axis=0), jnp.sum(lines * passed_lines, axis=0), absorbed


def thermal(
    table: DustEmission | None, values: Mapping[str, Any], n_pixels: int
) -> tuple[Float[Array, " pixel"], Float[Array, ""]]:
    """Emission of the dust per Lsun absorbed, and the share of it in 8-1000 um; zeros without dust emission."""
    if table is None:
        return jnp.zeros(n_pixels, jnp.float32), jnp.zeros((), jnp.float32)
    share = dust.emission_weights(
        values["duste_qpah"],
        values["duste_umin"],
        10.0 ** values["log_duste_gamma"],
        table.qpah,
        table.umin,
        table.luminosity,
    ).ravel()
    red = share @ table.spectra
    blue = jnp.zeros(n_pixels - red.size, red.dtype)
    return jnp.concatenate([blue, red]), share @ table.infrared_share


def escaping(
    emitted: Float[Array, " pixel"], diffuse: Float[Array, " pixel"], widths: Float[Array, " pixel"]
) -> Float[Array, " pixel"]:
    """What is seen of the emission of dust that absorbs some of it and emits that again, without end."""
    lost = jnp.sum(widths * emitted * (1.0 - diffuse))
    return emitted * diffuse / (1.0 - lost)


def torus_emission(table: Torus | None, values: Mapping[str, Any], n_pixels: int) -> Float[Array, " pixel"]:
    """Emission of the torus per Lsun, before the diffuse dust; zeros without a torus."""
    if table is None:
        return jnp.zeros(n_pixels, jnp.float32)
    return hat_weights(10.0 ** values["log_agn_tau"], table.tau) @ table.spectra
