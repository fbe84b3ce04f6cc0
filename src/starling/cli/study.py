"""``starling study``: many networks for one task, trained, measured and compared."""

import os
from pathlib import Path
from typing import Annotated

import typer

from starling.cli.stopping import stop_on_signal
from starling.cli.train import SPS_HOME_OPTION


def study(
    config: Annotated[Path, typer.Argument(help="Study (YAML), as configs/study_aegis.yaml.")],
    workdir: Annotated[
        Path | None, typer.Option(help="Folder of the networks and the results; default runs/NAME.")
    ] = None,
    sets: Annotated[
        Path | None,
        typer.Option(help="Simulated sets to use, read only; default: simulate them in WORKDIR/sets."),
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train nothing; report on the networks that are finished.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Keep what is trained, or train everything anew.")
    ] = True,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    workers: Annotated[int, typer.Option(min=1, help="Chunks to simulate at the same time.")] = os.cpu_count()
    or 1,
) -> None:
    """Train networks of several sizes and kinds, and find how accuracy and cost depend on them.

    Finished networks are kept: Ctrl-C or SIGTERM end the training after the epoch, and the same command goes on. Writes
    study.json, study.csv and figures into the folder.
    """
    from rich.console import Console

    from starling.cli.study_steps import find_sets, report
    from starling.emulators.pipeline import Hooks
    from starling.simulation import StoppedError
    from starling.validation.study import train_all
    from starling.validation.study_config import load_study

    settings = load_study(config)
    workdir = workdir or Path("runs") / settings.name
    if not report_only:
        with stop_on_signal() as should_stop:
            hooks = Hooks(
                say=typer.echo,
                simulated=lambda progress: typer.echo(str(progress)),
                epoch=lambda epoch: typer.echo(str(epoch)),
                should_stop=should_stop,
            )
            try:
                found, description = find_sets(settings, sets, workdir, sps_home, workers, hooks)
                train_all(settings, found, description, workdir, resume=resume, hooks=hooks)
            except StoppedError as stopped:
                typer.echo(f"{stopped}. The same command goes on; --report-only reports on what is finished")
                raise typer.Exit(130) from None
    report(Console(), settings, workdir)
