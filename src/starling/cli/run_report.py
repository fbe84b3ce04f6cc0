"""The report of a run from its folder alone: parts, record, tables and findings."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from astropy.table import Table

from starling.catalogues import Finding
from starling.plotting.comparison import Comparison
from starling.plotting.report import About, write_report
from starling.runs import RunError, open_run, read_manifest

REPORT = "report.html"
_HASHES = {"galaxies": "data", "emulator": "emulator", "flow": "flow", "table": "table"}
_FILES = {
    "posterior.nc": "all draws, an xarray.DataTree in ArviZ's layout",
    "posterior.zarr": "all draws, an xarray.DataTree in ArviZ's layout",
    "parts": "all draws, part by part",
    "summary.ecsv": "a row per galaxy, as text",
    "summary.fits": "a row per galaxy",
    "summary.parquet": "a row per galaxy",
    "rows.ecsv": "what became of every row of the input table",
    "rows.fits": "what became of every row of the input table",
    "findings.ecsv": "what was found wrong in the input",
    "run.json": "what the run is of",
}


class Reported(NamedTuple):
    """The page, and what its reader has to know first."""

    path: Path
    notices: tuple[str, ...]


def report_run(folder: Path, out: Path | None = None, *, title: str = "", max_galaxies: int = 12) -> Reported:
    """Write the page about the finished parts of a run; damaged ones are left out, and named.

    Raises RunError where the folder holds no run or no whole part, ValueError where too little was kept of the draws.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder of a run: give the one that `starling fit` wrote to")
    record = read_manifest(folder)
    damaged: list[Path] = []
    try:
        run = open_run(folder, damaged)
    except RunError as error:
        if damaged or not (planned := _planned(record)):
            raise
        raise RunError(f"{error}: 0 of {planned} galaxies are fitted") from error
    attrs = {str(name): value for name, value in next(iter(run.trees())).attrs.items()}
    _check_kept(attrs)
    path = out or folder / REPORT
    notices = _notices(record, len(run.ids), damaged)
    if attrs.get("warning"):
        notices.append(f"Mind that {attrs['warning']}.")
    table = _summary(folder)
    place = {_text(name): row for row, name in enumerate(table["id"])}
    facts = _facts(record, len(run.ids))
    about = About(facts, notices, _files(folder, path.parent), _rows(folder), place)
    try:
        write_report(
            run,
            path,
            comparisons=_comparisons(json.loads(attrs.get("config", "{}")), run.ids, table, place),
            findings=_findings(folder / "findings.ecsv"),
            title=title or folder.resolve().name,
            max_galaxies=max_galaxies,
            about=about,
        )
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; choose another file with --out"
        ) from error
    return Reported(path, tuple(notices))


def _planned(record: Mapping[str, Any]) -> int:
    return int(record["inputs"].get("number of galaxies", 0))


def _check_kept(attrs: Mapping[str, Any]) -> None:
    left_out = json.loads(attrs.get("storage", "{}")).get("leave_out", [])
    if "predicted" in left_out:
        raise ValueError(
            "no report of this run: output.leave_out left out the predicted fluxes, which it needs"
        )


def _notices(record: Mapping[str, Any], n_done: int, damaged: Sequence[Path]) -> list[str]:
    notices, planned = [], _planned(record)
    if damaged:
        names = ", ".join(path.name for path in damaged[:5]) + (" and others" if len(damaged) > 5 else "")
        notices.append(
            f"{len(damaged)} damaged part{'' if len(damaged) == 1 else 's'} left out ({names}): "
            "the command of the run, given again, makes them anew."
        )
    if planned > n_done:
        notices.append(f"The run is not finished: this page is about {n_done} of {planned} galaxies.")
    return notices


def _facts(record: Mapping[str, Any], n_done: int) -> list[tuple[str, str]]:
    """When and with which command the run was begun, and the hashes of what went into it."""
    inputs, planned = record["inputs"], _planned(record)
    hashes = [f"{name} {inputs[key]}" for key, name in _HASHES.items() if isinstance(inputs.get(key), str)]
    facts = [
        ("begun", str(record.get("created", ""))),
        ("command", str(record.get("command", ""))),
        ("galaxies fitted", f"{n_done} of {planned}" if planned else str(n_done)),
        ("hashes", ", ".join(hashes)),
    ]
    return [(name, value) for name, value in facts if value]


def _files(folder: Path, page: Path) -> list[tuple[str, str, str]]:
    """What is in the folder, with links from the folder of the page."""
    found = []
    for name, what in _FILES.items():
        path = folder / name
        if path.exists():
            link = quote(Path(os.path.relpath(path, page)).as_posix())
            size = "" if path.is_dir() else f", {path.stat().st_size / 1e6:.1f} MB"
            found.append((name, link, what + size))
    return found


def _rows(folder: Path) -> list[tuple[str, int]]:
    """What became of the rows of the input table, the most frequent first."""
    path = next((one for name in ("rows.ecsv", "rows.fits") if (one := folder / name).is_file()), None)
    if path is None:
        return []
    table = Table.read(path)
    meanings = {int(name[6:]): str(text) for name, text in table.meta.items() if _is_status(name)}
    counts = Counter(int(status) for status in table["status"])
    return [(meanings.get(status, f"status {status}"), count) for status, count in counts.most_common()]


def _is_status(name: str) -> bool:
    return name.startswith("STATUS") and name[6:].isdigit()


def _findings(path: Path) -> list[Finding]:
    if not path.is_file():
        return []
    table = Table.read(path)
    return [
        Finding(
            level=_text(row["level"]),
            row=int(row["row"]),
            id=_text(row["id"]),
            column=_text(row["column"]),
            band=_text(row["band"]),
            reason=_text(row["reason"]),
        )
        for row in table
    ]


def _text(value: Any) -> str:
    """A text of a table; an empty one is read as missing."""
    return "" if np.ma.is_masked(value) else str(value)


def _summary(folder: Path) -> Table:
    """The rows of the galaxies in the order of the catalogue; none where there is no summary yet."""
    for kind in ("parquet", "fits", "ecsv"):
        if (folder / f"summary.{kind}").is_file():
            return Table.read(folder / f"summary.{kind}")
    return Table({"id": np.zeros(0, str)})


def _comparisons(
    config: Mapping[str, Any], ids: Sequence[str], table: Table, place: Mapping[str, int]
) -> list[Comparison]:
    """What the configuration compares with, from columns that the summary carries along."""
    wanted = {
        name: item
        for name, item in config.get("comparison", {}).items()
        if isinstance(item, dict) and item.get("with")
    }
    rows = np.asarray([place.get(name, -1) for name in ids])
    found = []
    for name, item in wanted.items():
        if name in table.colnames:
            column = np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan)
            values = np.where(rows >= 0, column[rows], np.nan)
            found.append(Comparison(item["with"], values, item.get("label") or name))
    return found
