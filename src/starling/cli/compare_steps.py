"""Reading two results, and saying and writing how far they are apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from astropy.table import Table as Rows
from rich import box
from rich.console import Console
from rich.table import Table

from starling.cli.results import POSTERIOR
from starling.inference import open_posterior
from starling.plotting.discrepancy import plot_discrepancy
from starling.plotting.draws import galaxy_ids
from starling.plotting.matched import Matched, match_results
from starling.runs import StoredRun, open_run
from starling.runs.manifest import MANIFEST
from starling.validation.discrepancy import CATASTROPHIC, Summary, summarise_discrepancy

_MOST_OUTLIERS = 10
_MOST_NAMES = 8
MOST_IN_MEMORY = 20_000  # galaxies: 500 draws of 70 quantities are 3 GB


class Pair(NamedTuple):
    """Two results, and the ids of the galaxies that only one of them has: the trees of large runs do not have these."""

    first: xr.DataTree
    second: xr.DataTree
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def match(self) -> Matched:
        """The two side by side."""
        with self.first, self.second:
            found = match_results(self.first, self.second)
        return found._replace(only_a=self.only_first, only_b=self.only_second)


def open_pair(a: Path, b: Path) -> Pair:
    """Two results, each a file or the folder of a run; of a run that has its draws in parts, what the other has too.

    ValueError where there is none, or more than memory should hold.
    """
    found = [_find(path) for path in (a, b)]
    ids = [galaxy_ids(one) if isinstance(one, xr.DataTree) else one.ids for one in found]
    first, second = _in_memory(found[0], ids[0], ids[1], a), _in_memory(found[1], ids[1], ids[0], b)
    known = [set(one) for one in ids]
    return Pair(
        first,
        second,
        tuple(one for one in ids[0] if one not in known[1]),
        tuple(one for one in ids[1] if one not in known[0]),
    )


def _find(path: Path) -> xr.DataTree | StoredRun:
    if path.is_dir() and path.suffix != ".zarr":
        there = [path / name for name in POSTERIOR.values() if (path / name).exists()]
        if not there and (path / MANIFEST).exists() and any(path.glob("summary.*")):
            return open_run(path)
        if not there:
            raise ValueError(f"{path} has no {' or '.join(POSTERIOR.values())}: has the run finished?")
        path = there[0]
    if not path.exists():
        raise ValueError(f"there is no result {path}")
    return open_posterior(path)


def _in_memory(
    found: xr.DataTree | StoredRun, mine: Sequence[str], other: Sequence[str], path: Path
) -> xr.DataTree:
    if isinstance(found, xr.DataTree):
        return found
    known = set(other)
    common = [one for one in mine if one in known]
    if len(common) > MOST_IN_MEMORY:
        raise ValueError(
            f"{path} keeps its draws in parts, and {len(common)} galaxies of it are in both results: compare at most "
            f"{MOST_IN_MEMORY} (save some of `starling.runs.open_run(folder).select(ids)`, or fit fewer with "
            "`table: {select: {max_rows: N, seed: 1}}`)"
        )
    return found.select(common or mine[:1])  # one is enough to say that none is in both


def say_comparison(console: Console, matched: Matched, name_a: str, name_b: str) -> None:
    """Discrepancies by parameter and over all, outliers, evidences, and what only one of the two has."""
    table = matched.table
    n = len(set(table["id"]))
    console.print(f"{n} galaxies in both, A: {name_a}, B: {name_b}", highlight=False, soft_wrap=True)
    _say_only(console, "galaxies", matched.only_a, matched.only_b)
    _say_only(console, "parameters", matched.unmatched_a, matched.unmatched_b)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "median D", "84%", "largest", f"> {CATASTROPHIC:g}", "A - B in sigma", "in dex"):
        shown.add_column(heading, justify="left" if not heading else "right")
    for kind, sampled in (("parameters", True), ("derived", False)):
        rows = table[table["sampled"] == sampled]
        for name in dict.fromkeys(str(name) for name in rows["name"]):
            mine = rows[rows["name"] == name]
            numbers = [_middle(mine[column].data) for column in ("difference_sigma", "difference_dex")]
            shown.add_row(name, *_cells(summarise_discrepancy(mine["discrepancy"].data)), *numbers)
        if len(rows):
            result = summarise_discrepancy(rows["discrepancy"].data)
            shown.add_row(f"[bold]all {kind}[/]", *_cells(result), "", "", end_section=True)
    console.print(shown)
    parameters = table[table["sampled"]]
    noise = parameters["noise"].data[np.isfinite(parameters["noise"].data)]
    if noise.size:
        # the median of |normal| is 0.6745 sigma
        console.print(f"Sampling noise alone would give a median D of about {0.6745 * np.median(noise):.3f}.")
    _say_outliers(console, matched)
    _say_evidence(console, matched)


def write_comparison(matched: Matched, folder: Path, name_a: str, name_b: str) -> dict[str, Path]:
    """Tables (ECSV) and the figure; the path of each."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"discrepancies": folder / "discrepancies.ecsv"}
    table = matched.table.copy()
    table.meta = {"a": name_a, "b": name_b}
    table.write(files["discrepancies"], format="ascii.ecsv", overwrite=True)
    if len(matched.evidence):
        files["evidence"] = folder / "evidence.ecsv"
        matched.evidence.write(files["evidence"], format="ascii.ecsv", overwrite=True)
    if matched.only_a or matched.only_b:
        files["in one only"] = folder / "only.ecsv"
        _only_table(matched).write(files["in one only"], format="ascii.ecsv", overwrite=True)
    files["figure"] = folder / "discrepancies.png"
    plot_discrepancy(matched, Path(name_a).name, Path(name_b).name).savefig(files["figure"], dpi=150)
    return files


