"""Checks of a whole table (is the unit believable?) and of its rows (can this galaxy be fitted?)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from starling.catalogues.errors import CatalogueError
from starling.catalogues.findings import Finding
from starling.catalogues.photometry import RawBand
from starling.catalogues.read import Numbers
from starling.catalogues.status import Problem, Status
from starling.catalogues.units import AB_MAGNITUDE, Unit, ab_magnitude, alternatives, to_maggies
from starling.configuration import nearest

BELIEVABLE_MAG = (10.0, 32.0)  # of the typical entry of a table of galaxies
LIKELY_MAG = (15.0, 29.0)
BELIEVABLE_SNR = (1e-3, 1e5)
BAND_OFFSET_MAG = (
    6.0  # nJy for uJy is 7.5 mag; dusty galaxies at 24 um are 4 to 5 mag above their optical flux
)


def check_bands(names: Sequence[str], available: Sequence[str], model: str) -> None:
    """CatalogueError where the forward model lacks a filter."""
    unknown = [f"{name!r}{nearest(name, available)}" for name in names if name not in available]
    if unknown:
        raise CatalogueError(f"photometry.bands: {model} has no filter " + "; nor ".join(unknown))


def check_units(bands: Sequence[RawBand]) -> list[Finding]:
    """CatalogueError where the chosen units make galaxies of impossible brightness or precision; warnings beside.

    Bands that share a unit are judged together, by their median, so single absurd entries do not matter.
    """
    groups: dict[Unit, list[RawBand]] = defaultdict(list)
    for band in bands:
        groups[band.unit].append(band)
    findings = []
    for unit, members in groups.items():
        flux, error = (np.concatenate([_entries(band)[i] for band in members]) for i in (0, 1))
        if flux.size:
            findings += _check_unit(unit, flux, error, ", ".join(band.name for band in members[:3]))
    medians = {
        band.name: float(np.nanmedian(mags)) for band in bands if np.isfinite(mags := _magnitudes(band)).any()
    }
    middle = float(np.median(list(medians.values()))) if medians else np.nan
    findings += [
        Finding(
            "warning",
            0,
            "",
            name,
            name,
            f"typical AB {mag:.1f}, other bands {middle:.1f}: is its unit right?",
        )
        for name, mag in medians.items()
        if abs(mag - middle) > BAND_OFFSET_MAG
    ]
    return findings


def _entries(band: RawBand) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and errors of a band as in the table, where both are usable numbers."""
    good = ~band.missing & np.isfinite(band.flux) & (band.error > 0) & np.isfinite(band.error)
    return band.flux[good], band.error[good]


def _magnitudes(band: RawBand) -> np.ndarray:
    return ab_magnitude(to_maggies(*_entries(band), band.unit)[0])


def _check_unit(unit: Unit, value: np.ndarray, error: np.ndarray, bands: str) -> list[Finding]:
    """One unit, from the entries of all its bands."""
    flux, flux_error = to_maggies(value, error, unit)
    positive = value if unit.kind == "magnitude" else value[value > 0]
    if positive.size == 0:
        raise CatalogueError(
            f"no flux is positive in the bands in {unit.name} ({bands}, ...): are these fluxes?"
        )
    mag = float(np.nanmedian(ab_magnitude(flux)))
    typical = float(np.median(positive))
    if not BELIEVABLE_MAG[0] <= mag <= BELIEVABLE_MAG[1]:
        raise CatalogueError(
            f"the unit {unit.name} makes the typical entry ({typical:.4g}) of the bands {bands}, ... an AB magnitude "
            f"of {mag:.1f}, outside {BELIEVABLE_MAG[0]:g} to {BELIEVABLE_MAG[1]:g}; {_better(typical, unit)}"
        )
    if unit.kind == "linear" and _look_like_magnitudes(value, error):
        raise CatalogueError(
            f"the entries of the bands {bands}, ... look like magnitudes (around {typical:.1f}, hardly any scatter), "
            f"but the unit says {unit.name}; set `unit: {AB_MAGNITUDE}`"
        )
    with np.errstate(all="ignore"):
        snr = float(np.nanmedian(np.abs(flux) / flux_error))
    if not BELIEVABLE_SNR[0] <= snr <= BELIEVABLE_SNR[1]:
        raise CatalogueError(
            f"the median signal-to-noise ratio of the bands {bands}, ... is {snr:.2g}: fluxes and errors are not in "
            "the same unit, or the error columns are not the errors"
        )
    if not LIKELY_MAG[0] <= mag <= LIKELY_MAG[1]:
        reason = f"unit {unit.name} makes the typical entry AB {mag:.1f}; {_better(typical, unit)}"
        return [Finding("warning", 0, "", bands, "", reason)]
    return []


def _better(typical: float, unit: Unit) -> str:
    """Which units would make a typical entry a galaxy of ordinary brightness."""
    sane = {n: m for n, m in alternatives(typical, unit).items() if LIKELY_MAG[0] <= m <= LIKELY_MAG[1]}
    if not sane:
        return "no known unit gives 15 to 29: are these the flux columns?"
    return "it would be " + ", ".join(f"{mag:.1f} in {name}" for name, mag in sane.items())


def _look_like_magnitudes(value: np.ndarray, error: np.ndarray) -> bool:
    """Magnitudes of galaxies lie within a few units of 23 whatever the band; fluxes scatter by factors."""
    low, middle, high = np.percentile(value, [5, 50, 95])
    return bool(
        value.size >= 50 and low > 12 and high < 36 and high / low < 1.8 and np.median(error) < 0.05 * middle
    )


def check_rows(
    ids: tuple[str, ...], selected: np.ndarray, id_column: str, used_bands: np.ndarray, min_bands: int
) -> list[Problem]:
    """Rows that cannot be fitted for want of an ID of their own or of enough usable bands."""
    no_id = np.array([key == "" for key in ids], bool) & selected
    again = np.zeros(selected.size, bool)
    seen: set[str] = set()
    for row in np.flatnonzero(selected & ~no_id):
        again[row] = ids[row] in seen
        seen.add(ids[row])
    few = selected & (used_bands < min_bands)
    reason = "no usable band" if min_bands == 1 else f"fewer than {min_bands} usable bands"
    return [
        Problem(Status.NO_ID, no_id, id_column, "no ID"),
        Problem(Status.DUPLICATE_ID, again, id_column, "an earlier row has this ID"),
        Problem(Status.TOO_FEW_BANDS, few, "photometry", reason),
    ]


def check_redshift(selected: np.ndarray, column: str, z: Numbers, low: float, high: float) -> list[Problem]:
    """Rows whose redshift is missing, no number or outside what the forward model covers."""
    missing = selected & ~np.isfinite(z.values)
    outside = selected & ~missing & ~((z.values >= low) & (z.values <= high))
    reason = f"redshift outside {low:g} to {high:g}, the range of the model"
    return [
        Problem(Status.NO_REDSHIFT, missing, column, "no redshift"),
        Problem(Status.REDSHIFT_OUTSIDE, outside, column, reason),
    ]


def check_fixed(fixed: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]) -> None:
    """CatalogueError where a fixed parameter is unknown to the model or outside its support."""
    for name, value in fixed.items():
        if name not in bounds:
            raise CatalogueError(f"model.fixed: the model has no parameter {name!r}{nearest(name, bounds)}")
        low, high = bounds[name]
        if not low <= value <= high:
            raise CatalogueError(f"model.fixed.{name}: {value:g} lies outside {low:g} to {high:g}")
