"""Emission lines on the pixels of an observed spectrum: Gaussians in ln(wavelength), each in a window of pixels."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from starling.spectroscopy.resolution import LIGHT_KM_S

_REACH = 5.0  # sigma of a line that its window holds on either side


@dataclass(frozen=True)
class Line:
    """Lines that share one amplitude: rest-frame vacuum wavelengths, and shares of the flux that sum to 1."""

    name: str
    wave_aa: tuple[float, ...]
    share: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if len(self.wave_aa) != len(self.share) or not np.isclose(sum(self.share), 1.0):
            raise ValueError(
                f"line {self.name!r} needs a share of its flux for each wavelength, which sum to 1"
            )


# Vacuum wavelengths as in the line list of SDSS. The pairs of [OIII], [OI] and [NII] share an upper level: 1 to 3.
OPTICAL_LINES = (
    Line("[OII] 3727", (3727.09,)),
    Line("[OII] 3730", (3729.88,)),
    Line("[NeIII] 3870", (3869.86,)),
    Line("H delta", (4102.89,)),
    Line("H gamma", (4341.68,)),
    Line("[OIII] 4364", (4364.44,)),
    Line("H beta", (4862.68,)),
    Line("[OIII] 4960, 5008", (4960.30, 5008.24), (0.25, 0.75)),
    Line("He I 5877", (5877.25,)),
    Line("[OI] 6302, 6366", (6302.05, 6365.54), (0.75, 0.25)),
    Line("H alpha", (6564.61,)),
    Line("[NII] 6550, 6585", (6549.85, 6585.27), (0.25, 0.75)),
    Line("[SII] 6718", (6718.29,)),
    Line("[SII] 6733", (6732.67,)),
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinePixels:
    """The observed pixels, and which of them a wavelength falls on; make it with ``line_pixels``."""

    log_wave: Float[Array, " pixel"]  # over the first pixel's
    first: Int[Array, " cell"]  # the pixel at or after the start of each cell of ``step`` in ln(wavelength)
    log_start: float = field(metadata={"static": True})
    step: float = field(metadata={"static": True})
    window: int = field(metadata={"static": True})

    def profiles(
        self,
        log_line: Float[Array, " line"],
        redshift_log: Float[Array, ""],
        width: Float[Array, ""],
        sigma_ln: Float[Array, " pixel"],
    ) -> tuple[Int[Array, "line window"], Float[Array, "line window"]]:
        """Pixels around each line, and f_lambda in them (per Angstrom) of a line of flux 1.

        ``log_line``: ln(rest wavelength) over ``log_start``; ``redshift_log`` = ln(1 + z); ``width``: sigma of the gas
        in ln(wavelength), which adds to that of the line-spread function.
        """
        centre = log_line + redshift_log
        cell = jnp.clip(jnp.floor(jax.lax.stop_gradient(centre) / self.step), 0, self.first.size - 1)
        first = self.first[cell.astype(jnp.int32)] - self.window // 2
        pixels = jnp.clip(first, 0, self.log_wave.size - self.window)[:, None] + np.arange(self.window)
        sigma = jnp.sqrt(width**2 + sigma_ln[pixels] ** 2)
        at = self.log_wave[pixels]
        z = (at - centre[:, None]) / sigma
        wave = jnp.exp(self.log_start + at)
        return pixels, jnp.exp(-0.5 * z**2) / (float(np.sqrt(2.0 * np.pi)) * sigma * wave)


def line_pixels(wave_aa: Float[np.ndarray, " pixel"], most_sigma: float) -> LinePixels:
    """For lines of a sigma in ln(wavelength) of up to ``most_sigma``, the line-spread function in it."""
    log_wave = np.log(wave_aa)
    step = float(np.min(np.diff(log_wave)))
    window = min(int(np.ceil(2.0 * _REACH * most_sigma / step)) + 3, wave_aa.size)
    cells = log_wave[0] + step * np.arange(int(np.ceil((log_wave[-1] - log_wave[0]) / step)) + 1)
    first = np.searchsorted(log_wave, cells)
    start = float(log_wave[0])
    return LinePixels(
        jnp.asarray(log_wave - start, jnp.float32), jnp.asarray(first, jnp.int32), start, step, window
    )


def added(
    spectrum: Float[Array, " pixel"],
    pixels: Int[Array, "line window"],
    profiles: Float[Array, "line window"],
    fluxes: Float[Array, " line"],
) -> Float[Array, " pixel"]:
    """The spectrum with lines of these fluxes."""
    return spectrum.at[pixels].add(fluxes[:, None] * profiles)


def templates(
    pixels: Int[Array, "line window"], profiles: Float[Array, "line window"], n_pixels: int
) -> Float[Array, "line pixel"]:
    """Each line on all pixels."""
    empty = jnp.zeros((pixels.shape[0], n_pixels), profiles.dtype)
    return empty.at[jnp.arange(pixels.shape[0])[:, None], pixels].set(profiles)


def outside_lines(
    wave_aa: Float[Array, " pixel"],
    zred: Float[Array, ""],
    lines: tuple[Line, ...],
    half_width_kms: float,
) -> Bool[Array, " pixel"]:
    """True where no line is nearer than this, at this redshift."""
    rest = np.log([wave for line in lines for wave in line.wave_aa])
    away = jnp.abs(jnp.log(wave_aa)[:, None] - jnp.log1p(zred) - rest)
    return jnp.all(away > half_width_kms / LIGHT_KM_S, axis=1)
