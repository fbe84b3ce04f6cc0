from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starling.catalogues import Catalogue, CatalogueError, findings_table, summarise

Read = Callable[..., Catalogue]
MakeTable = Callable[..., Table]


def found(catalogue: Catalogue) -> list[tuple[str, int, str, str]]:
    return [(item.level, item.row, item.column, item.reason) for item in catalogue.findings]


@pytest.mark.parametrize(
    ("column", "value", "reported", "reason"),
    [
        ("f_r", np.nan, "f_r", "NaN"),
        ("f_r", np.inf, "f_r", "infinite"),
        ("e_r", np.nan, "e_r", "NaN error"),
        ("e_r", np.inf, "e_r", "infinite error"),
        ("e_r", 0.0, "e_r", "error not positive"),
        ("e_r", -0.5, "e_r", "error not positive"),
        ("f_r", 1e9, "f_r", "brighter than AB 5"),
        ("f_r", -1e3, "f_r", "S/N below -5"),
        ("e_r", 1e-60, "f_r", "out of the range of single precision"),
        ("e_r", 1e60, "f_r", "out of the range of single precision"),
    ],
)
def test_an_unusable_entry_masks_its_band_and_is_reported(
    column: str, value: float, reported: str, reason: str, read: Read, make_table: MakeTable
) -> None:
    clean, table = read(make_table()), make_table()
    table[column][6] = value
    catalogue = read(table)
    assert found(catalogue) == [("masked", 7, reported, reason)]
    assert catalogue.findings[0].id == "106"
    assert catalogue.findings[0].band == "sdss_r0"
    mask = np.ones((len(table), 3), bool)
    mask[6, 1] = False
    np.testing.assert_array_equal(catalogue.observations.mask, mask)
    np.testing.assert_array_equal(
        np.asarray(catalogue.observations.flux)[mask], np.asarray(clean.observations.flux)[mask]
    )


@pytest.mark.parametrize("column", ["f_r", "e_r"])
def test_missing_codes_mask_without_a_finding(column: str, read: Read, make_table: MakeTable) -> None:
    table = make_table()
    table[column][6] = -99
    catalogue = read(table)
    assert not catalogue.findings
    assert not catalogue.observations.mask[6, 1]


def test_nan_is_a_missing_code_where_it_is_listed(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    table["f_r"][6] = table["e_h"][7] = np.nan
    catalogue = read(table, photometry__missing=[-99, np.nan])
    assert not catalogue.findings
    assert np.asarray(~catalogue.observations.mask).sum() == 2


def test_negative_fluxes_are_legitimate(read: Read, make_table: MakeTable) -> None:
    catalogue = read(make_table())
    assert catalogue.observations.mask[1, 0]
    assert catalogue.observations.flux[1, 0] < 0


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("z", np.nan, "no redshift"),
        ("z", 0.49, "redshift outside 0.5 to 3, the range of the model"),
        ("z", 3.01, "redshift outside 0.5 to 3, the range of the model"),
        ("z", -99.0, "redshift outside 0.5 to 3, the range of the model"),
        ("id", 103, "an earlier row has this ID"),
    ],
)
def test_a_galaxy_that_cannot_be_fitted_is_left_out(
    column: str, value: float, reason: str, read: Read, make_table: MakeTable
) -> None:
    table = make_table()
    table[column][6] = value
    catalogue = read(table)
    assert found(catalogue) == [("left out", 7, column, reason)]
    assert len(catalogue.ids) == len(table) - 1
    assert 7 not in catalogue.rows


