"""The way from a catalogue to results on disk that ``fit`` and ``quickstart`` share."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import typer
import xarray as xr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from starling.catalogues import Catalogue, FitConfig, findings_table, summarise
from starling.cli.emulators import find_emulator
from starling.cli.errors import INTERRUPTED, say_error
from starling.emulators import load_emulator, read_header
from starling.execution import hash_arrays, progress_bar, run
from starling.forward import ForwardModel, parts_of
from starling.inference import (
    Draws,
    Observation,
    Progress,
    SamplerSettings,
    diagnose,
    save,
    summary_table,
    take,
    to_datatree,
)
from starling.inference import fit as sample_galaxies
from starling.plotting.comparison import Comparison
from starling.plotting.report import write_report
from starling.published import is_published, open_published

POSTERIOR = {"netcdf": "posterior.nc", "zarr": "posterior.zarr"}
VALUES_BESIDE_PARAMETERS = 35  # per draw: derived quantities, the SFH and its edges, sampler statistics
HEADER_KEYS = ("name", "created", "simulator", "surrogate", "git_commit", "config_sha256")


class Emulator(NamedTuple):
    """A forward model from a file, what the file says about it, and what its users have to know of it."""

    model: ForwardModel
    name: str
    header: dict[str, Any]
    note: str = ""


class Results(NamedTuple):
    """What a fit left: the tree, and the file or folder of each kind of output."""

    tree: xr.DataTree
    files: dict[str, Path]


def open_emulator(name: str, folder: Path, bands: Sequence[str] = ()) -> Emulator:
    """The default emulator of the package (``default``), another of its own by name, or one from a file.

    A path counts from ``folder``. A folder, a pickle or a .npy file is taken for an emulator of somebody else's;
    ``bands`` are those that it is made for where it is one for any filter.
    """
    path = find_emulator(name, folder)
    if is_published(path):
        published = open_published(path, bands)
        return Emulator(published.model, f"{path} ({published.kind})", published.header, published.note)
    return Emulator(load_emulator(path), "the emulator " + path.name, read_header(path))


def say_emulator(console: Console, emulator: Emulator) -> None:
    """Which emulator it is, where it is not of this package's making, and what its users have to know."""
    if emulator.note:
        console.print(f"Emulator: [bold]{escape(emulator.name)}[/]", highlight=False, soft_wrap=True)
        console.print(f"[yellow]{escape(emulator.note)}.[/]", highlight=False, soft_wrap=True)


def bounds_of(model: ForwardModel) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of every parameter of a model."""
    low, high = model.space.bounds
    return {name: (float(a), float(b)) for name, a, b in zip(model.space.names, low, high, strict=True)}


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
) -> Results:
    """Fit a catalogue and write posterior, summary, findings and report into ``folder``; a stopped run goes on."""
    settings, model = config.sampler_settings, emulator.model.select(catalogue.bands)
    provenance = {
        "config": config.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "emulator": {key: emulator.header[key] for key in HEADER_KEYS if key in emulator.header},
        "seed": config.seed,
    }
    total = len(catalogue.ids)
    # galaxies that one part of a model is enough for go together
    order = np.concatenate([part.rows for part in parts_of(model, catalogue.observations.fixed, total)])
    sorted_truth = None if truth is None else {name: values[order] for name, values in truth.items()}
    ids = [catalogue.ids[row] for row in order]
    try:
        with progress_bar(console, total) as show:
            tree = run(
                _sampler(
                    take(catalogue.observations, order),
                    ids,
                    model,
                    settings,
                    config.seed,
                    sorted_truth,
                    provenance,
                ),
                ids,
                folder,
                inputs={
                    "galaxies": hash_arrays((catalogue.observations, catalogue.ids, dict(truth or {}))),
                    "emulator": hash_arrays((model, catalogue.bands)),
                    "sampler": asdict(settings),
                    "seed": config.seed,
                },
                batch_size=settings.batch_size,
                fresh=fresh,
                needed_bytes=_expected_bytes(total, len(model.space), len(model.bands), settings),
                progress=show,
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


def _sampler(
    observations: Observation,
    ids: Sequence[str],
    model: ForwardModel,
    settings: SamplerSettings,
    seed: int,
    truth: Mapping[str, np.ndarray] | None,
    provenance: Mapping[str, Any],
) -> Callable[[int, int, int, Callable[[float, str], None]], xr.DataTree]:
    """What fits one part; the draws depend on the seed, the part and its galaxies only."""
    key = jax.random.key(seed)
    sizes: set[int] = set()

    def sample(part: int, start: int, stop: int, report: Callable[[float, str], None]) -> xr.DataTree:
        size = max(sizes | {stop - start})  # a shorter last part is filled up, so that nothing compiles again
        sizes.add(size)
        padded = np.minimum(np.arange(start, start + size), stop - 1)

        def show(now: Progress) -> None:
            report(now.fraction, now.stage)

        draws = sample_galaxies(
            jax.random.fold_in(key, part),
            take(observations, padded),
            model,
            settings=settings,
            progress=show,
        )
        draws = _first(draws, stop - start)
        return to_datatree(
            draws,
            take(observations, np.arange(start, stop)),
            model,
            diagnose(draws),
            galaxy=ids[start:stop],
            settings=settings,
            truth=None if truth is None else {name: values[start:stop] for name, values in truth.items()},
            attrs=provenance,
        )

    return sample


def _first(draws: Draws, n: int) -> Draws:
    """The draws of the first ``n`` galaxies."""
    arrays: dict[str, Any] = {
        name: value[:n] for name, value in draws._asdict().items() if isinstance(value, np.ndarray)
    }
    extra = {name: value[:n] for name, value in draws.extra.items()}
    return draws._replace(**arrays, extra=extra, problems=draws.problems[:n])


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
