"""Two results on the same galaxies, matched by id: every quantity that both have, as one table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from astropy.table import Table

from starling.plotting.draws import dataset, draws, galaxy_ids, passed, scalar_names
from starling.validation.discrepancy import CATASTROPHIC, centre, discrepancy, sampling_noise

LINEAR = ("sfr_30", "sfr_100", "mwa", "t50", "dust2", "dust1_fraction", "duste_qpah", "duste_umin")
"""Positive quantities whose ratio is given in dex; those whose name has ``log`` in it are in dex as they are."""


class Matched(NamedTuple):
    """What two results have in common, and what only one has.

    Attributes:
        table: a row per galaxy and quantity: medians, sigmas, their difference, discrepancy.
        evidence: a row per galaxy where both results have one.
        only_a: ids that only the first has; ``only_b`` likewise.
        unmatched_a: sampled parameters that only the first has; ``unmatched_b`` likewise.
    """

    table: Table
    evidence: Table
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    unmatched_a: tuple[str, ...]
    unmatched_b: tuple[str, ...]


def match_results(a: xr.DataTree, b: xr.DataTree) -> Matched:
    """Set two results side by side.

    Raises:
        ValueError: no galaxy, or no quantity, is in both.
    """
    ids_a, ids_b = galaxy_ids(a), galaxy_ids(b)
    place_a, place_b = ({name: row for row, name in enumerate(ids)} for ids in (ids_a, ids_b))
    common = [name for name in ids_a if name in place_b]
    if not common:
        raise ValueError(
            f"no galaxy is in both results: the first has {ids_a[0]!r} and {len(ids_a) - 1} more, the second "
            f"{ids_b[0]!r} and {len(ids_b) - 1} more; were they made from one catalogue?"
        )
    rows_a, rows_b = (np.asarray([place[name] for name in common]) for place in (place_a, place_b))
    free_a, free_b = _free(a), _free(b)
    names = [name for name in scalar_names(a) if name in scalar_names(b)]
    if not names:
        raise ValueError("the two results have no quantity in common")
    good = passed(a)[rows_a] & passed(b)[rows_b]
    pieces = [_compare(a, b, name, (rows_a, rows_b), name in free_a and name in free_b) for name in names]
    columns = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    table = Table(
        {
            "id": np.tile(np.asarray(common), len(names)),
            "name": np.repeat(np.asarray(names), len(common)),
            "passed": np.tile(good, len(names)),
        }
        | columns
    )
    for name, text in _COLUMNS.items():
        table[name].description = text
    return Matched(
        table,
        _evidence(a, b, common, (rows_a, rows_b)),
        tuple(name for name in ids_a if name not in place_b),
        tuple(name for name in ids_b if name not in place_a),
        tuple(name for name in free_a if name not in free_b),
        tuple(name for name in free_b if name not in free_a),
    )


_COLUMNS = {
    "sampled": "a free parameter of both fits (else it follows from them)",
    "passed": "both fits passed their checks",
    "median_a": "median of the first",
    "sigma_a": "half of the central 68% of the first",
    "median_b": "median of the second",
    "sigma_b": "half of the central 68% of the second",
    "difference": "first minus second, in the quantity's unit",
    "difference_sigma": "the same, over sigma_b",
    "difference_dex": "the same in dex: of logarithms as it is, of positive numbers the log10 of their ratio",
    "discrepancy": "|difference| / sqrt(sigma_a^2 + sigma_b^2)",
    "noise": "one sigma of the signed discrepancy from the effective sample sizes alone",
    "outlier": f"discrepancy above {CATASTROPHIC:g}",
}


def _free(tree: xr.DataTree) -> tuple[str, ...]:
    """Flat names of the parameters that were sampled."""
    return tuple(str(name) for name in dataset(tree, "diagnostics")["parameter"].values)


def _compare(
    a: xr.DataTree, b: xr.DataTree, name: str, rows: tuple[np.ndarray, np.ndarray], sampled: bool
) -> dict[str, np.ndarray]:
    first, second = centre(draws(a, name)[:, rows[0]]), centre(draws(b, name)[:, rows[1]])
    found = discrepancy(first, second)
    difference = first.median - second.median
    ess = [_ess(tree, name, index) for tree, index in zip((a, b), rows, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        in_sigma = difference / second.sigma
        dex = np.log10(first.median / second.median) if name in LINEAR else np.full(found.shape, np.nan)
    return {
        "sampled": np.full(found.shape, sampled),
        "median_a": first.median,
        "sigma_a": first.sigma,
        "median_b": second.median,
        "sigma_b": second.sigma,
        "difference": difference,
        "difference_sigma": in_sigma,
        "difference_dex": difference if "log" in name else dex,
        "discrepancy": found,
        "noise": sampling_noise(first, second, *ess),
        "outlier": found > CATASTROPHIC,
    }


def _ess(tree: xr.DataTree, name: str, rows: np.ndarray) -> np.ndarray:
    """Bulk ESS of a parameter; of a derived quantity the smallest of the parameters."""
    values = dataset(tree, "diagnostics")["ess_bulk"].transpose("galaxy", "parameter")
    if name in _free(tree):
        return np.asarray(values.sel(parameter=name).values, dtype=float)[rows]
    return np.asarray(values.min("parameter").values, dtype=float)[rows]


def _evidence(
    a: xr.DataTree, b: xr.DataTree, common: list[str], rows: tuple[np.ndarray, np.ndarray]
) -> Table:
    """ln Z of both, where both have it, and their difference over its error."""
    columns: dict[str, np.ndarray] = {"id": np.asarray(common)}
    for tree, index, label in zip((a, b), rows, "ab", strict=True):
        holder = next((g for g in tree.children if "log_evidence" in tree[g].data_vars), None)
        if holder is None:
            return Table()
        for name in ("log_evidence", "log_evidence_err"):
            columns[f"{name}_{label}"] = np.asarray(dataset(tree, holder)[name].values, dtype=float)[index]
    table = Table(columns)
    table["difference"] = table["log_evidence_a"] - table["log_evidence_b"]
    table["difference_sigma"] = table["difference"] / np.hypot(
        table["log_evidence_err_a"], table["log_evidence_err_b"]
    )
    return table
