"""What a finished run leaves in its folder: posterior, summary, rows, findings and report."""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import xarray as xr
from astropy.table import Table

from starling.catalogues import Catalogue, FitConfig, findings_table
from starling.catalogues.config import OutputConfig, TableFormat
from starling.catalogues.status import rows_table, status_column, status_header, status_of_fits
from starling.inference import save
from starling.plotting.comparison import Comparison
from starling.plotting.report import write_report
from starling.runs import open_run, write_table
from starling.runs.folder import PARTS, cannot_write

POSTERIOR = {"netcdf": "posterior.nc", "zarr": "posterior.zarr"}
_TABLES = tuple(f"{name}.{kind}" for name in ("summary", "rows") for kind in get_args(TableFormat))
_REPORT = "report.html"
REPORTED = 200  # galaxies in the report of a large run


class Results(NamedTuple):
    """What a fit left: a row per galaxy, the file or folder of each kind of output, and the tree unless it is large.

    ``note`` says what is not there although the configuration asks for it.
    """

    summary: Table
    files: dict[str, Path]
    tree: xr.DataTree | None = None
    note: str = ""


def write_results(
    config: FitConfig, catalogue: Catalogue, summary: Table, tree: xr.DataTree, folder: Path, title: str
) -> Results:
    """All results, with the posterior in one file; summary and tree have the galaxies in the order of the catalogue."""
    galaxies = np.arange(len(catalogue.ids))
    _add_catalogue(tree, catalogue, galaxies)
    posterior = folder / POSTERIOR[config.output.format]
    try:
        save(tree, posterior)
    except OSError as error:
        raise cannot_write(posterior, error) from error
    files = {"posterior": posterior} | _write_tables(config.output, catalogue, summary, folder)
    files |= _write_report(config, catalogue, tree, galaxies, folder, title)
    remove_stale(folder, files)
    return Results(summary, files, tree, _note(config.output))


def write_large(config: FitConfig, catalogue: Catalogue, summary: Table, folder: Path, title: str) -> Results:
    """All results of a run whose draws stay in its parts; the report is of some galaxies, drawn at random."""
    files = {"posterior": folder / PARTS} | _write_tables(config.output, catalogue, summary, folder)
    n = len(catalogue.ids)
    if _is_reported(config.output):
        generator = np.random.default_rng(config.seed)
        galaxies = np.sort(generator.choice(n, min(REPORTED, n), replace=False))
        tree = open_run(folder).select([catalogue.ids[row] for row in galaxies])
        _add_catalogue(tree, catalogue, galaxies)
        heading = f"{title}: {galaxies.size} galaxies at random of {n}"
        files |= _write_report(config, catalogue, tree, galaxies, folder, heading)
    remove_stale(folder, files)
    return Results(summary, files, note=_note(config.output))


def remove_stale(folder: Path, files: Mapping[str, Path]) -> None:
    """Remove results of an earlier run that this one, whose ``files`` these are, did not write."""
    written = set(files.values())
    for name in (*POSTERIOR.values(), *_TABLES, _REPORT):
        if folder / name not in written:
            _remove(folder / name)


def _add_catalogue(tree: xr.DataTree, catalogue: Catalogue, galaxies: np.ndarray) -> None:
    """The group ``catalogue``: rows of the table, and columns that are carried along; and when that was."""
    tree.attrs.setdefault("created", datetime.now(UTC).isoformat(timespec="seconds"))
    extra = {name: ("galaxy", values[galaxies]) for name, values in catalogue.extra.items()}
    ids = [catalogue.ids[row] for row in galaxies]
    tree["catalogue"] = xr.Dataset({"row": ("galaxy", catalogue.rows[galaxies]), **extra}, {"galaxy": ids})


def _write_tables(
    output: OutputConfig, catalogue: Catalogue, summary: Table, folder: Path
) -> dict[str, Path]:
    """The summary, with what the catalogue knows, in every format; all rows of the table; findings."""
    summary.add_column(catalogue.rows, name="row", index=1)
    summary.add_column(status_column(status_of_fits(summary)), name="status", index=2)
    for name, values in catalogue.extra.items():
        summary[name] = values
    summary.meta |= status_header()
    kinds = _formats(output, len(summary))
    files = {}
    for kind in kinds:
        name = "summary" if kind == kinds[0] else f"summary.{kind}"
        files[name] = write_table(summary, folder / f"summary.{kind}", kind)
    rows = rows_table(catalogue.table_ids, catalogue.status, catalogue.rows, summary)
    files["rows"] = write_table(rows, folder / f"rows.{kinds[0]}", kinds[0])
    found = findings_table(catalogue.findings)
    files["findings"] = write_table(found, folder / "findings.ecsv", "ecsv")
    return files


def _formats(output: OutputConfig, n_galaxies: int) -> Sequence[TableFormat]:
    if output.summary is not None:
        return output.summary
    return ("ecsv", "fits", "parquet") if n_galaxies <= output.whole else ("fits", "parquet")


def _is_reported(output: OutputConfig) -> bool:
    """Whether there is a report: its figures need all quantities."""
    return output.report and not output.leave_out


def _note(output: OutputConfig) -> str:
    if not output.report or _is_reported(output):
        return ""
    return f"no report: its figures need what output.leave_out leaves out ({', '.join(output.leave_out)})"


def _write_report(
    config: FitConfig,
    catalogue: Catalogue,
    tree: xr.DataTree,
    galaxies: np.ndarray,
    folder: Path,
    title: str,
) -> dict[str, Path]:
    if not _is_reported(config.output):
        return {}
    comparisons = [
        Comparison(item.against, catalogue.extra[name][galaxies], item.label or name)
        for name, item in config.comparison.items()
        if item.against is not None
    ]
    path = write_report(
        tree, folder / _REPORT, comparisons=comparisons, findings=catalogue.findings, title=title
    )
    return {"report": path}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
