"""``starling judge``: the galaxies of a fit through nested sampling, as a judge of its posteriors."""

import os
from pathlib import Path
from typing import Annotated

import typer

from starling.cli.compiled import CompiledOption, keep_compiled
from starling.cli.train import SPS_HOME_OPTION


def judge(
    config: Annotated[Path, typer.Argument(help="YAML file, the same as of `starling fit`.")],
    table: Annotated[
        Path | None, typer.Argument(help="Table of fluxes, in place of the configured one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder that the configured paths of tables count from.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the results.")] = None,
    galaxies: Annotated[
        str | None, typer.Option("--galaxies", "-g", help="IDs of the galaxies, with commas between.")
    ] = None,
    max_galaxies: Annotated[
        int | None, typer.Option("--max-galaxies", "-n", min=1, help="Judge at most so many galaxies.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="quick, standard, or paper (2000 live points, 200,000 effective samples).")
    ] = "standard",
    live_points: Annotated[
        int | None, typer.Option("--live-points", min=1, help="Another number than the preset's.")
    ] = None,
    lanes: Annotated[
        int | None,
        typer.Option(min=1, help="New points that are made at once; 1: dynesty's own code, point by point."),
    ] = None,
    slices: Annotated[
        int | None,
        typer.Option(min=1, help="Random slices to a new point for each parameter; 1 is dynesty's default."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="In place of the configured one: a second opinion.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Galaxies to sample at the same time, each in a process of one thread.")
    ] = os.cpu_count() or 1,
    exact: Annotated[
        bool, typer.Option("--exact", help="Judge with the exact model that the emulator imitates: slow.")
    ] = False,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard what an earlier run left in the folder.")
    ] = False,
    compiled: CompiledOption = None,
) -> None:
    """Sample galaxies with dynesty: the same model and priors as `starling fit`, and the evidence.

    A galaxy that is finished is kept: a run that was stopped goes on when the same command is given again. Compare with
    `starling compare FIT JUDGE`.
    """
    from rich.console import Console

    from starling.cli.inputs import read_inputs
    from starling.cli.judge_steps import How, judge_catalogue, settings_of
    from starling.cli.judged import describe_judged
    from starling.cli.pipeline import say_results
    from starling.inference.nested import require_dynesty

    require_dynesty()
    keep_compiled(compiled)
    console = Console()
    changed = {"n_live": live_points, "lanes": lanes, "slices": slices}
    settings = settings_of(preset, {name: value for name, value in changed.items() if value is not None})
    ids = tuple(filter(None, (word.strip() for word in (galaxies or "").split(","))))
    inputs = read_inputs(
        console, config, table, data, max_galaxies=max_galaxies, ids=ids, exact=exact, sps_home=sps_home
    )
    bands = inputs.catalogue.bands
    what = describe_judged(
        inputs.config.model.emulator,
        config.parent,
        tuple(inputs.config.photometry.bands),
        bands,
        sps_home,
        exact,
    )
    how = How(settings, inputs.config.seed if seed is None else seed, workers, what)
    folder = out or Path(f"starling-{config.stem}-judge")
    results = judge_catalogue(console, inputs, how, folder, fresh=fresh, title=f"{config.stem}: the judge")
    say_results(console, results)
