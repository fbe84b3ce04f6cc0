import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starling.catalogues.errors import CatalogueError
from starling.catalogues.units import (
    AB_MAGNITUDE,
    LINEAR_MAGGIES,
    alternatives,
    from_maggies,
    parse_unit,
    to_maggies,
)

AB_20_MAGGIES = 1e-8
SAME_FLUX = {
    "maggies": AB_20_MAGGIES,
    "nanomaggies": 10.0,
    "Jy": 3.631e-5,
    "mJy": 3.631e-2,
    "uJy": 36.31,
    "microJy": 36.31,
    "µJy": 36.31,
    "nJy": 3.631e4,
    "AB magnitudes": 20.0,
    "abmag": 20.0,
}
units = st.sampled_from([*LINEAR_MAGGIES, AB_MAGNITUDE])
magnitudes = st.floats(10.0, 32.0)
fractions = st.floats(1e-4, 0.5)


@pytest.mark.parametrize(("name", "value"), SAME_FLUX.items())
def test_every_unit_gives_the_same_maggies(name: str, value: float) -> None:
    error = 0.05 if parse_unit(name, None).kind == "magnitude" else 0.05 * np.log(10.0) * 0.4 * value
    flux, flux_error = to_maggies(np.array([value]), np.array([error]), parse_unit(name, None))
    np.testing.assert_allclose(flux, AB_20_MAGGIES, rtol=1e-12)
    np.testing.assert_allclose(flux_error, 0.05 * 0.4 * np.log(10.0) * AB_20_MAGGIES, rtol=1e-12)


def test_zero_point_is_the_magnitude_of_a_flux_of_one() -> None:
    flux, _ = to_maggies(np.array([100.0]), np.array([1.0]), parse_unit(None, 25.0))
    np.testing.assert_allclose(flux, AB_20_MAGGIES, rtol=1e-12)
    np.testing.assert_allclose(
        to_maggies(np.ones(1), np.ones(1), parse_unit(None, 23.9))[0], LINEAR_MAGGIES["uJy"], rtol=1e-3
    )


@given(units, magnitudes, fractions)
def test_there_and_back(name: str, mag: float, fraction: float) -> None:
    unit = parse_unit(name, None)
    flux = np.array([10 ** (-0.4 * mag)])
    value, error = from_maggies(flux, fraction * flux, unit)
    again, again_error = to_maggies(value, error, unit)
    np.testing.assert_allclose(again, flux, rtol=1e-10)
    np.testing.assert_allclose(again_error, fraction * flux, rtol=1e-10)


@given(units, magnitudes, fractions, st.floats(0.1, 10.0))
def test_fluxes_and_errors_scale_together(name: str, mag: float, fraction: float, factor: float) -> None:
    unit = parse_unit(name, None)
    flux = np.array([10 ** (-0.4 * mag)])
    one = to_maggies(*from_maggies(flux, fraction * flux, unit), unit)
    other = to_maggies(*from_maggies(factor * flux, fraction * factor * flux, unit), unit)
    np.testing.assert_allclose(np.divide(other, one), factor, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "zero_point", "said"),
    [
        (None, None, "neither is"),
        ("uJy", 25.0, "both are"),
        ("uJyy", None, "did you mean 'uJy'"),
        ("erg/s", None, "known are"),
    ],
)
def test_a_unit_that_is_none(name: str | None, zero_point: float | None, said: str) -> None:
    with pytest.raises(CatalogueError, match=said):
        parse_unit(name, zero_point)


def test_alternatives_name_the_magnitude_of_each_unit() -> None:
    found = alternatives(36.31, parse_unit("maggies", None))
    assert "maggies" not in found
    assert found["uJy"] == pytest.approx(20.0)
    assert found["nJy"] == pytest.approx(27.5)
