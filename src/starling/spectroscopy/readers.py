"""Spectra as people have them: files of SDSS and DESI, tables, specutils' ``Spectrum``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.table import Table
from jax.typing import ArrayLike

from starling.configuration import nearest
from starling.spectroscopy.desi import coadd_cameras
from starling.spectroscopy.observation import FLUX_UNIT, SpectrumObservation, observe_spectrum
from starling.spectroscopy.resolution import LIGHT_KM_S

_SDSS_PIXEL = 1e-4 * np.log(10.0)  # of the unit of wdisp in ln(wavelength)


def read_sdss(path: str | Path, zred: float | None = None) -> SpectrumObservation:
    """A ``spec-PLATE-MJD-FIBER.fits`` of SDSS or BOSS: vacuum; resolution from ``wdisp``; redshift the file's own.

    Pixels without inverse variance, or with a bit in ``and_mask``, are not used. ValueError says what is not there.
    """
    with _opened(path) as file:
        if len(file) < 2 or not isinstance(file[1], fits.BinTableHDU):
            raise ValueError(f"{path} has no table in its first extension: a spec-....fits of SDSS is needed")
        table = {name.lower(): np.asarray(file[1].data[name]) for name in file[1].columns.names}
        _need(path, table, ("flux", "loglam", "ivar", "and_mask", "wdisp"))
        unit = str(file[0].header.get("BUNIT", "1E-17"))
        if "1E-17" not in unit.upper():
            raise ValueError(f"{path}: fluxes in {unit!r}; SDSS has 1E-17 erg/cm^2/s/Ang")
        if zred is None:
            zred = _sdss_redshift(path, file)
    error = _errors(table["ivar"])
    return observe_spectrum(
        10.0 ** table["loglam"].astype(float),
        table["flux"],
        error,
        zred=zred,
        resolution=np.where(table["wdisp"] > 0.0, table["wdisp"] * _SDSS_PIXEL * LIGHT_KM_S, np.nan),
        resolution_kind="sigma_kms",
        mask=np.isfinite(error) & (table["and_mask"] == 0) & (table["wdisp"] > 0.0),
        flux_unit=FLUX_UNIT,
    )


def read_desi(path: str | Path, targets: Sequence[int], zred: ArrayLike) -> SpectrumObservation:
    """Galaxies of a coadd file of DESI, by TARGETID, with their redshifts (which are in other files of DESI).

    The cameras are averaged where they overlap; the resolution is the second moment of DESI's matrix. ValueError says
    what is not there.
    """
    with _opened(path) as file:
        names = [hdu.name for hdu in file]
        if "FIBERMAP" not in names:
            raise ValueError(
                f"{path} has no FIBERMAP: a coadd-....fits of DESI is needed; it has {', '.join(names)}"
            )
        known = np.asarray(file["FIBERMAP"].data["TARGETID"])
        rows = []
        for target in targets:
            found = np.flatnonzero(known == target)
            if found.size != 1:
                raise ValueError(f"{path} has {found.size} spectra of TARGETID {target}: one is needed")
            rows.append(int(found[0]))
        whole = coadd_cameras(path, file, rows)
    return observe_spectrum(
        whole.wave_aa,
        whole.flux,
        _errors(whole.ivar),
        zred=zred,
        resolution=whole.sigma_aa,
        resolution_kind="sigma_aa",
        mask=(whole.ivar > 0.0) & (whole.sigma_aa > 0.0),
        flux_unit=whole.unit,
    )


def read_spectrum(
    path: str | Path,
    *,
    zred: float,
    resolution: ArrayLike | str,
    wavelength: str = "wavelength",
    flux: str = "flux",
    flux_err: str = "flux_err",
    mask: str | None = None,
    **given: Any,
) -> SpectrumObservation:
    """A table that astropy reads (ECSV, FITS, CSV, Parquet, ...), by the names of its columns.

    ``resolution`` is a number or a column; ``mask`` a column that is true where a pixel is used. Units are those of the
    columns, or are ``given`` to ``observe_spectrum`` with whatever else it takes. ValueError says what is not there.
    """
    try:
        table = Table.read(path)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is no table that astropy reads: {error}") from error
    named = [wavelength, flux, flux_err, *([mask] if mask else [])]
    named += [resolution] if isinstance(resolution, str) else []
    for name in named:
        if name not in table.colnames:
            raise ValueError(f"{path} has no column {name!r}{nearest(name, table.colnames)}")
    columns = {n: _column(table[n]) for n in named}
    return observe_spectrum(
        columns[wavelength],
        columns[flux],
        columns[flux_err],
        zred=zred,
        resolution=np.asarray(columns[resolution], float) if isinstance(resolution, str) else resolution,
        mask=np.asarray(columns[mask], bool) if mask else None,
        **given,
    )


def from_specutils(
    spectrum: Any, *, zred: float, resolution: ArrayLike, medium: str, **given: Any
) -> SpectrumObservation:
    """A ``specutils.Spectrum`` of one galaxy: its axis, flux, uncertainty of any kind, and mask (true where bad).

    It does not know whether its wavelengths are in ``air`` or ``vacuum``: say so.
    """
    if spectrum.uncertainty is None:
        raise ValueError("the spectrum has no uncertainty: set spectrum.uncertainty")
    error = spectrum.uncertainty.represent_as(StdDevUncertainty).array * spectrum.flux.unit
    sound = np.isfinite(spectrum.flux.value) & np.isfinite(error.value) & (error.value > 0.0)
    used = sound if spectrum.mask is None else sound & ~np.asarray(spectrum.mask, bool)
    axis = spectrum.spectral_axis.to("Angstrom", equivalencies=u.spectral())
    order = np.argsort(axis.value)
    width = np.asarray(resolution, float)
    return observe_spectrum(
        np.asarray(axis.value)[order],
        spectrum.flux[order],
        error[order],
        zred=zred,
        resolution=width[order] if width.shape == order.shape else width,
        medium=medium,
        mask=used[order],
        **given,
    )


def _column(column: Any) -> Any:
    """Its numbers, with their unit where it has one; masked entries become NaN."""
    values = column.filled(np.nan) if hasattr(column, "filled") and column.dtype.kind == "f" else column
    return values.quantity if getattr(column, "unit", None) is not None else np.asarray(values)


def _errors(ivar: np.ndarray) -> np.ndarray:
    """One sigma; infinite where nothing is known."""
    good = np.isfinite(ivar) & (ivar > 0.0)
    return np.where(good, 1.0 / np.sqrt(np.where(good, ivar, 1.0)), np.inf)


def _opened(path: str | Path) -> Any:
    try:
        return fits.open(path, memmap=False)
    except OSError as error:
        raise ValueError(f"cannot read {path} as FITS: {error}") from error


def _need(path: str | Path, table: dict[str, np.ndarray], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(table)}")


def _sdss_redshift(path: str | Path, file: Any) -> float:
    for hdu in file[2:]:
        if isinstance(hdu, fits.BinTableHDU) and "Z" in hdu.columns.names and len(hdu.data) == 1:
            return float(hdu.data["Z"][0])
    raise ValueError(f"{path} has no redshift in it: give zred")
