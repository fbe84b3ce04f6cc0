"""Dust: attenuation by diffuse dust and birth clouds, emission in energy balance."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from starling.sps.stars import hat_weights

_R_V = 4.05
_V_AA = 5500.0
_BUMP_AA, _BUMP_WIDTH_AA = 2175.0, 350.0


def calzetti(wave_aa: Float[Array, " wave"], as_fsps: bool = False) -> Float[Array, " wave"]:
    """A(lambda) / A(V) of Calzetti et al. (2000), not below 0; its polynomials are continued beyond their ends.

    FSPS writes it with E(B-V) = 0.44, which makes it 0.0011 lower at all wavelengths.
    """
    inverse_um = 1e4 / wave_aa
    blue = -2.156 + inverse_um * (1.509 + inverse_um * (-0.198 + 0.011 * inverse_um))
    red = -1.857 + 1.040 * inverse_um
    slope, constant = (1.17 / 0.44 / _R_V, 1.78 / 0.44 / _R_V) if as_fsps else (2.659 / _R_V, 1.0)
    return jnp.maximum(slope * jnp.where(wave_aa < 6300.0, blue, red) + constant, 0.0)


def kriek_conroy(
    wave_aa: Float[Array, " wave"], dust_index: Float[Array, ""], as_fsps: bool = False
) -> Float[Array, " wave"]:
    """tau(lambda) / tau(5500 A) of Kriek & Conroy (2013): Calzetti, a UV bump tied to the slope, times a power law.

    The strength of the 2175 A bump is 0.85 - 1.9 ``dust_index`` (their eq. 3).
    """
    bump = (0.85 - 1.9 * dust_index) * (wave_aa * _BUMP_WIDTH_AA) ** 2
    bump = bump / ((wave_aa**2 - _BUMP_AA**2) ** 2 + (wave_aa * _BUMP_WIDTH_AA) ** 2)
    return (calzetti(wave_aa, as_fsps) + bump / _R_V) * (wave_aa / _V_AA) ** dust_index


def birth_cloud(wave_aa: Float[Array, " wave"], index: float = -1.0) -> Float[Array, " wave"]:
    """tau(lambda) / tau(5500 A) of birth clouds (Charlot & Fall 2000): a power law."""
    return (wave_aa / _V_AA) ** index


def emission_weights(
    qpah: Float[Array, ""],
    umin: Float[Array, ""],
    gamma: Float[Array, ""],
    qpah_nodes: Float[Array, " qpah"],
    umin_nodes: Float[Array, " umin"],
    luminosity: Float[Array, "2 qpah umin"],
) -> Float[Array, "2 qpah umin"]:
    """Share of every Draine & Li (2007) template in the emitted luminosity; sums to 1.

    ``gamma`` is the fraction of the dust MASS in fields above umin, so templates (normalised to unit luminosity) count
    by the ``luminosity`` per mass of the table. Linear interpolation in qpah and umin; constant beyond the table.
    """
    nodes = hat_weights(qpah, qpah_nodes)[:, None] * hat_weights(umin, umin_nodes)
    emitted = jnp.stack([(1.0 - gamma) * nodes, gamma * nodes]) * luminosity
    return emitted / jnp.sum(emitted)
