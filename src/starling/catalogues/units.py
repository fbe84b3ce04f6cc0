"""Units of a table's fluxes, and the way from each to maggies (f_nu / 3631 Jy)."""

from typing import Literal, NamedTuple

import numpy as np

from starling.catalogues.errors import CatalogueError
from starling.configuration import nearest

AB_FLUX_JY = 3631.0
LINEAR_MAGGIES = {
    "maggies": 1.0,
    "nanomaggies": 1e-9,
    "Jy": 1.0 / AB_FLUX_JY,
    "mJy": 1e-3 / AB_FLUX_JY,
    "uJy": 1e-6 / AB_FLUX_JY,
    "nJy": 1e-9 / AB_FLUX_JY,
}
AB_MAGNITUDE = "AB magnitudes"
ALIASES = {
    "maggy": "maggies",
    "nanomaggy": "nanomaggies",
    "microjy": "uJy",
    "microjansky": "uJy",
    "µjy": "uJy",  # micro sign
    "μjy": "uJy",  # Greek mu
    "millijy": "mJy",
    "millijansky": "mJy",
    "nanojy": "nJy",
    "nanojansky": "nJy",
    "jansky": "Jy",
    "ab": AB_MAGNITUDE,
    "abmag": AB_MAGNITUDE,
    "ab mag": AB_MAGNITUDE,
    "ab magnitude": AB_MAGNITUDE,
}
MAG_ERROR_TO_FRACTION = 0.4 * np.log(10.0)  # d flux / flux = 0.921 d mag


class Unit(NamedTuple):
    """What a flux column holds: a linear flux (``maggies`` per unit) or AB magnitudes (``maggies`` unused)."""

    kind: Literal["linear", "magnitude"]
    maggies: float
    name: str


def parse_unit(name: str | None, zero_point: float | None) -> Unit:
    """The unit that a configuration names: one of the known names, or the AB magnitude of a flux of 1.

    Raises CatalogueError where neither or both are given and where the name is unknown.
    """
    if (name is None) == (zero_point is None):
        what = "neither is" if name is None else "both are"
        raise CatalogueError(
            f"name the unit of the fluxes, by `unit:` or by `zero_point:` ({what} given): unit is one of "
            f"{', '.join([*LINEAR_MAGGIES, AB_MAGNITUDE])}; zero_point is the AB magnitude of a flux of 1"
        )
    if zero_point is not None:
        return Unit("linear", 10.0 ** (-0.4 * zero_point), f"zero point {zero_point:g}")
    assert name is not None
    folded = {known.casefold(): known for known in (*LINEAR_MAGGIES, AB_MAGNITUDE)}
    known = folded.get(name.casefold()) or ALIASES.get(name.casefold())
    if known is None:
        options = [*LINEAR_MAGGIES, AB_MAGNITUDE, "microJy"]
        raise CatalogueError(
            f"unknown unit {name!r}{nearest(name, options) or '; known are ' + ', '.join(options)}"
        )
    if known == AB_MAGNITUDE:
        return Unit("magnitude", np.nan, AB_MAGNITUDE)
    return Unit("linear", LINEAR_MAGGIES[known], known)


def to_maggies(value: np.ndarray, error: np.ndarray, unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and one-sigma errors in maggies, float64; magnitude errors are propagated to first order.

    NaN and infinite entries stay what they are (or become 0 or infinite): the checks come later.
    """
    value, error = np.asarray(value, float), np.asarray(error, float)
    with np.errstate(all="ignore"):
        if unit.kind == "linear":
            return value * unit.maggies, error * unit.maggies
        flux = 10.0 ** (-0.4 * value)
        return flux, flux * MAG_ERROR_TO_FRACTION * error


def from_maggies(flux: np.ndarray, error: np.ndarray, unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of ``to_maggies``; a magnitude needs a positive flux."""
    flux, error = np.asarray(flux, float), np.asarray(error, float)
    if unit.kind == "linear":
        return flux / unit.maggies, error / unit.maggies
    with np.errstate(all="ignore"):
        return -2.5 * np.log10(flux), error / (flux * MAG_ERROR_TO_FRACTION)


def ab_magnitude(maggies: np.ndarray) -> np.ndarray:
    """AB magnitudes; NaN where the flux is not positive."""
    flux = np.asarray(maggies, float)
    return -2.5 * np.log10(flux, where=flux > 0, out=np.full(flux.shape, np.nan))


def alternatives(median_value: float, unit: Unit) -> dict[str, float]:
    """The AB magnitude of a typical entry under every unit that the table might have been meant in."""
    found = {
        name: -2.5 * np.log10(median_value * factor) if median_value > 0 else np.nan
        for name, factor in {**LINEAR_MAGGIES, "zero point 25": 1e-10}.items()
    }
    found[AB_MAGNITUDE] = median_value
    return {name: float(mag) for name, mag in found.items() if name != unit.name}
