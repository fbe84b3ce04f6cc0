"""What was observed of a galaxy's spectrum, checked where it enters."""

from typing import Any, NamedTuple

import astropy.units as u
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from starling.spectroscopy.resolution import sigma_in_log
from starling.spectroscopy.wavelengths import in_vacuum

UNIT_CGS = 1e-17  # erg / s / cm2 / Angstrom: what fluxes of SDSS and DESI are in
FLUX_UNIT = u.Unit(f"{UNIT_CGS:g} erg / (s cm2 Angstrom)")


class SpectrumObservation(NamedTuple):
    """The spectrum of one galaxy, or of many on the same pixels, with a leading galaxy axis.

    ``flux`` and ``flux_err``: f_lambda, 1e-17 erg/s/cm2/Angstrom; ``mask`` is True where a pixel is used, and what
    stands in an unused one never matters. ``sigma_ln``: sigma of the line-spread function in ln(wavelength), the pixel
    in it. ``wave_aa``: centres of the pixels, vacuum Angstrom, observed. ``zred`` is about the galaxy's redshift:
    where the windows of masked lines and the resolution of the library are put, whatever redshift is tried.
    """

    flux: Float[Array, "*galaxy pixel"]
    flux_err: Float[Array, "*galaxy pixel"]
    mask: Bool[Array, "*galaxy pixel"]
    sigma_ln: Float[Array, "*galaxy pixel"]
    wave_aa: Float[np.ndarray | Array, " pixel"]
    zred: Float[Array, "*galaxy"]


# Axes for ``vmap`` over galaxies, whose pixels are one and the same.
PER_GALAXY = SpectrumObservation(0, 0, 0, 0, None, 0)  # type: ignore[arg-type]


def observe_spectrum(
    wavelength: Any,
    flux: Any,
    flux_err: Any,
    *,
    zred: ArrayLike,
    resolution: ArrayLike,
    resolution_kind: str = "R",
    medium: str = "vacuum",
    mask: ArrayLike | None = None,
    flux_unit: Any = None,
    wavelength_unit: Any = "Angstrom",
    pixel_in_resolution: bool = True,
) -> SpectrumObservation:
    """A ``SpectrumObservation`` from arrays [pixel] or [galaxy, pixel], with astropy units or with units named.

    ``flux`` is f_lambda or f_nu, in any unit of either. ``resolution`` is one number or one per pixel, of the kind
    ``R``, ``fwhm_aa``, ``sigma_aa`` or ``sigma_kms``. Measured on lines of lamps or of the sky it has the pixel in it;
    where it is that of the optics alone (``pixel_in_resolution=False``) width^2 / 12 is added to its variance. Without
    a ``mask`` pixels with a finite flux and a finite positive error are used. ValueError names the array, the pixel
    and the mend.
    """
    given = _in_unit("wavelength", wavelength, wavelength_unit, u.AA)
    if given.ndim != 1 or given.size < 8:
        raise ValueError(
            f"wavelength has shape {given.shape}: give one axis of 8 pixels or more, common to all galaxies"
        )
    bad = ~np.isfinite(given) | (given <= 0.0) | (np.diff(given, prepend=-np.inf) <= 0.0)
    _refuse(
        "wavelength", bad, given, "not above the pixel before it", "sort the pixels and drop repeated ones"
    )
    wave = in_vacuum(given, medium)
    _same_shape(wave, flux, flux_err)
    values = _in_unit("flux", flux, flux_unit, FLUX_UNIT, u.spectral_density(wave * u.AA))
    errors = _in_unit("flux_err", flux_err, flux_unit, FLUX_UNIT, u.spectral_density(wave * u.AA))
    sound = np.isfinite(values) & np.isfinite(errors) & (errors > 0.0)
    used = sound if mask is None else np.broadcast_to(np.asarray(mask, bool), values.shape)
    mend = "leave the pixel out of the mask"
    _refuse("flux", used & ~np.isfinite(values), values, "not finite", mend)
    _refuse("flux_err", used & ~sound, errors, "not a positive number", mend)
    if not used.any(axis=-1).all():
        raise ValueError("the mask leaves a spectrum without a pixel: True is for pixels that are used")
    sigma = _widths(resolution, resolution_kind, given, wave, pixel_in_resolution)
    _refuse("resolution", used & ~(np.isfinite(sigma) & (sigma > 0.0)), sigma, "not positive", mend)
    redshift = np.broadcast_to(np.asarray(zred, float), values.shape[:-1])
    _refuse(
        "zred",
        np.asarray(~(redshift > -0.01)),
        redshift,
        "no redshift",
        "give about the redshift of the galaxy",
    )
    sigma = np.broadcast_to(np.where(np.isfinite(sigma), sigma, np.nanmedian(sigma)), values.shape)
    arrays = (np.where(used, values, 0.0), np.where(used, errors, 1.0), used, sigma)
    single = [jnp.asarray(a, bool if a.dtype == bool else jnp.float32) for a in arrays]
    return SpectrumObservation(
        single[0], single[1], single[2], single[3], wave, jnp.asarray(redshift, jnp.float32)
    )


