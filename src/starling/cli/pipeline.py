"""The way from a catalogue to results on disk that ``fit`` and ``quickstart`` share."""

import math
import shlex
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from starling.catalogues import Catalogue, FitConfig, summarise
from starling.cli.errors import INTERRUPTED, say_error
from starling.cli.fits import Place, fit_job, fit_of
from starling.cli.opened import Emulator
from starling.cli.results import Results, write_large, write_results
from starling.execution import ExecutionConfig, open_executor
from starling.runs import Fit, complete, merged, of_galaxies, progress_bar, summary
from starling.runs.lock import locked

VALUES_BESIDE_PARAMETERS = 35  # per draw: derived quantities, the SFH and its edges, sampler statistics


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
    fit, order, engine, warning = fit_of(config, catalogue, emulator, truth, base, folder)
    console.print(f"Posteriors: {engine}", highlight=False, soft_wrap=True)
    if warning:
        console.print(f"[yellow]Mind that {escape(warning)}.[/]", highlight=False, soft_wrap=True)
    total, model = len(fit.ids), emulator.model.select(catalogue.bands)
    # threads of this process have nothing to open: the devices are shared out inside a part
    away = None if execution is None or execution.kind == "threads" else execution
    job = None if away is None or place is None else fit_job(config, place, folder)
    needed = _expected_bytes(config, fit, len(model.space), len(model.bands))
    with locked(folder):  # nobody discards parts before the results are written
        try:
            with (
                open_executor(away, console.print) if away and job else nullcontext() as executor,
                progress_bar(console, total) as show,
            ):
                complete(
                    fit,
                    folder,
                    fresh=fresh,
                    needed_bytes=needed,
                    merged_bytes=needed if total <= config.output.whole else 0,
                    progress=show,
                    executor=executor,
                    job=job,
                    command=this_command(),
                )
        except KeyboardInterrupt:
            say_error(
                f"stopped; finished parts are in {folder}. To go on, run the same again:\n  {this_command()}"
            )
            raise typer.Exit(INTERRUPTED) from None
        rows = np.argsort(order)  # in the run, of every galaxy of the catalogue
        table = summary(fit, folder)[rows]
        if total <= config.output.whole:
            tree = of_galaxies(merged(fit, folder), rows)
            return write_results(config, catalogue, table, tree, folder, title)
        return write_large(config, catalogue, table, folder, title)


def _expected_bytes(config: FitConfig, fit: Fit, n_parameters: int, n_bands: int) -> int:
    """Size of the parts, in single precision."""
    settings, storage, n = config.sampler_settings, fit.storage, len(fit.ids)
    n_draws = min(settings.n_chains * settings.n_draws, storage.draws or math.inf)
    per_draw = n_parameters + VALUES_BESIDE_PARAMETERS + n_bands // 10
    return int(4 * n * n_draws * per_draw)


def say_results(console: Console, results: Results) -> None:
    """How many galaxies converged and where everything is."""
    passed = np.asarray(results.summary["passed"]).astype(bool)
    style = "green" if passed.mean() > 0.9 else "yellow"
    console.print(f"[{style}]{passed.sum()} of {passed.size} galaxies converged[/]", end="")
    console.print(
        "" if passed.all() else " (the column `flag` of the summary says what is wrong with the others)"
    )
    for name, path in results.files.items():
        console.print(f"  {name:<17}{path}", highlight=False, soft_wrap=True)
    if results.note:
        console.print(f"[yellow]{escape(results.note)}[/]", highlight=False, soft_wrap=True)


def this_command() -> str:
    """The command line of this process, without --fresh, which would discard what is finished."""
    return shlex.join([Path(sys.argv[0]).name, *(word for word in sys.argv[1:] if word != "--fresh")])