def test_a_galaxy_without_bands_or_name_is_left_out(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    for name in ("f_g", "f_r", "f_h"):
        table[name][6] = -99
    table["f_g"][7] = -99
    assert found(read(table)) == [("left out", 7, "photometry", "no usable band")]
    assert [item[1] for item in found(read(table, photometry__min_bands=3))] == [7, 8]
    names = make_table()
    names["id"] = [f"g{i}" if i != 4 else " " for i in range(len(names))]
    assert found(read(names)) == [("left out", 5, "id", "no ID")]


def test_text_in_a_column_of_numbers(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    text = table["f_r"].astype(str)
    text[6] = "n/a"
    table["f_r"] = text
    assert found(read(table)) == [("masked", 7, "f_r", "not a number")]


def test_nothing_left_says_why(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    table["z"] = 7.0
    with pytest.raises(
        CatalogueError, match=r"no galaxy can be fitted(?s:.*)row 1, ID '100', column z: redshift outside"
    ):
        read(table)


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("maggies", "unit maggies makes the typical entry .* outside 10 to 32; it would be .* in uJy"),
        ("Jy", "unit Jy makes the typical entry .* in uJy"),
        ("AB magnitudes", "unit AB magnitudes makes the typical entry .* in uJy"),
    ],
)
def test_a_unit_wrong_by_orders_of_magnitude(unit: str, said: str, read: Read, make_table: MakeTable) -> None:
    with pytest.raises(CatalogueError, match=said):
        read(make_table(), photometry__unit=unit)


def test_a_unit_that_makes_galaxies_very_faint_is_a_warning(read: Read, make_table: MakeTable) -> None:
    (warning,) = read(make_table(), photometry__unit="nJy").findings
    assert warning.level == "warning"
    assert "in uJy" in warning.reason


def test_one_band_in_another_unit_is_a_warning(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    for name in ("f_h", "e_h"):
        table[name] *= 1e3
    (warning,) = read(table).findings
    assert (warning.level, warning.band) == ("warning", "wfc3_ir_f160w")
    assert "is its unit right?" in warning.reason


def test_magnitudes_that_pass_as_fluxes(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    for name in ("g", "r", "h"):
        table[f"f_{name}"] = 23.9 - 2.5 * np.log10(np.abs(table[f"f_{name}"]) + 0.1)
        table[f"e_{name}"] = 0.05
    with pytest.raises(CatalogueError, match="look like magnitudes"):
        read(table)
    assert not read(table, photometry__unit="AB magnitudes").findings


def test_errors_in_another_unit_than_the_fluxes(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    for name in ("e_g", "e_r", "e_h"):
        table[name] *= 1e-9
    with pytest.raises(CatalogueError, match="median signal-to-noise ratio"):
        read(table)


def test_a_table_that_names_another_unit(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    table["f_g"].unit = units.nJy
    with pytest.raises(CatalogueError, match="column 'f_g' is in nJy, the configuration says uJy"):
        read(table)
    table["f_g"].unit = units.uJy
    read(table)


def test_a_filter_that_the_model_lacks(read: Read, make_table: MakeTable) -> None:
    with pytest.raises(CatalogueError, match="no filter 'sdss_g0'; did you mean 'sdss_g'"):
        read(make_table(), available=("sdss_g", "sdss_r0", "wfc3_ir_f160w"))


def test_fixed_parameters(read: Read, make_table: MakeTable) -> None:
    fixed = read(make_table(), model__fixed={"logzsol": -0.5}).observations.fixed
    np.testing.assert_allclose(fixed["logzsol"], -0.5)
    with pytest.raises(CatalogueError, match="no parameter 'logzsun'; did you mean 'logzsol'"):
        read(make_table(), model__fixed={"logzsun": -0.5})
    with pytest.raises(CatalogueError, match=r"logzsol: 2 lies outside -1\.98 to 0\.19"):
        read(make_table(), model__fixed={"logzsol": 2})


def test_free_and_common_redshifts(read: Read, make_table: MakeTable) -> None:
    free = read(make_table(), redshift="free")
    assert free.redshift is None
    assert "zred" not in free.observations.fixed
    np.testing.assert_allclose(read(make_table(), redshift=0.7).observations.fixed["zred"], 0.7)


def test_upper_limits_by_a_column(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    table["limit"] = np.arange(len(table)) == 3
    table["e_r"][3] = -99
    band = {"name": "r", "upper_limit": {"column": "limit", "sigma": 2}}
    observed = read(table, photometry__bands__sdss_r0=band).observations
    assert np.flatnonzero(observed.upper_limit).tolist() == [3 * 3 + 1]
    assert observed.mask[3, 1]
    np.testing.assert_allclose(observed.flux_err[3, 1], observed.flux[3, 1] / 2, rtol=1e-6)


def test_upper_limits_by_a_negative_error(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    sigma = float(table["e_r"][3])
    table["e_r"][3] *= -1
    catalogue = read(table, photometry__upper_limit={"negative_error": True})
    assert not catalogue.findings
    assert catalogue.observations.upper_limit[3, 1]
    np.testing.assert_allclose(catalogue.observations.flux_err[3, 1], sigma / 3.631e9, rtol=1e-6)


def test_corrections_and_calibration_errors(read: Read, make_table: MakeTable) -> None:
    plain = read(make_table()).observations
    scaled = read(make_table(), photometry__bands__sdss_r0={"name": "r", "correction": 1.1}).observations
    np.testing.assert_allclose(scaled.flux[:, 1], 1.1 * plain.flux[:, 1], rtol=1e-6)
    np.testing.assert_allclose(scaled.flux_err[:, 1], 1.1 * plain.flux_err[:, 1], rtol=1e-6)
    band = {"name": "r", "correction": 1.1, "error_scale": 1.5}
    wider = read(make_table(), photometry__bands__sdss_r0=band).observations
    np.testing.assert_allclose(wider.flux[:, 1], 1.1 * plain.flux[:, 1], rtol=1e-6)
    np.testing.assert_allclose(wider.flux_err[:, 1], 1.65 * plain.flux_err[:, 1], rtol=1e-6)
    band = {"name": "r", "calibration_error": 0.2}
    looser = read(make_table(), photometry__bands__sdss_r0=band).observations
    np.testing.assert_allclose(
        looser.flux_err[:, 1], np.hypot(plain.flux_err[:, 1], 0.2 * plain.flux[:, 1]), rtol=1e-6
    )


def test_findings_are_tabled_and_counted(read: Read, make_table: MakeTable) -> None:
    table = make_table()
    table["e_r"][[2, 5, 6, 9]] = 0
    table["z"][4] = 9
    catalogue = read(table)
    tabled = findings_table(catalogue.findings)
    assert list(tabled["row"]) == [3, 5, 6, 7, 10]
    assert summarise(catalogue.findings) == [
        ("left out", "z", "redshift outside 0.5 to 3, the range of the model", 1, "104 (row 5)"),
        ("masked", "e_r", "error not positive", 4, "102 (row 3), 105 (row 6), 106 (row 7)"),
    ]
    assert len(findings_table([])) == 0


columns = st.sampled_from(["f_g", "e_g", "f_r", "e_r", "f_h", "e_h", "z"])
spoilt: Any = st.dictionaries(
    st.tuples(st.integers(0, 9), columns), st.floats(allow_nan=True, allow_infinity=True), max_size=15
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spoilt)
def test_whatever_some_rows_hold_the_others_are_not_affected(
    read: Read, make_table: MakeTable, entries: dict[tuple[int, str], float]
) -> None:
    good, table = make_table(), make_table()
    for (row, column), value in entries.items():
        table[column][row] = value
    expected, catalogue = read(good, name="good.fits"), read(table, name="spoilt.fits")
    bad = {good["id"][row] for row, _ in entries}
    kept = [name for name in expected.ids if int(name) not in bad]
    assert [name for name in catalogue.ids if int(name) not in bad] == kept
    for field in ("flux", "flux_err", "mask"):
        before, after = getattr(expected.observations, field), getattr(catalogue.observations, field)
        for name in kept:
            np.testing.assert_array_equal(before[expected.ids.index(name)], after[catalogue.ids.index(name)])
    used = np.asarray(catalogue.observations.mask)
    assert np.isfinite(np.asarray(catalogue.observations.flux)[used]).all()
    assert (np.asarray(catalogue.observations.flux_err)[used] > 0).all()
    assert used.any(axis=1).all()
    assert np.isfinite(catalogue.redshift).all()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("aB1. é", max_size=4), min_size=24, max_size=24))
def test_whatever_the_ids_are_no_two_galaxies_share_one(
    read: Read, make_table: MakeTable, names: list[str]
) -> None:
    table = make_table()
    table["id"] = ["x", *names[1:]]
    catalogue = read(table)
    assert len(set(catalogue.ids)) == len(catalogue.ids)
    assert all(catalogue.ids)
    assert len(catalogue.ids) + len(catalogue.findings) == len(table)
