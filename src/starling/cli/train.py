"""``starling train``: from a configuration to an emulator file."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

SPS_HOME_OPTION = typer.Option(
    "--sps-home", envvar="SPS_HOME", help="FSPS data directory, for the table of the AGN torus."
)


def train(
    config: Annotated[Path, typer.Argument(help="Training configuration (YAML), as in configs/.")],
    out: Annotated[
        Path | None, typer.Option(help="Emulator file to write; default WORKDIR/NAME.safetensors.")
    ] = None,
    workdir: Annotated[
        Path | None, typer.Option(help="Folder of the simulated sets and the checkpoint; default runs/NAME.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue a checkpoint, or train from the start.")
    ] = True,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    workers: Annotated[int, typer.Option(min=1, help="Chunks to simulate at the same time.")] = os.cpu_count()
    or 1,
) -> None:
    """Simulate a training set, train an emulator on it, measure it on held-out galaxies, and write it.

    What is there already (simulated chunks, a checkpoint) is used; Ctrl-C or SIGTERM end the training after the epoch,
    and the same command continues it.
    """
    from rich.console import Console

    from starling.cli.display import training_display
    from starling.cli.simulator import build_model, describe_model, make_simulator
    from starling.emulators.config import load_config
    from starling.emulators.files import read_header
    from starling.emulators.pipeline import simulate_sets, train_emulator
    from starling.simulation import StoppedError
    from starling.validation.emulator import summary

    settings = load_config(config)
    workdir = workdir or Path("runs") / settings.name
    out = out or workdir / f"{settings.name}.safetensors"
    model = build_model(settings.simulator.tables, settings.space.build(), settings.bands, sps_home)
    tangents = settings.training.sobolev_weight > 0
    description = describe_model(model) | ({"tangents": True} if tangents else {})
    simulator = make_simulator(model, settings.simulator.batch, components=True, tangents=tangents)
    console = Console()
    with training_display(console) as shown, _stop_on_signal() as should_stop:
        hooks = shown._replace(should_stop=should_stop)
        try:
            sets = simulate_sets(
                settings, simulator, description, workdir / "sets", workers=workers, hooks=hooks
            )
            train_emulator(
                settings,
                sets,
                description,
                workdir=workdir,
                out=out,
                resume=resume,
                hooks=hooks,
                simulator=simulator,
            )
        except StoppedError as stopped:
            hooks.say(str(stopped))
            raise typer.Exit(130) from None
    typer.echo(summary(read_header(out)))
    typer.echo(f"wrote {out}")


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """While the context lasts, the first Ctrl-C or SIGTERM only sets what is yielded; a second one acts as ever."""
    asked = False
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before[number])
        typer.echo("stopping after this epoch or chunk; once more to stop at once")

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
