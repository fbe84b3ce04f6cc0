"""The exact DESI model (Alsing et al. 2020, section 3): basis histories of star formation and of metallicity.

Stars behind a Calzetti screen, without nebulae; on the pixels of its own grid, which ends where the spectra do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling.components import Components
from starling.cosmology import age_gyr
from starling.parameters import ParameterSpace
from starling.sfh import N_HISTORIES, metallicity_basis, sfh_basis
from starling.spaces import METALS, desi_bgs
from starling.sps import dust
from starling.sps.grids import SSPGrid
from starling.sps.pixels import PixelGrid, rebin
from starling.sps.stars import hat_weights

Z_SUN = 0.02  # of the SSP tables' log Z/Zsun
_NODES, _WEIGHTS = (
    0.5 * (x + s) for x, s in zip(np.polynomial.legendre.leggauss(4), (1.0, 0.0), strict=True)
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HistoryModel:
    """Spectra of the basis histories; build it with ``history_model``."""

    stars: Float[Array, "z age pixel"]
    mass_fraction: Float[Array, "z age"]
    log_z: Float[Array, " z"]
    log_age: Float[Array, " age"]
    space: ParameterSpace = field(metadata={"static": True})
    pixels: PixelGrid = field(metadata={"static": True})
    description: str = field(metadata={"static": True})
    surrogate: bool = field(metadata={"static": True})

    line_wave_aa = np.zeros(0)

    def component_spectra(self, theta: Float[Array, " param"]) -> Components:
        """The attenuated light of every basis history per Msun formed, Lsun/Angstrom; no other component."""
        values = self.space.unpack(theta)
        weights = self.weights(values)
        wave = jnp.asarray(self.pixels.wave_aa, self.stars.dtype)
        n_pixels = self.stars.shape[-1]
        light = weights.reshape(N_HISTORIES, -1) @ self.stars.reshape(-1, n_pixels)
        none, nothing = jnp.zeros(N_HISTORIES, light.dtype), jnp.zeros(n_pixels, light.dtype)
        return Components(
            stars=light * jnp.exp(-values["dust2"] * dust.calzetti(wave)),
            lines=jnp.zeros(0, light.dtype),
            absorbed=none,
            bolometric=none,
            mass_fraction=jnp.sum(weights * self.mass_fraction, axis=(1, 2)),
            dust=nothing,
            infrared_share=jnp.zeros((), light.dtype),
            torus=nothing,
        )

    def weights(self, values: Mapping[str, Array]) -> Float[Array, "history z age"]:
        """Mass formed at every node of the SSP table by each basis history; sums to 1 over nodes.

        Linear interpolation in log age and log Z, integrated over age with four points in every cell of the table;
        stars younger than its first node count as that old.
        """
        universe = age_gyr(values["zred"])
        steps = jnp.diff(self.log_age)
        first = jnp.exp(self.log_age[0]) * jnp.asarray(_NODES)
        inner = self.log_age[:-1, None] + steps[:, None] * jnp.asarray(_NODES)
        lookback = jnp.concatenate([first[None], jnp.exp(inner)])  # [cell, point]
        measure = jnp.concatenate(
            [
                jnp.exp(self.log_age[:1, None]) * jnp.asarray(_WEIGHTS),
                jnp.exp(inner) * steps[:, None] * jnp.asarray(_WEIGHTS),
            ]
        )
        x = 1.0 - lookback / universe
        formed = jnp.where(
            x[..., None] > 0.0, sfh_basis(x) * measure[..., None], 0.0
        )  # [cell, point, history]
        formed = formed / jnp.sum(formed, axis=(0, 1))
        fractions = metallicity_basis(x) @ jnp.stack([values[name] for name in METALS])
        metals = jax.vmap(jax.vmap(lambda z: hat_weights(z, self.log_z)))(jnp.log10(fractions / Z_SUN))
        rising = jnp.concatenate([jnp.ones((1, _NODES.size)), jnp.broadcast_to(_NODES, inner.shape)])
        to_right = jnp.einsum("cph,cp,cpz->hzc", formed, rising, metals)
        to_left = jnp.einsum("cph,cp,cpz->hzc", formed, 1.0 - rising, metals)
        # cell c lies between nodes c - 1 and c; the first one has no node on its left
        return to_right.at[:, :, :-1].add(to_left[:, :, 1:])


def history_model(ssp: SSPGrid, pixels: PixelGrid, space: ParameterSpace | None = None) -> HistoryModel:
    """The DESI model on an SSP table; ``space`` defaults to ``desi_bgs()``."""
    space = space or desi_bgs()
    zred = space.parameters[space.index("zred")]
    oldest = float(age_gyr(zred.low))
    ssp = ssp.trim(oldest, (ssp.log_z[0], ssp.log_z[-1]))
    return HistoryModel(
        stars=jnp.asarray(rebin(ssp.wave_aa, ssp.l_lambda, pixels), jnp.float32),
        mass_fraction=jnp.asarray(ssp.mass_fraction, jnp.float32),
        log_z=jnp.asarray(ssp.log_z, jnp.float32),
        log_age=jnp.asarray(np.log(ssp.age_gyr), jnp.float32),
        space=space,
        pixels=pixels,
        description=ssp.name,
        surrogate=ssp.surrogate,
    )
