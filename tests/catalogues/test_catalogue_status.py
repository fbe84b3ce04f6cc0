"""What became of every row of a table."""

from collections.abc import Callable

import numpy as np
from astropy.table import Table

from starling.catalogues import Catalogue, parse_config
from starling.catalogues.status import (
    MEANING,
    Problem,
    Status,
    rows_table,
    status_header,
    status_of_fits,
    status_of_rows,
)


def test_numbers_do_not_change() -> None:
    """They stand in tables that people keep."""
    names = ("PASSED", "NOT_CONVERGED", "OUTSIDE_DOMAIN", "NO_RESULT")
    assert [Status[name].value for name in names] == [0, 1, 2, 3]
    names = (
        "NOT_SELECTED",
        "NO_ID",
        "DUPLICATE_ID",
        "NO_REDSHIFT",
        "REDSHIFT_OUTSIDE",
        "TOO_FEW_BANDS",
        "NOT_TAKEN",
    )
    assert [Status[name].value for name in names] == list(range(10, 17))
    assert set(MEANING) == set(Status)
    assert all(len(keyword) <= 8 for keyword in status_header())


def test_every_row_of_a_table_has_one(
    make_table: Callable[..., Table], read: Callable[..., Catalogue]
) -> None:
    table = make_table()
    table["id"] = [str(i) for i in table["id"]]
    table["id"][[2, 3]] = ["", "100"]
    table["z"][[4, 5]] = [np.nan, 9.0]
    for name in ("f_g", "f_r", "f_h"):
        table[name][6] = -99
    table["f_g"][7] = -99
    catalogue = read(
        table, table__select={"max_rows": 3, "cuts": {"z": {"max": 10}}}, photometry__min_bands=1
    )
    # the cut leaves out what has no redshift
    assert list(catalogue.status[:11]) == [0, 0, 11, 12, 10, 14, 15, 0, 16, 16, 16]
    assert set(catalogue.status[11:]) == {16}
    assert list(catalogue.rows) == [1, 2, 8]
    assert catalogue.table_ids[:4] == ("100", "101", "", "100")
    assert read(make_table(), table__select={"ids": ["103"]}).status.tolist() == [10] * 3 + [0] + [10] * 20
    table["z"][0] = np.nan
    assert read(table).status[0] == 13


def test_the_first_of_several_problems_counts() -> None:
    rows = np.array([True, True, False, True])
    few = Problem(Status.TOO_FEW_BANDS, rows, "", "")
    no_z = Problem(Status.NO_REDSHIFT, np.array([False, True, False, False]), "", "")
    selected = np.array([True, True, True, False])
    for order in ([few, no_z], [no_z, few]):
        assert list(status_of_rows(order, selected)) == [15, 13, 0, 10]


def test_fits_that_did_not_pass() -> None:
    summary = Table(
        {
            "passed": [True, False, False, False],
            "outside_domain": [0.5, 0.0, 0.5, np.nan],
            "rhat_max": [1.0, 1.2, 1.2, np.nan],
            "ess_bulk_min": [900.0, 3.0, 900.0, np.nan],
            "flag": ["ok", "slow", "far", "stuck"],
        }
    )
    status = status_of_fits(summary)
    assert list(status) == [0, 1, 2, 3]
    assert list(status_of_fits(summary["passed",])) == [0, 1, 1, 1]
    summary["status"] = status
    before = np.array([0, 15, 0, 0, 0])
    table = rows_table(["a", "b", "c", "d", "e"], before, np.array([1, 3, 4, 5]), summary)
    assert list(table["status"]) == [0, 15, 1, 2, 3]
    assert list(table["reason"]) == [
        "fitted, and passed",
        MEANING[Status.TOO_FEW_BANDS],
        "slow",
        "far",
        "stuck",
    ]


def test_output_is_configured() -> None:
    base = {
        "table": {"id": "id"},
        "redshift": "z",
        "photometry": {"unit": "uJy", "bands": {"sdss_g0": {"flux": "f", "error": "e"}}},
    }
    output = {
        "whole": 10,
        "draws": "all",
        "leave_out": ["sfh"],
        "summary": ["fits", "parquet"],
        "compression": 1,
    }
    assert parse_config(base | {"output": output}).output.draws == "all"
