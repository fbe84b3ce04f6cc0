"""The steps of ``starling study`` that need more than the study itself: the exact model, and figures."""

from pathlib import Path
from typing import Any

from rich.console import Console

from starling.cli.source import open_source
from starling.emulators.pipeline import Hooks, simulate_sets
from starling.execution import Threads
from starling.plotting.study import study_figures
from starling.simulation import SimulatedSet
from starling.validation.study import open_sets
from starling.validation.study_config import StudyConfig
from starling.validation.study_report import say_study, study_results, write_study


def find_sets(
    study: StudyConfig, folder: Path | None, workdir: Path, sps_home: Path | None, workers: int, hooks: Hooks
) -> tuple[dict[str, SimulatedSet], dict[str, Any]]:
    """Sets and the description of their simulator: those in ``folder``, or new ones under ``workdir``."""
    whole = study.whole
    if folder is not None:
        return open_sets(whole, folder)
    space, sets = whole.space.build(), workdir / "sets"
    with open_source(
        whole.simulator, space, whole.bands, sps_home, workers=workers, components=True
    ) as source:
        found = simulate_sets(
            whole, source.simulate, source.description, sets, executor=Threads(source.threads), hooks=hooks
        )
    return found, source.description


def report(console: Console, study: StudyConfig, workdir: Path) -> None:
    """Measure costs, write results and figures, print what was found."""
    console.print(f"costs on one core: {study.cost.rounds} rounds of {study.cost.batch} galaxies")
    results = study_results(study, workdir)
    files = write_study(results, workdir)
    for name, figure in study_figures(results).items():
        files[name] = workdir / f"{name}.png"
        figure.savefig(files[name], dpi=150)
    say_study(console, results)
    for name, path in files.items():
        console.print(f"  {name:<14}{path}", highlight=False, soft_wrap=True)