def _widths(
    resolution: ArrayLike, kind: str, given: np.ndarray, wave: np.ndarray, pixel_in_resolution: bool
) -> np.ndarray:
    value = np.asarray(resolution, float)
    if value.shape[-1:] not in ((), (1,), given.shape):
        raise ValueError(
            f"resolution has shape {value.shape}: give one number, or one for each of {given.size} pixels"
        )
    shape = np.broadcast_shapes(value.shape, given.shape)
    sigma = sigma_in_log(np.broadcast_to(value, shape), kind, np.broadcast_to(given, shape))
    return sigma if pixel_in_resolution else np.hypot(sigma, np.gradient(np.log(wave)) / np.sqrt(12.0))


def _in_unit(name: str, given: Any, unit: Any, wanted: u.UnitBase, equivalencies: Any = None) -> np.ndarray:
    """The numbers in the wanted unit, float64."""
    quantity = given
    if not isinstance(given, u.Quantity):
        if unit is None:
            raise ValueError(f"{name} has no unit: give an astropy Quantity, or {name.split('_')[0]}_unit")
        try:
            quantity = u.Quantity(np.asarray(given, float), u.Unit(unit))
        except ValueError as error:
            raise ValueError(f"{name}: {unit!r} is no unit that astropy knows ({error})") from error
    try:
        return np.asarray(quantity.to_value(wanted, equivalencies=equivalencies or []), float)
    except u.UnitConversionError as error:
        kind = "length" if wanted == u.AA else "unit of f_lambda or f_nu"
        raise ValueError(f"{name} is in {quantity.unit}, which is no {kind}: {error}") from error


def _same_shape(wave: np.ndarray, flux: Any, flux_err: Any) -> None:
    if np.ndim(flux) not in (1, 2) or np.shape(flux)[-1] != wave.size:
        raise ValueError(
            f"flux has shape {np.shape(flux)}, wavelength has {wave.size} pixels: give [pixel] or [galaxy, pixel]"
        )
    if np.shape(flux_err) != np.shape(flux):
        raise ValueError(
            f"flux_err has shape {np.shape(flux_err)}, flux has {np.shape(flux)}: give both alike"
        )


def _refuse(name: str, bad: np.ndarray, values: np.ndarray, what: str, mend: str) -> None:
    """ValueError that names the first of the bad entries."""
    if not np.any(bad):
        return
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    where = f" at pixel {first[-1]}" + (f" of galaxy {first[0]}" if len(first) > 1 else "") if first else ""
    number = np.broadcast_to(values, np.shape(bad))[first]
    raise ValueError(f"{name}{where} is {number:g}, {what} ({int(np.sum(bad))} such in all): {mend}")
