"""What became of every row of a table."""

import numpy as np
from astropy.table import Table

from starling.catalogues import parse_config
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