def _only_table(matched: Matched) -> Rows:
    """Every galaxy that only one result has."""
    both = (("a", matched.only_a), ("b", matched.only_b))
    return Rows(
        {
            "id": [one for _, ids in both for one in ids],
            "result": [letter for letter, ids in both for _ in ids],
        }
    )


def _cells(result: Summary) -> list[str]:
    values = [f"{value:.3f}" for value in (result.median, result.upper, result.largest)]
    return [*values, f"{result.outliers} of {result.n}"]


def _middle(values: np.ndarray) -> str:
    found = values[np.isfinite(values)]
    return f"{np.median(found):+.3f}" if found.size else ""


def _say_only(console: Console, what: str, only_a: tuple[str, ...], only_b: tuple[str, ...]) -> None:
    for letter, names in (("A", only_a), ("B", only_b)):
        if names:
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            console.print(
                f"[yellow]only in {letter}: {what} {', '.join(names[:_MOST_NAMES])}{more}[/]",
                highlight=False,
                soft_wrap=True,
            )


def _say_outliers(console: Console, matched: Matched) -> None:
    table = matched.table[matched.table["outlier"] & matched.table["sampled"]]
    table.sort("discrepancy", reverse=True)
    for row in table[:_MOST_OUTLIERS]:
        console.print(
            f"[red]outlier[/] {row['id']} {row['name']}: A {row['median_a']:.3g} ± {row['sigma_a']:.2g}, "
            f"B {row['median_b']:.3g} ± {row['sigma_b']:.2g}, D = {row['discrepancy']:.1f}"
            + ("" if row["passed"] else " (did not pass in both)"),
            highlight=False,
            soft_wrap=True,
        )
    if len(table) > _MOST_OUTLIERS:
        console.print(f"... and {len(table) - _MOST_OUTLIERS} more outliers")


def _say_evidence(console: Console, matched: Matched) -> None:
    if not len(matched.evidence):
        return
    off = np.asarray(matched.evidence["difference_sigma"], float)
    found = off[np.isfinite(off)]
    if found.size:
        console.print(
            f"ln Z, A - B: median {np.median(matched.evidence['difference'][np.isfinite(off)]):+.3f}, "
            f"{(np.abs(found) < 1).sum()} of {found.size} within one sigma, largest {np.abs(found).max():.1f} sigma"
        )
