"""Filters, the integral of a spectrum over them, and magnitudes.

Fluxes are in maggies, f_nu / 3631 Jy: the photon-counting mean of sedpy and the AB system. Arsinh magnitudes follow
Mathews et al. (2023), eq. 2: they equal AB magnitudes for bright fluxes and stay finite at zero and below.
"""

import difflib
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

LIGHT_AA_S = 2.99792458e18
AB_ZERO_POINT_CGS = 3.631e-20  # erg / s / cm2 / Hz
POGSON = 2.5 / np.log(10.0)
MATHEWS_SOFTENING = 1e-14  # maggies; arsinh magnitudes tend to 35


class Band(NamedTuple):
    """A filter: transmission (any scale, photon-counting) on an ascending grid of observed wavelengths."""

    name: str
    wave_aa: np.ndarray
    transmission: np.ndarray
    wave_effective_aa: float
    sha256: str


def make_band(name: str, wave_aa: ArrayLike, transmission: ArrayLike) -> Band:
    """A band from a curve; ValueError unless it ascends, is finite and transmits something."""
    wave, curve = np.asarray(wave_aa, float), np.asarray(transmission, float)
    if wave.ndim != 1 or wave.shape != curve.shape or wave.size < 3:
        raise ValueError(
            f"filter {name!r}: wavelength and transmission must be two columns of 3 rows or more"
        )
    if not (np.all(np.isfinite(wave)) and np.all(np.isfinite(curve)) and np.all(np.diff(wave) > 0)):
        raise ValueError(f"filter {name!r}: the curve must be finite and ascend in wavelength (Angstrom)")
    curve = np.clip(curve, 0.0, None)
    photons = np.trapezoid(curve / wave, wave)
    if photons <= 0:
        raise ValueError(f"filter {name!r} transmits nothing")
    effective = float(np.exp(np.trapezoid(curve / wave * np.log(wave), wave) / photons))
    digest = hashlib.sha256(np.stack([wave, curve]).astype("<f8").tobytes()).hexdigest()
    return Band(name, wave, curve, effective, digest)


@cache
def available_bands() -> tuple[str, ...]:
    """Names of the filters that sedpy carries."""
    from sedpy import observate

    folder = Path(observate.__file__).parent / "data" / "filters"
    return tuple(sorted(path.stem for path in folder.glob("*.par")))


@cache
def load_band(name: str) -> Band:
    """A filter by its sedpy name, or by the path of a two-column text file (Angstrom, transmission).

    Raises ValueError with the nearest names where there is no such filter.
    """
    if name in available_bands():
        from sedpy.observate import Filter

        curve = Filter(name)
        return make_band(name, curve.wavelength, curve.transmission)
    path = Path(name)
    if path.suffix and path.is_file():
        table = np.loadtxt(path, comments="#", ndmin=2)
        return make_band(path.stem, table[:, 0], table[:, 1])
    near = difflib.get_close_matches(name, available_bands(), n=3, cutoff=0.4)
    raise ValueError(
        f"no filter {name!r} in sedpy; "
        + (f"did you mean {', '.join(near)}?" if near else "see sedpy's list")
    )


def load_bands(names: Sequence[str]) -> tuple[Band, ...]:
    """Several filters; one error for all the unknown names."""
    bands, errors = [], []
    for name in names:
        try:
            bands.append(load_band(name))
        except ValueError as error:
            errors.append(str(error))
    if errors:
        raise ValueError("; ".join(errors))
    return tuple(bands)


