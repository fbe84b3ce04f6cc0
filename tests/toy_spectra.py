"""A made-up rest-frame spectrum: absorption lines of any width on a continuum, on wavelengths of our choice."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling.parameters import Parameter, ParameterSpace
from starling.priors import TruncatedNormal, Uniform
from starling.spectroscopy import Library, SpectrumObservation, observe_spectrum

PLAIN = Library("made up", "vacuum")
LINES_AA = np.array([4862.68, 5008.24])
_CENTRES = np.random.default_rng(1).uniform(3600.0, 6400.0, 60)
_DEPTHS = np.random.default_rng(2).uniform(0.1, 0.5, 60)
WIDTH = 3e-4  # sigma of its absorption lines in ln(wavelength)


def toy_space(zred: tuple[float, float] = (0.09, 0.11)) -> ParameterSpace:
    return ParameterSpace(
        "toy",
        (
            Parameter("logmass", Uniform(9.0, 12.0)),
            Parameter("metals", TruncatedNormal(1.0, 0.3, 0.0, 3.0)),
            Parameter("slope", Uniform(-3.0, 3.0)),
            Parameter("zred", Uniform(*zred)),
        ),
    )


def toy_light(log_wave: Any, metals: Any, slope: Any, variance: Any = 0.0) -> Any:
    """The spectrum, with its absorption lines smoothed by a further variance in ln(wavelength): exact.

    NumPy in, NumPy out.
    """
    xp = np if isinstance(log_wave, np.ndarray) else jnp
    width = np.broadcast_to(np.sqrt(WIDTH**2 + variance), log_wave.shape)[:, None]
    z = (log_wave[:, None] - np.log(_CENTRES)) / width
    lines = xp.sum(_DEPTHS * (WIDTH / width) * xp.exp(-0.5 * z**2), axis=1)
    return 1e-4 * xp.exp(slope * (log_wave - np.log(5000.0))) * (1.0 - 0.5 * metals * lines)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ToySpectrum:
    """Stars with lines, and two emission lines."""

    wave_aa: Float[Array, " pixel"]
    line_wave_aa: Float[Array, " line"]
    space: ParameterSpace = field(metadata={"static": True})

    def parts(self, theta: Float[Array, " param"]) -> tuple[Float[Array, " pixel"], Float[Array, " line"]]:
        values = self.space.unpack(theta)
        # a galaxy further in than its first pixel: logarithms of large numbers lose digits in float32
        log_wave = jnp.log(self.wave_aa / 5000.0) + np.log(5000.0)
        light = toy_light(log_wave, values["metals"], values["slope"])
        return light, 1e-3 * values["metals"] * jnp.ones(self.line_wave_aa.size)


def toy_rest(step: float = 1e-4, zred: tuple[float, float] = (0.09, 0.11), lines: bool = True) -> ToySpectrum:
    wave = np.exp(np.arange(np.log(3300.0), np.log(7000.0), step))
    line_wave = LINES_AA if lines else np.zeros(0)
    return ToySpectrum(jnp.asarray(wave, jnp.float32), jnp.asarray(line_wave, jnp.float32), toy_space(zred))


def toy_pixels(
    n: int = 600, resolution: float | np.ndarray = 2000.0, zred: float = 0.1, kind: str = "R"
) -> SpectrumObservation:
    """Pixels from 4200 to 6600 Angstrom, flux 1 and error 1 in every one."""
    wave = np.linspace(4200.0, 6600.0, n)
    unit = "1e-17 erg / (s cm2 Angstrom)"
    one = np.ones(n)
    return observe_spectrum(
        wave, one, one, zred=zred, resolution=resolution, resolution_kind=kind, flux_unit=unit
    )
