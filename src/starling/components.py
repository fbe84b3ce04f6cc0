"""What the flux of a galaxy is a sum of.

Light is additive: with ``f_i`` the share of the mass that formed in bin i of the star-formation history, the flux per
Msun formed at 10 pc in any band is

    sum_i f_i stars_i + f_1 lines + (sum_i f_i absorbed_i) dust + 10**log_fagn (sum_i f_i bolometric_i) torus.

None of the terms on the right depends on the star-formation history but through the edges of its bins, that is through
redshift; so neither the masses of the bins nor ``log_fagn`` have to be learned from examples.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from starling.parameters import ParameterSpace
from starling.photometry import POGSON
from starling.sfh import N_BINS, bin_edges_gyr, history_properties, mass_fractions, stick_fractions
from starling.spaces import STICKS

RATIOS = tuple(f"logsfr_ratios_{i}" for i in range(1, N_BINS))
LOG_FAGN = "log_fagn"
TORUS_PARAMETERS = (LOG_FAGN, "log_agn_tau")
# What only a spectrum tells of a galaxy, per Msun formed; the rest of its properties follow from the SFH.
SPECTRAL_PROPERTIES = ("log_mass_fraction", "u_minus_v", "v_minus_j", "log_lir_per_msun")


class Components(NamedTuple):
    """The terms of the sum. A channel is a band or a rest-frame band.

    Fluxes are in maggies at 10 pc, attenuated and redshifted: of the stars and the nebular continuum per Msun formed in
    the bin; of the dust per Lsun absorbed; of the torus per Lsun emitted. ``lines`` are the attenuated luminosities of
    emission lines, which only the youngest bin has, in Lsun per Msun formed in it; ``starling.lines`` has their flux in
    channels. ``absorbed`` and ``bolometric`` are Lsun per Msun formed, ``mass_fraction`` Msun surviving per Msun
    formed, ``infrared_share`` the share of the dust's light in 8-1000 um. ``torus`` is zero in a model without one.
    """

    stars: Float[Array, "*batch bin channel"]
    lines: Float[Array, "*batch line"]
    absorbed: Float[Array, "*batch bin"]
    bolometric: Float[Array, "*batch bin"]
    mass_fraction: Float[Array, "*batch bin"]
    dust: Float[Array, "*batch channel"]
    infrared_share: Float[Array, "*batch"]
    torus: Float[Array, "*batch channel"]


def components_from(outputs: Mapping[str, Any]) -> Components:
    """The components among the arrays that a simulator gave, rows first; KeyError where one is not there."""
    return Components(*(jnp.asarray(outputs[name]) for name in Components._fields))


class Mixture(NamedTuple):
    """What multiplies the components of one galaxy: shares of the mass by bin (youngest first), AGN fraction."""

    fractions: Float[Array, " bin"]
    fagn: Float[Array, ""]


def mixture_of(space: ParameterSpace, theta: Float[Array, " param"]) -> Mixture:
    """The mixture of a point: of bins of star formation or, in the DESI model, of basis histories; 0 AGN if none."""
    values = space.unpack(theta)
    fagn = 10.0 ** values[LOG_FAGN] if LOG_FAGN in space else jnp.zeros((), theta.dtype)
    if STICKS[0] in space:
        return Mixture(stick_fractions(jnp.stack([values[name] for name in STICKS])), fagn)
    ratios = jnp.stack([values[name] for name in RATIOS])
    return Mixture(mass_fractions(ratios, bin_edges_gyr(values["zred"])).astype(theta.dtype), fagn)


def terms(
    parts: Components, mixture: Mixture, line_flux: Float[Array, " channel"]
) -> Float[Array, "term channel"]:
    """Flux of every term of the sum: stars of each bin, lines, dust, torus; maggies at 10 pc per Msun formed.

    ``line_flux`` is that of all ``parts.lines`` together, per Msun formed in the youngest bin.
    """
    dust = mixture.fractions @ parts.absorbed * parts.dust
    torus = mixture.fagn * (mixture.fractions @ parts.bolometric) * parts.torus
    lines = mixture.fractions[0] * line_flux
    return jnp.concatenate([mixture.fractions[:, None] * parts.stars, jnp.stack([lines, dust, torus])])


def spectral_properties(
    parts: Components, mixture: Mixture, rest_flux: Float[Array, "3"]
) -> Float[Array, " property=4"]:
    """The ``SPECTRAL_PROPERTIES``; ``rest_flux`` is the total in ``REST_FRAME_BANDS``."""
    u, v, j = -POGSON * jnp.log(rest_flux)
    infrared = mixture.fractions @ parts.absorbed * parts.infrared_share
    return jnp.stack([jnp.log10(mixture.fractions @ parts.mass_fraction), u - v, v - j, jnp.log10(infrared)])


def derived_properties(
    values: Mapping[str, Array], spectral: Mapping[str, Float[Array, ""]]
) -> dict[str, Array]:
    """``starling.forward.PROPERTIES`` of one galaxy from its named parameters and ``SPECTRAL_PROPERTIES``."""
    ratios = jnp.stack([values[name] for name in RATIOS])
    history = history_properties(values["logmass"], ratios, values["zred"], spectral["log_mass_fraction"])
    return history | {
        "a_v": POGSON * values["dust2"],
        "u_minus_v": spectral["u_minus_v"],
        "v_minus_j": spectral["v_minus_j"],
        "log_lir": values["logmass"] + spectral["log_lir_per_msun"],
    }
