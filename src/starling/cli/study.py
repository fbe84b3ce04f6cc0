"""``starling study``: many networks for one task, trained, measured and compared."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starling.cli.stopping import stop_on_signal
from starling.cli.train import SPS_HOME_OPTION

if TYPE_CHECKING:
    from starling.emulators.pipeline import Hooks
    from starling.simulation import SimulatedSet
    from starling.validation.study_config import StudyConfig


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
                epoch=lambda report: typer.echo(str(report)),
                should_stop=should_stop,
            )
            try:
                found, description = _sets(settings, sets, workdir, sps_home, workers, hooks)
                train_all(settings, found, description, workdir, resume=resume, hooks=hooks)
            except StoppedError as stopped:
                typer.echo(f"{stopped}. The same command goes on; --report-only reports on what is finished")
                raise typer.Exit(130) from None
    _report(settings, workdir)


def _sets(
    settings: "StudyConfig",
    folder: Path | None,
    workdir: Path,
    sps_home: Path | None,
    workers: int,
    hooks: "Hooks",
) -> tuple[dict[str, "SimulatedSet"], dict[str, Any]]:
    """Sets and the description of their simulator: those in a folder, or new ones."""
    from starling.cli.simulator import build_model, describe_model, make_simulator
    from starling.emulators.pipeline import simulate_sets
    from starling.validation.study import open_sets

    whole = settings.whole
    if folder is not None:
        return open_sets(whole, folder)
    model = build_model(whole.simulator.tables, whole.space.build(), whole.bands, sps_home)
    description = describe_model(model)
    simulator = make_simulator(model, whole.simulator.batch, components=True)
    found = simulate_sets(whole, simulator, description, workdir / "sets", workers=workers, hooks=hooks)
    return found, description


def _report(settings: "StudyConfig", workdir: Path) -> None:
    """Measure costs, write results and figures, print the table."""
    from rich.console import Console

    from starling.plotting.study import study_figures
    from starling.validation.study_report import say_study, study_results, write_study

    typer.echo(
        f"measuring costs on one core: {settings.cost.rounds} rounds of {settings.cost.batch} galaxies"
    )
    results = study_results(settings, workdir)
    files = write_study(results, workdir)
    for name, figure in study_figures(results).items():
        files[name] = workdir / f"{name}.png"
        figure.savefig(files[name], dpi=150)
    console = Console()
    say_study(console, results)
    for name, path in files.items():
        console.print(f"  {name:<14}{path}", highlight=False, soft_wrap=True)
