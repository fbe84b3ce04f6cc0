"""``starling simulate``: training sets on disk."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starling.cli.stopping import stop_on_signal
from starling.cli.train import SPS_HOME_OPTION

if TYPE_CHECKING:
    import numpy as np

    from starling.cli.source import Source
    from starling.emulators.simulate_config import SimulateConfig


def simulate(
    config: Annotated[
        Path,
        typer.Argument(help="What to simulate (YAML), as configs/simulate_*.yaml or configs/train_*.yaml."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the sets; default runs/NAME/sets.")
    ] = None,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Shards to simulate at the same time; processes of FSPS.")
    ] = os.cpu_count() or 1,
) -> None:
    """Draw galaxies, simulate them, and write the sets that emulators are trained on.

    What is there already is kept; what is missing or damaged is made. So Ctrl-C, SIGTERM or a crash lose a shard at
    most: run the same command again. `starling train CONFIG --sets DIR` trains on the sets.
    """
    from rich.console import Console

    from starling.cli.display import training_display
    from starling.emulators.pipeline import make_sets
    from starling.emulators.simulate_config import load_simulate_config
    from starling.simulation import StoppedError
    from starling.simulation.store import FAILED

    settings = load_simulate_config(config)
    folder = out or Path("runs") / settings.name / "sets"
    plans = settings.plans(lambda path: _columns(config.parent / path))
    with (
        _open(settings, sps_home, workers) as source,
        training_display(Console()) as shown,
        stop_on_signal() as should_stop,
    ):
        hooks = shown._replace(should_stop=should_stop)
        try:
            failed = make_sets(
                plans,
                source.simulate,
                source.description,
                folder,
                coordinates=source.coordinates,
                workers=source.threads,
                hooks=hooks,
            )
        except StoppedError as stopped:
            hooks.say(f"{stopped}; the same command goes on from there")
            raise typer.Exit(130) from None
    if source.description["surrogate"]:
        typer.echo("SURROGATE: these sets are not astrophysics")
    for name, plan in plans.items():
        lost = f", {failed[name]} failed: see {folder / name / FAILED}" if failed[name] else ""
        typer.echo(f"wrote {folder / name}: {plan.n} galaxies{lost}")


def _open(
    settings: "SimulateConfig", sps_home: Path | None, workers: int
) -> "AbstractContextManager[Source]":
    if settings.spectra is not None:
        from starling.cli.spectra import open_spectral_source

        return open_spectral_source(settings, sps_home, workers)
    from starling.cli.source import open_source

    return open_source(
        settings.simulator,
        settings.space.build(),
        settings.bands,
        sps_home,
        workers=workers,
        components=settings.gives == "components",
        tangents=settings.tangents,
    )


def _columns(path: Path) -> "Mapping[str, np.ndarray]":
    """The columns of a table with one number per row."""
    from starling.catalogues.read import read_table, to_numbers

    table = read_table(path)
    return {name: to_numbers(table[name]).values for name in table.colnames if table[name].ndim == 1}
