"""What the photometry of a model tells of its spectrum: rest-frame colours and infrared luminosity, interpolated."""

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from starling.lines import AT_TEN_PC
from starling.photometry import AB_ZERO_POINT_CGS, LIGHT_AA_S, POGSON, Band

_INFRARED_AA = (8e4, 1e7)
_N_STEPS = 200
_FAINTEST = 1e-30  # maggies; no light has no logarithm


def quantile_wavelengths(band: Band, n: int = 15) -> np.ndarray:
    """``n`` wavelengths (Angstrom) that each stand for as many of a filter's photons, of a source of flat f_nu."""
    photons = band.transmission / band.wave_aa
    steps = 0.5 * (photons[1:] + photons[:-1]) * np.diff(band.wave_aa)
    cumulative = np.concatenate([[0.0], np.cumsum(steps)]) / np.sum(steps)
    return np.interp((np.arange(n) + 0.5) / n, cumulative, band.wave_aa)


def rest_frame_colours(
    flux: Float[Array, " band"],
    wave_aa: Float[Array, " band"],
    zred: Float[Array, ""],
    rest_wave_aa: Float[Array, "rest quantile"],
) -> Float[Array, " colour"]:
    """Differences of AB magnitudes in consecutive rest-frame filters, given by their ``quantile_wavelengths``.

    ``flux`` (maggies) is in bands of ascending effective wavelength ``wave_aa``, observed frame.
    """
    log_flux = _log_flux(flux, wave_aa, jnp.log(rest_wave_aa) + jnp.log1p(zred))
    return POGSON * jnp.diff(logsumexp(log_flux, axis=1))


def log_infrared_luminosity(
    flux_at_ten_pc: Float[Array, " band"], wave_aa: Float[Array, " band"], zred: Float[Array, ""]
) -> Float[Array, ""]:
    """log10 of the luminosity in 8-1000 um (rest frame), Lsun, from redshifted fluxes in maggies at 10 pc."""
    edges = np.linspace(np.log(_INFRARED_AA[0]), np.log(_INFRARED_AA[1]), _N_STEPS + 1)
    rest = jnp.asarray(0.5 * (edges[1:] + edges[:-1]), flux_at_ten_pc.dtype)
    log_wave = rest + jnp.log1p(zred)
    # nu f_nu, integrated over ln(wavelength)
    log_power = _log_flux(flux_at_ten_pc, wave_aa, log_wave) - log_wave
    unit = np.log10((edges[1] - edges[0]) * LIGHT_AA_S * AB_ZERO_POINT_CGS / AT_TEN_PC)
    return logsumexp(log_power) / np.log(10.0) + unit


def _log_flux(
    flux: Float[Array, " band"], wave_aa: Float[Array, " band"], log_wave: Float[Array, "*wave"]
) -> Float[Array, "*wave"]:
    """ln f_nu, linear in ln(wavelength) between bands and held beyond the first and the last."""
    return jnp.interp(log_wave, jnp.log(wave_aa), jnp.log(jnp.maximum(flux, _FAINTEST)))
