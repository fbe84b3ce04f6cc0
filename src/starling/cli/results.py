"""What a finished run leaves in its folder: posterior, summary, rows, findings and report."""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, get_args

import xarray as xr
from astropy.table import Table

from starling.catalogues import Catalogue, FitConfig, findings_table
from starling.catalogues.config import OutputConfig, TableFormat
from starling.catalogues.status import rows_table, status_column, status_header, status_of_fits
from starling.cli.run_report import REPORT, report_run
from starling.inference import save
from starling.runs import write_table
from starling.runs.folder import PARTS, cannot_write

POSTERIOR = {"netcdf": "posterior.nc", "zarr": "posterior.zarr"}
_TABLES = tuple(f"{name}.{kind}" for name in ("summary", "rows") for kind in get_args(TableFormat))


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
    _add_catalogue(tree, catalogue)
    posterior = folder / POSTERIOR[config.output.format]
    try:
        save(tree, posterior)
    except OSError as error:
        raise cannot_write(posterior, error) from error
    files = {"posterior": posterior} | _write_tables(config.output, catalogue, summary, folder)
    files |= _finish(config.output, files, folder, title)
    return Results(summary, files, tree, _note(config.output))


def write_large(config: FitConfig, catalogue: Catalogue, summary: Table, folder: Path, title: str) -> Results:
    """All results of a run whose draws stay in its parts."""
    files = {"posterior": folder / PARTS} | _write_tables(config.output, catalogue, summary, folder)
    files |= _finish(config.output, files, folder, title)
    return Results(summary, files, note=_note(config.output))


def remove_stale(folder: Path, files: Mapping[str, Path]) -> None:
    """Remove results of an earlier run that this one, whose ``files`` these are, did not write."""
    written = set(files.values())
    for name in (*POSTERIOR.values(), *_TABLES, REPORT):
        if folder / name not in written:
            _remove(folder / name)


def _add_catalogue(tree: xr.DataTree, catalogue: Catalogue) -> None:
    """The group ``catalogue``: rows of the table, and columns that are carried along; and when that was."""
    tree.attrs.setdefault("created", datetime.now(UTC).isoformat(timespec="seconds"))
    extra = {name: ("galaxy", values) for name, values in catalogue.extra.items()}
    ids = list(catalogue.ids)
    tree["catalogue"] = xr.Dataset({"row": ("galaxy", catalogue.rows), **extra}, {"galaxy": ids})


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


def _finish(output: OutputConfig, files: Mapping[str, Path], folder: Path, title: str) -> dict[str, Path]:
    """Remove what is left of an earlier run, and write the report, which tells of the files that are there."""
    report = {"report": folder / REPORT} if _is_reported(output) else {}
    remove_stale(folder, {**files, **report})
    if report:
        report_run(folder, title=title)
    return report


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
