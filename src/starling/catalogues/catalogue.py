"""A table and its configuration -> the galaxies that can be fitted, in maggies, and what was found wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from starling.catalogues.check import check_bands, check_fixed, check_redshift, check_rows, check_units
from starling.catalogues.config import FitConfig, RedshiftConfig, Select
from starling.catalogues.errors import CatalogueError, NothingToFit
from starling.catalogues.findings import Finding
from starling.catalogues.photometry import clean_band, read_band
from starling.catalogues.read import Numbers, Tables, comparison_columns, numbers, read_tables
from starling.catalogues.status import Status, findings_of, status_of_rows
from starling.configuration import nearest
from starling.inference.observation import Observation, observe

REDSHIFT = "zred"


class Catalogue(NamedTuple):
    """Galaxies ready for a fit: everything has one entry per galaxy, in the order of the table.

    ``observations`` are in maggies and hold the redshift as ``fixed["zred"]`` unless it is free. ``extra`` has the
    comparison columns, ``rows`` the row numbers in the table (from 1), ``total_rows`` how many rows that had. Of all of
    those there are ``table_ids`` and ``status`` (``starling.catalogues.status``, 0 for those to be fitted).
    """

    ids: tuple[str, ...]
    bands: tuple[str, ...]
    observations: Observation
    redshift: np.ndarray | None
    extra: dict[str, np.ndarray]
    rows: np.ndarray
    total_rows: int
    findings: list[Finding]
    table_ids: tuple[str, ...]
    status: np.ndarray


def load_catalogue(
    config: FitConfig,
    *,
    available_bands: Sequence[str],
    bounds: Mapping[str, tuple[float, float]],
    table: Path | Table | None = None,
    folder: Path | None = None,
    model: str = "the forward model",
    judge_units: bool = True,
) -> Catalogue:
    """The galaxies of a table that a forward model can be fitted to.

    ``available_bands`` and ``bounds`` (parameter -> lowest and highest value) say what the model covers. ``table``
    overrides the configured one; relative paths of the configuration count from ``folder``, by default that of
    the table. Without ``judge_units`` nothing is concluded from the typical flux: a few rows may have any.

    Raises CatalogueError for what concerns the table as a whole. What is wrong with a single row is a finding: the
    row is left out, or one of its bands is.
    """
    names = tuple(config.photometry.bands)
    check_bands(names, available_bands, model)
    check_fixed(config.model.fixed, bounds)
    path, folder = (
        ("the table", folder or Path()) if isinstance(table, Table) else _locate(config, table, folder)
    )
    tables = read_tables(config, table if isinstance(table, Table) else Path(path), folder)
    selected, findings = _select(config.table.select, config.table.id, tables)

    raw = [read_band(tables, config.photometry, name) for name in names]
    findings += check_units(raw) if judge_units else []
    clean = [
        clean_band(band, config.photometry.bands[band.name], config.photometry, tables.ids) for band in raw
    ]
    findings += [finding for band in clean for finding in band.findings if selected[finding.row - 1]]
    mask = np.stack([band.mask for band in clean], axis=1)
    limit = np.stack([band.limit for band in clean], axis=1)

    z = _redshifts(config.redshift, tables)
    problems = []
    if z is not None:
        column = config.redshift.column or "redshift.value"
        problems += check_redshift(selected, column, z, *bounds[REDSHIFT])
    used = (mask & ~limit).sum(axis=1)
    problems += check_rows(tables.ids, selected, config.table.id, used, config.photometry.min_bands)
    findings += findings_of(problems, tables.ids)
    status = status_of_rows(problems, selected)
    possible = np.flatnonzero(status == Status.PASSED)
    fit = _at_most(possible, config.table.select)
    status[np.setdiff1d(possible, fit)] = Status.NOT_TAKEN
    if fit.size == 0:
        reasons = _first_reasons(findings, int(selected.sum()))
        raise NothingToFit(f"{path}: no galaxy can be fitted\n{reasons}", status)
    kept = {int(row) + 1 for row in fit}
    fixed = {name: np.full(fit.size, value) for name, value in config.model.fixed.items()}
    if z is not None:
        fixed[REDSHIFT] = z.values[fit]
    return Catalogue(
        ids=tuple(tables.ids[row] for row in fit),
        bands=names,
        observations=observe(
            np.stack([band.flux for band in clean], axis=1)[fit],
            np.stack([band.error for band in clean], axis=1)[fit],
            mask=mask[fit],
            upper_limit=limit[fit],
            fixed=fixed,
        ),
        redshift=None if z is None else z.values[fit],
        extra={name: values[fit] for name, values in comparison_columns(config, tables).items()},
        rows=fit + 1,
        total_rows=len(tables.ids),
        findings=[item for item in findings if item.level == "left out" or item.row == 0 or item.row in kept],
        table_ids=tables.ids,
        status=status,
    )


def _locate(config: FitConfig, table: Path | None, folder: Path | None) -> tuple[Path, Path]:
    """Where the table of fluxes is, and the folder of the others."""
    if table is None and config.table.path is None:
        raise CatalogueError(
            "the configuration names no table: give its path on the command line, or as `table.path`"
        )
    path = table if table is not None else (folder or Path()) / str(config.table.path)
    return path, folder or path.parent


def _select(select: Select, id_column: str, tables: Tables) -> tuple[np.ndarray, list[Finding]]:
    """The rows that the configuration asks for, as a boolean array."""
    wanted, findings = np.ones(len(tables.ids), bool), []
    if select.ids is not None:
        wanted = np.isin(tables.ids, select.ids)
        for key in sorted(set(select.ids) - set(tables.ids)):
            reason = f"table.select.ids: no row has it{nearest(key, tables.ids)}"
            findings.append(Finding("warning", 0, key, id_column, "", reason))
    for name, cut in select.cuts.items():
        values = numbers(tables, name, f"table.select.cuts.{name}").values
        low, high = (-np.inf if cut.min is None else cut.min), (np.inf if cut.max is None else cut.max)
        wanted &= (values >= low) & (values <= high)
    if not wanted.any():
        raise NothingToFit(
            f"table.select leaves none of the {wanted.size} rows: widen its cuts or mend its ids",
            np.full(wanted.size, Status.NOT_SELECTED, np.int16),
        )
    return wanted, findings


def _at_most(rows: np.ndarray, select: Select) -> np.ndarray:
    """At most ``max_rows`` of the rows, in order: the first ones, or at random where there is a seed."""
    if select.max_rows is None or rows.size <= select.max_rows:
        return rows
    if select.seed is None:
        return rows[: select.max_rows]
    return np.sort(np.random.default_rng(select.seed).choice(rows, select.max_rows, replace=False))


def _redshifts(config: RedshiftConfig, tables: Tables) -> Numbers | None:
    if config.free:
        return None
    if config.column is not None:
        return numbers(tables, config.column, "redshift.column")
    no = np.zeros(len(tables.ids), bool)
    return Numbers(np.full(no.size, config.value, float), no, no)


def _first_reasons(findings: Sequence[Finding], selected: int) -> str:
    lines = [
        f"  row {item.row}, ID {item.id!r}, column {item.column}: {item.reason}"
        for item in findings
        if item.level == "left out"
    ]
    more = [f"  ... and {len(lines) - 5} more"] if len(lines) > 5 else []
    return "\n".join([f"({selected} rows selected):", *lines[:5], *more])
