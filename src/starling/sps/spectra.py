"""Exact models as rest-frame spectra, what ``starling.spectroscopy`` fits with."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from starling.components import mixture_of, terms
from starling.parameters import ParameterSpace
from starling.sps.composite import ExactModel
from starling.sps.histories import HistoryModel


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ExactSpectrum:
    """``theta`` -> rest-frame spectrum of one galaxy, Lsun/Angstrom per Msun formed, on the exact model's pixels."""

    model: ExactModel | HistoryModel

    @property
    def space(self) -> ParameterSpace:
        return self.model.space

    @property
    def wave_aa(self) -> Float[Array, " pixel"]:
        """Centres of the pixels, in the medium of the tables."""
        return jnp.asarray(self.model.pixels.wave_aa, jnp.float32)

    @property
    def line_wave_aa(self) -> Float[Array, " line"]:
        """Lines that are apart, in the medium of the tables."""
        if isinstance(self.model, HistoryModel):
            return jnp.zeros(0, jnp.float32)
        return self.model.line_light.wave_aa

    def parts(self, theta: Float[Array, " param"]) -> tuple[Float[Array, " pixel"], Float[Array, " line"]]:
        """L_lambda without the lines that are apart, and those (Lsun)."""
        if isinstance(self.model, HistoryModel):
            components = self.model.component_spectra(theta)
            nothing = jnp.zeros(components.dust.shape, components.dust.dtype)
            return jnp.sum(
                terms(components, mixture_of(self.space, theta), nothing), axis=0
            ), components.lines
        spectrum = self.model.spectrum(theta)
        return spectrum.smooth, spectrum.lines
