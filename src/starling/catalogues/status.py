"""What became of every row of a table, as a number; the same numbers in every table that is written."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from astropy.table import Column, Table

from starling.catalogues.findings import Finding, rows_where
from starling.inference.convergence import Thresholds


class Status(IntEnum):
    """From 10 on the row was not fitted. Where several hold, the first of these."""

    PASSED = 0
    NOT_CONVERGED = 1
    OUTSIDE_DOMAIN = 2
    NO_RESULT = 3
    NOT_SELECTED = 10
    NO_ID = 11
    DUPLICATE_ID = 12
    NO_REDSHIFT = 13
    REDSHIFT_OUTSIDE = 14
    TOO_FEW_BANDS = 15
    NOT_TAKEN = 16


MEANING = {
    Status.PASSED: "fitted, and passed",
    Status.NOT_CONVERGED: "fitted, not converged: see flag",
    Status.OUTSIDE_DOMAIN: "fitted, too many draws outside what the emulator was trained on",
    Status.NO_RESULT: "fitted without a result: see flag",
    Status.NOT_SELECTED: "not fitted: table.select leaves it out",
    Status.NO_ID: "not fitted: no ID",
    Status.DUPLICATE_ID: "not fitted: an earlier row has this ID",
    Status.NO_REDSHIFT: "not fitted: no redshift",
    Status.REDSHIFT_OUTSIDE: "not fitted: redshift outside the range of the model",
    Status.TOO_FEW_BANDS: "not fitted: too few usable bands",
    Status.NOT_TAKEN: "not fitted: beyond table.select.max_rows",
}


class Problem(NamedTuple):
    """Why some rows (a boolean array) cannot be fitted."""

    status: Status
    rows: np.ndarray
    column: str
    reason: str


def findings_of(problems: Sequence[Problem], ids: Sequence[str]) -> list[Finding]:
    """A finding for each row of each problem."""
    return [
        finding
        for one in problems
        for finding in rows_where(one.rows, ids, "left out", one.column, one.reason)
    ]


def status_of_rows(problems: Sequence[Problem], selected: np.ndarray) -> np.ndarray:
    """The status of every row before the fit; ``PASSED`` where nothing is in its way."""
    status = np.zeros(selected.size, np.int16)
    for one in sorted(problems, key=lambda item: -item.status):
        status[one.rows] = one.status
    status[~selected] = Status.NOT_SELECTED
    return status


def status_of_fits(summary: Table) -> np.ndarray:
    """The status of every galaxy of a summary, from its columns."""
    passed = np.asarray(summary["passed"], bool)
    status = np.where(passed, Status.PASSED, Status.NOT_CONVERGED).astype(np.int16)
    if "outside_domain" in summary.colnames:
        outside = np.asarray(summary["outside_domain"], float) > Thresholds().outside
        status[~passed & outside] = Status.OUTSIDE_DOMAIN
    known = [name for name in ("rhat_max", "ess_bulk_min") if name in summary.colnames]
    if known:
        nothing = np.all([~np.isfinite(np.asarray(summary[name], float)) for name in known], axis=0)
        status[~passed & nothing] = Status.NO_RESULT
    return status


def rows_table(ids: Sequence[str], status: np.ndarray, rows: np.ndarray, summary: Table) -> Table:
    """Every row of the table that was read: number, ID, status and its meaning, or the flag of the fit.

    ``status`` is that before the fit; ``rows`` (from 1) are those of the ``summary``, which has a column ``status``.
    """
    status = np.array(status, np.int16)
    status[rows - 1] = summary["status"]
    texts = {code: MEANING[Status(code)] for code in np.unique(status)}
    meaning = np.asarray([texts[code] for code in status], dtype=object)
    if "flag" in summary.colnames:
        said = np.asarray(summary["status"]) != Status.PASSED
        meaning[rows[said] - 1] = np.asarray(summary["flag"])[said]
    table = Table(
        {
            "row": Column(np.arange(1, status.size + 1), description="row of the table, from 1"),
            "id": np.asarray(ids, dtype=str),
            "status": status_column(status),
            "reason": meaning.astype(str),
        }
    )
    table.meta |= status_header()
    return table


def status_column(status: np.ndarray) -> Column:
    """The column ``status``."""
    return Column(status, description="what became of the row; the header says which number is what")


def status_header() -> dict[str, str]:
    """What the numbers mean, as keywords of a header."""
    return {f"STATUS{code.value}": meaning for code, meaning in MEANING.items()}
