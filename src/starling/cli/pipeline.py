"""The way from a catalogue to results on disk that ``fit`` and ``quickstart`` share."""

import shlex
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import typer
import xarray as xr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from starling.catalogues import Catalogue, FitConfig, findings_table, summarise
from starling.cli.errors import INTERRUPTED, say_error
from starling.cli.fits import Emulator, Place, fit_job, fit_of
from starling.execution import ExecutionConfig, open_executor
from starling.inference import SamplerSettings, save, summary_table
from starling.plotting.comparison import Comparison
from starling.plotting.report import write_report
from starling.runs import progress_bar, run

POSTERIOR = {"netcdf": "posterior.nc", "zarr": "posterior.zarr"}
VALUES_BESIDE_PARAMETERS = 35  # per draw: derived quantities, the SFH and its edges, sampler statistics


class Results(NamedTuple):
    """What a fit left: the tree, and the file or folder of each kind of output."""

    tree: xr.DataTree
    files: dict[str, Path]


def say_emulator(console: Console, emulator: Emulator) -> None:
    """Which emulator it is, where it is not of this package's making, and what its users have to know."""
    if emulator.note:
        console.print(f"Emulator: [bold]{escape(emulator.name)}[/]", highlight=False, soft_wrap=True)
        console.print(f"[yellow]{escape(emulator.note)}.[/]", highlight=False, soft_wrap=True)


def say_catalogue(console: Console, catalogue: Catalogue) -> None:
    """How many galaxies and bands there are, and what was found wrong, by kind."""
    used = np.asarray(catalogue.observations.mask).sum(axis=1)
    console.print(
        f"[bold]{len(catalogue.ids)}[/] galaxies of {catalogue.total_rows} rows, {len(catalogue.bands)} bands "
        f"({int(used.min())} to {int(used.max())} usable per galaxy)"
    )
    kinds = summarise(catalogue.findings)
    if not kinds:
        return
    table = Table("", "column", "what", "rows", "for example", title="Findings", title_justify="left")
    for level, column, reason, count, examples in kinds[:20]:
        table.add_row(level, column, reason, str(count), examples)
    console.print(table)
    if len(kinds) > 20:
        console.print(f"... and {len(kinds) - 20} more kinds")


def fit_catalogue(
    console: Console,
    config: FitConfig,
    catalogue: Catalogue,
    emulator: Emulator,
    folder: Path,
    *,
    fresh: bool = False,
    truth: Mapping[str, np.ndarray] | None = None,
    title: str = "Fits of galaxies",
    execution: ExecutionConfig | None = None,
    place: Place | None = None,
) -> Results:
    """Fit a catalogue and write posterior, summary, findings and report into ``folder``; a stopped run goes on.

    Parts are fitted here, or as ``execution`` says, elsewhere: ``place`` then says where the files are.
    """
    base = Path() if place is None else place.base
    fit, order = fit_of(config, catalogue, emulator, truth, base)
    total, model = len(fit.ids), emulator.model.select(catalogue.bands)
    # threads of this process have nothing to open: the devices are shared out inside a part
    away = None if execution is None or execution.kind == "threads" else execution
    job = None if away is None or place is None else fit_job(config, place, folder)
    try:
        with (
            open_executor(away, console.print) if away and job else nullcontext() as executor,
            progress_bar(console, total) as show,
        ):
            tree = run(
                fit,
                folder,
                fresh=fresh,
                needed_bytes=_expected_bytes(
                    total, len(model.space), len(model.bands), config.sampler_settings
                ),
                progress=show,
                executor=executor,
                job=job,
            )
    except KeyboardInterrupt:
        say_error(
            f"stopped; finished parts are in {folder}. To go on, run the same again:\n  {this_command()}"
        )
        raise typer.Exit(INTERRUPTED) from None
    tree = _in_order(tree, np.argsort(order))
    extra = {name: ("galaxy", values) for name, values in catalogue.extra.items()}
    tree["catalogue"] = xr.Dataset(
        {"row": ("galaxy", catalogue.rows), **extra}, {"galaxy": list(catalogue.ids)}
    )
    return Results(tree, write_results(config, catalogue, tree, folder, title))


def _in_order(tree: xr.DataTree, rows: np.ndarray) -> xr.DataTree:
    """The galaxies of a tree in another order."""
    if np.array_equal(rows, np.arange(len(rows))):
        return tree
    groups = {
        node.path: node.to_dataset(inherit=False).isel(galaxy=rows, missing_dims="ignore")
        for node in tree.subtree
    }
    return xr.DataTree.from_dict(groups)


def _expected_bytes(n_galaxies: int, n_parameters: int, n_bands: int, settings: SamplerSettings) -> int:
    """Size of the parts and the merged result together, in single precision."""
    per_draw = n_parameters + VALUES_BESIDE_PARAMETERS + n_bands // 10
    return 2 * 4 * n_galaxies * settings.n_chains * settings.n_draws * per_draw


def write_results(
    config: FitConfig, catalogue: Catalogue, tree: xr.DataTree, folder: Path, title: str
) -> dict[str, Path]:
    """Posterior, summary, findings and report; the path of each."""
    files = {"posterior": folder / POSTERIOR[config.output.format]}
    save(tree, files["posterior"])
    summary = summary_table(tree)
    summary.add_column(catalogue.rows, name="row", index=1)
    for name, values in catalogue.extra.items():
        summary[name] = values
    files["summary"] = folder / "summary.ecsv"
    summary.write(files["summary"], format="ascii.ecsv", overwrite=True)
    files["findings"] = folder / "findings.ecsv"
    findings_table(catalogue.findings).write(files["findings"], format="ascii.ecsv", overwrite=True)
    if config.output.report:
        comparisons = [
            Comparison(item.against, catalogue.extra[name], item.label or name)
            for name, item in config.comparison.items()
            if item.against is not None
        ]
        files["report"] = write_report(
            tree, folder / "report.html", comparisons=comparisons, findings=catalogue.findings, title=title
        )
    return files


def say_results(console: Console, results: Results) -> None:
    """How many galaxies converged and where everything is."""
    passed = np.asarray(results.tree["diagnostics"]["passed"]).astype(bool)
    style = "green" if passed.mean() > 0.9 else "yellow"
    console.print(f"[{style}]{passed.sum()} of {passed.size} galaxies converged[/]", end="")
    console.print(
        "" if passed.all() else " (the column `flag` of the summary says what is wrong with the others)"
    )
    for name, path in results.files.items():
        console.print(f"  {name:<10}{path}", highlight=False, soft_wrap=True)


def this_command() -> str:
    """The command line of this process, without --fresh, which would discard what is finished."""
    return shlex.join([Path(sys.argv[0]).name, *(word for word in sys.argv[1:] if word != "--fresh")])