def band_columns(known: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The numbers of bands among those that a model has; ValueError names the unknown ones and the nearest known."""
    unknown = [name for name in wanted if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else f"; it has {', '.join(known)}"
        raise ValueError(f"the model has no band {', '.join(map(repr, unknown))}{hint}")
    return [known.index(name) for name in wanted]


def projection_matrix(bands: Sequence[Band], edges_aa: np.ndarray) -> np.ndarray:
    """Weights [band, pixel] that turn mean f_lambda in pixels (erg/s/cm2/A, observed frame) into maggies.

    The piecewise-linear transmission is integrated exactly in every pixel against lambda dlambda, so the only
    approximation is that f_lambda is constant over a pixel. float64; pixels outside a filter get 0.
    """
    weights = np.zeros((len(bands), edges_aa.size - 1))
    for row, band in zip(weights, bands, strict=True):
        grid = np.union1d(
            band.wave_aa, edges_aa[(edges_aa > band.wave_aa[0]) & (edges_aa < band.wave_aa[-1])]
        )
        curve = np.interp(grid, band.wave_aa, band.transmission)
        # transmission * wavelength is quadratic between nodes: Simpson's rule is exact
        middle = 0.25 * (curve[1:] + curve[:-1]) * (grid[1:] + grid[:-1])
        parts = np.diff(grid) / 6.0 * (curve[1:] * grid[1:] + curve[:-1] * grid[:-1] + 4.0 * middle)
        pixel = np.searchsorted(edges_aa, 0.5 * (grid[1:] + grid[:-1])) - 1
        inside = (pixel >= 0) & (pixel < row.size)
        np.add.at(row, pixel[inside], parts[inside])
        row /= ab_zero_counts(band)
    return weights


def ab_zero_counts(band: Band) -> float:
    """The integral of transmission * wavelength * f_lambda for a source of one maggie (erg/s/cm2 * A)."""
    # f_lambda of the AB zero point is f0 c / lambda^2, so the integrand is transmission / wavelength
    fine = np.union1d(band.wave_aa, np.linspace(band.wave_aa[0], band.wave_aa[-1], 4 * band.wave_aa.size))
    curve = np.interp(fine, band.wave_aa, band.transmission)
    return AB_ZERO_POINT_CGS * LIGHT_AA_S * float(np.trapezoid(curve / fine, fine))


def synthetic_maggies(band: Band, wave_aa: np.ndarray, f_lambda: np.ndarray) -> float:
    """Flux through a band of a spectrum given at points (erg/s/cm2/A, observed frame, linear in between), maggies."""
    inside = (wave_aa > band.wave_aa[0]) & (wave_aa < band.wave_aa[-1])
    grid = np.union1d(band.wave_aa, wave_aa[inside])
    curve = np.interp(grid, band.wave_aa, band.transmission)
    source = np.interp(grid, wave_aa, f_lambda, left=0.0, right=0.0)
    return float(np.trapezoid(curve * grid * source, grid)) / ab_zero_counts(band)


def arsinh_magnitude(maggies: ArrayLike, softening: float = MATHEWS_SOFTENING) -> Array:
    """Arsinh magnitude of a flux in maggies; tends to -2.5 log10(softening) as the flux tends to 0."""
    return -2.5 * jnp.log10(softening) - POGSON * jnp.arcsinh(jnp.asarray(maggies) / (2.0 * softening))


def maggies_from_arsinh(magnitude: ArrayLike, softening: float = MATHEWS_SOFTENING) -> Array:
    """Inverse of ``arsinh_magnitude``."""
    return 2.0 * softening * jnp.sinh((-2.5 * jnp.log10(softening) - jnp.asarray(magnitude)) / POGSON)


def emulator_flux_error(
    flux: Float[Array, " band"], sigma_mag: Float[Array, " band"], softening: ArrayLike = MATHEWS_SOFTENING
) -> Float[Array, " band"]:
    """Error in maggies of a flux whose arsinh magnitude is off by ``sigma_mag`` (Mathews et al. 2023, eq. 9).

    ``softening`` may differ by galaxy and band: where the magnitude is that of a scaled flux, scale it likewise.
    """
    return 2.0 * sigma_mag / POGSON * softening * jnp.sqrt(1.0 + (flux / (2.0 * jnp.asarray(softening))) ** 2)
