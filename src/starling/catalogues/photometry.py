"""From the columns of a band to fluxes in maggies, a mask, upper limits, and what was wrong in which row."""

from typing import NamedTuple

import numpy as np
from astropy import units

from starling.catalogues.config import BandConfig, Photometry, UpperLimitConfig
from starling.catalogues.errors import CatalogueError
from starling.catalogues.findings import Finding, rows_where
from starling.catalogues.read import Numbers, Tables, find_column, flags, numbers
from starling.catalogues.units import Unit, ab_magnitude, to_maggies


class RawBand(NamedTuple):
    """The entries of a band as the table has them, and which of them stand for something."""

    name: str
    unit: Unit
    flux: np.ndarray
    error: np.ndarray
    limit: np.ndarray
    missing: np.ndarray
    findings: list[Finding]


class CleanBand(NamedTuple):
    """A band in maggies; ``mask`` is True where it can be used."""

    flux: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    limit: np.ndarray
    findings: list[Finding]


def read_band(tables: Tables, photometry: Photometry, name: str) -> RawBand:
    """The entries of a band; CatalogueError where a column is missing or its own unit contradicts the configuration."""
    band, key = photometry.bands[name], f"photometry.bands.{name}"
    unit, codes = photometry.unit_of(name), photometry.missing_of(name)
    for part, column in (("flux", band.flux), ("error", band.error)):
        _compare_with_table(tables, column, unit, f"{key}.{part}")
    flux, error = numbers(tables, band.flux, f"{key}.flux"), numbers(tables, band.error, f"{key}.error")
    limit = _upper_limits(
        tables, band.upper_limit or photometry.upper_limit, error.values, f"{key}.upper_limit"
    )
    missing = flux.empty | _coded(flux, codes) | ((error.empty | _coded(error, codes)) & ~limit)
    findings = [
        finding
        for column, entry in ((band.flux, flux), (band.error, error))
        for finding in rows_where(entry.unreadable, tables.ids, "masked", column, "not a number", name)
    ]
    # an error that is a code or no number says nothing about an upper limit
    nothing = _coded(error, codes) | error.empty | error.unreadable
    return RawBand(
        name, unit, flux.values, np.where(nothing, np.nan, error.values), limit & ~missing, missing, findings
    )


def clean_band(raw: RawBand, band: BandConfig, photometry: Photometry, ids: tuple[str, ...]) -> CleanBand:
    """Fluxes and errors in maggies with every unusable entry masked; a finding for each but missing values."""
    flux, error = to_maggies(raw.flux, np.where(raw.limit, np.abs(raw.error), raw.error), raw.unit)
    settings = band.upper_limit or photometry.upper_limit
    if settings is not None:
        # a magnitude's error says little about a limit, and a marked limit often has none
        weak = raw.limit & (~(error > 0) | ~np.isfinite(error) | (raw.unit.kind == "magnitude"))
        error = np.where(weak, flux / settings.sigma, error)
    with np.errstate(all="ignore"):
        flux = flux * band.correction
        quoted = error * band.correction * band.error_scale
        error = np.hypot(quoted, band.calibration_error * np.abs(flux))
        unheld = ~np.isfinite(flux.astype(np.float32)) | ~np.isfinite(error.astype(np.float32))
        unheld |= error < np.finfo(np.float32).tiny
        checks = [
            (np.isnan(raw.flux), band.flux, "NaN"),
            (np.isinf(raw.flux), band.flux, "infinite"),
            (np.isnan(raw.error) & ~raw.limit, band.error, "NaN error"),
            (np.isinf(raw.error) & ~raw.limit, band.error, "infinite error"),
            ((raw.error <= 0) & ~raw.limit, band.error, "error not positive"),
            (raw.limit & ~(flux > 0), band.flux, "upper limit not positive"),
            (unheld, band.flux, "out of the range of single precision"),
        ]
        if photometry.brightest_mag is not None:
            bright = ab_magnitude(np.abs(flux)) < photometry.brightest_mag
            checks.append((bright, band.flux, f"brighter than AB {photometry.brightest_mag:g}"))
        if photometry.lowest_snr is not None:
            checks.append(
                (flux / error < photometry.lowest_snr, band.flux, f"S/N below {photometry.lowest_snr:g}")
            )
    mask = ~raw.missing
    findings = list(raw.findings)
    for finding in findings:
        mask[finding.row - 1] = False
    for bad, column, reason in checks:
        findings += rows_where(bad & mask, ids, "masked", column, reason, raw.name)
        mask &= ~bad
    return CleanBand(
        np.where(mask, flux, np.nan), np.where(mask, error, np.nan), mask, raw.limit & mask, findings
    )


def _coded(entry: Numbers, codes: tuple[float, ...]) -> np.ndarray:
    """Where an entry is one of the codes for a missing value; NaN is one where it is listed."""
    coded = np.isin(entry.values, codes)
    return coded | (np.isnan(entry.values) & ~entry.unreadable) if np.isnan(codes).any() else coded


def _upper_limits(
    tables: Tables, settings: UpperLimitConfig | None, error: np.ndarray, key: str
) -> np.ndarray:
    if settings is None:
        return np.zeros(len(tables.ids), bool)
    if settings.column is not None:
        return flags(tables, settings.column, key)
    return np.isfinite(error) & (error < 0)


def _compare_with_table(tables: Tables, name: str, unit: Unit, key: str) -> None:
    """CatalogueError where the table itself says that a column is in another unit."""
    column, _ = find_column(tables, name, key)
    if column.unit is None:
        return
    stated = units.Unit(column.unit, parse_strict="silent")
    maggies = None
    for base, factor in ((units.mgy, 1.0), (units.Jy, 1.0 / 3631.0)):
        if isinstance(stated, units.UnitBase) and stated.is_equivalent(base):
            maggies = stated.to(base) * factor
    if maggies is None:
        return
    if unit.kind == "magnitude" or abs(maggies / unit.maggies - 1.0) > 0.01:
        raise CatalogueError(
            f"{key}: the table says that column {name!r} is in {column.unit}, the configuration says {unit.name}; "
            f"set `unit: {column.unit}` for this band, or mend the table"
        )
