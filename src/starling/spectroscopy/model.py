"""From the rest-frame spectrum of a model to what an instrument sees of it: redshift, dispersion, resolution, pixels.

    rest frame --(Lagrange)--> even pixels in ln(wavelength) --(Fourier: redshift, Gaussian)--> --(Lagrange)--> pixels

The kernel's variance at a pixel, in ln(wavelength): dispersion^2 + instrument^2 - library^2, never below 0. Where the
library is coarser than the instrument and the galaxy together, spectra stay as blurred as the library has them: there
the dispersion has no gradient, since the model cannot know it (``coarse`` says where).

What is seen in a pixel is the mean of f_lambda over it. The line-spread function of an observation has the pixel in it,
so that mean is the value of the smoothed spectrum at the pixel's centre.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from starling import igm
from starling.cosmology import flux_scale
from starling.lines import AT_TEN_PC
from starling.parameters import ParameterSpace
from starling.spectroscopy.lines import LinePixels, added
from starling.spectroscopy.observation import UNIT_CGS, SpectrumObservation
from starling.spectroscopy.resampling import Taps
from starling.spectroscopy.resolution import LIGHT_KM_S
from starling.spectroscopy.smoothing import VarianceNodes, shifted_and_smoothed

_SCALE = AT_TEN_PC / UNIT_CGS  # flux density of 1 Lsun/Angstrom at 10 pc


@runtime_checkable
class RestSpectrum(Protocol):
    """A point in a parameter space -> a rest-frame spectrum per Msun formed on fixed wavelengths; a pytree.

    ``SpectrumEmulator`` is one; ``starling.sps.spectra`` makes one of an exact model.
    """

    @property
    def space(self) -> ParameterSpace: ...
    @property
    def wave_aa(self) -> Float[Array, " pixel"]: ...
    @property
    def line_wave_aa(self) -> Float[Array, " line"]: ...

    def parts(self, theta: Float[Array, " param"]) -> tuple[Float[Array, " pixel"], Float[Array, " line"]]:
        """L_lambda (Lsun/Angstrom) without the lines that are apart, and those (Lsun)."""
        ...


@runtime_checkable
class Cuttable(Protocol):
    """A ``RestSpectrum`` that is cheaper on fewer wavelengths."""

    def cut(self, low_aa: float, high_aa: float) -> RestSpectrum: ...


class Kernel(NamedTuple):
    """What the resolutions of an observation and of the library make of the kernel, in squared pixels.

    ``beyond``: instrument^2 - library^2 on the pixels that come out of the smoothing, and the least of them.
    """

    beyond: Float[Array, " fine"]
    least: Float[Array, ""]
    sigma_ln: Float[Array, " pixel"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SpectrumModel:
    """``theta`` and dispersions -> f_lambda of ONE galaxy on observed pixels, 1e-17 erg/s/cm2/Angstrom.

    Make it with ``spectrum_model``. Differentiable in everything, redshift and dispersion among it.
    """

    rest: RestSpectrum
    to_even: Taps
    to_pixels: Taps
    blur: Float[Array, " even"]  # variance of the library on the even pixels, squared pixels
    fine_to_pixel: Int[Array, " fine"]  # the used pixel whose resolution each pixel of the smoothing has
    even_place: Float[Array, " pixel"]  # where each observed pixel is on the even ones at redshift 0
    log_line: Float[Array, " line"]  # over the first observed pixel's
    line_pixels: LinePixels
    nodes: VarianceNodes
    log_start: float = field(metadata={"static": True})  # ln(wavelength) of the first even pixel, rest frame
    step: float = field(metadata={"static": True})
    n_periodic: int = field(metadata={"static": True})
    zred_centre: float = field(metadata={"static": True})
    zred: tuple[float, float] = field(metadata={"static": True})
    blue: int = field(metadata={"static": True})  # even pixels that the IGM can absorb
    most_dispersion_kms: float = field(metadata={"static": True})
    most_line_dispersion_kms: float = field(metadata={"static": True})

    @property
    def space(self) -> ParameterSpace:
        """That of the rest-frame spectrum."""
        return self.rest.space

    def kernel(self, observation: SpectrumObservation) -> Kernel:
        """Prepared once per galaxy: it does not depend on the parameters.

        The library's resolution is taken where it is at the observation's own redshift.
        """
        zred = jnp.clip(observation.zred, *self.zred)
        place = self.even_place - jnp.log1p(zred) / self.step
        library = jnp.interp(place, jnp.arange(self.blur.size), self.blur)
        beyond = ((observation.sigma_ln / self.step) ** 2 - library)[self.fine_to_pixel]
        return Kernel(beyond, jnp.min(beyond), observation.sigma_ln)

    def coarse(self, kernel: Kernel, dispersion_kms: Float[Array, ""]) -> Bool[Array, " pixel"]:
        """Where the library is coarser than the instrument and this dispersion."""
        variance = (dispersion_kms / LIGHT_KM_S / self.step) ** 2
        return self.to_pixels(jnp.where(kernel.beyond + variance < 0.0, 1.0, 0.0)) > 0.5

    def continuum(
        self,
        light: Float[Array, " rest"],
        zred: Float[Array, ""],
        dispersion_kms: Float[Array, ""],
        kernel: Kernel,
    ) -> Float[Array, " pixel"]:
        """A rest-frame spectrum redshifted and smoothed, on the observed pixels; its unit stays as it is."""
        even = self.to_even(light)
        if self.blue:
            wave = jnp.asarray(np.exp(self.log_start + self.step * np.arange(self.blue)), even.dtype)
            even = even.at[: self.blue].multiply(igm.transmission(wave, zred))
        pad = self.n_periodic - even.shape[0]
        ramp = jnp.asarray((np.arange(pad) + 1.0) / (pad + 1.0), even.dtype)
        periodic = jnp.concatenate([even, even[-1] + ramp * (even[0] - even[-1])])
        variance = (dispersion_kms / LIGHT_KM_S / self.step) ** 2
        common = jnp.maximum(variance + kernel.least, 0.0)
        extra = jnp.maximum(variance + kernel.beyond, 0.0) - common
        shift = jnp.log1p((zred - self.zred_centre) / (1.0 + self.zred_centre)) / self.step
        return self.to_pixels(shifted_and_smoothed(periodic, shift, common, extra, self.nodes))

    def __call__(
        self,
        theta: Float[Array, " param"],
        dispersion_kms: Float[Array, ""],
        line_dispersion_kms: Float[Array, ""],
        kernel: Kernel,
        lines: bool = True,
    ) -> Float[Array, " pixel"]:
        """The spectrum at ``theta``; without its emission lines where they are not wanted (and are apart from it)."""
        values = self.space.unpack(theta)
        zred = values["zred"]
        light, luminosity = self.rest.parts(theta)
        scale = _SCALE * flux_scale(values["logmass"], zred)
        spectrum = self.continuum(light, zred, dispersion_kms, kernel) * (scale / (1.0 + zred))
        if not lines or not self.log_line.size:
            return spectrum
        if self.blue:
            wave = jnp.exp(self.log_line + self.line_pixels.log_start)
            luminosity = luminosity * igm.transmission(wave, zred)
        width = line_dispersion_kms / LIGHT_KM_S
        where = self.line_pixels.profiles(self.log_line, jnp.log1p(zred), width, kernel.sigma_ln)
        return added(spectrum, *where, scale * luminosity)
