"""``starling amortise``: from a configuration to a flow that proposes posteriors."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starling.cli.compiled import CompiledOption, keep_compiled
from starling.cli.stopping import stop_on_signal

if TYPE_CHECKING:
    from rich.console import Console

    from starling.amortised.training import FlowReport


def amortise(
    config: Annotated[Path, typer.Argument(help="Configuration (YAML), as configs/amortise_*.yaml.")],
    out: Annotated[Path | None, typer.Option(help="File to write; default WORKDIR/NAME.safetensors.")] = None,
    workdir: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoint; default runs/amortised_NAME.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue a checkpoint, or train from the start.")
    ] = True,
    compiled: CompiledOption = None,
) -> None:
    """Train a flow that proposes posteriors for an emulator, a set of bands and a range of errors.

    Galaxies are drawn from the emulator as the training goes: nothing else is needed. Ctrl-C or SIGTERM end the
    training after some steps, and the same command continues it.
    """
    from rich.console import Console

    from starling.amortised.config import read_amortise_config
    from starling.amortised.pipeline import amortise as train
    from starling.cli.emulators import find_emulator
    from starling.emulators import load_emulator, read_header
    from starling.simulation import StoppedError

    keep_compiled(compiled)
    settings = read_amortise_config(config)
    workdir = workdir or Path("runs") / f"amortised_{settings.name}"
    out = out or workdir / f"{settings.name}.safetensors"
    path = find_emulator(settings.emulator, config.parent)
    model, header = load_emulator(path), read_header(path)
    about = {"name": header.get("name", path.stem), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    console = Console()
    with flow_display(console) as report, stop_on_signal() as should_stop:
        try:
            archive = train(
                settings,
                model,
                about,
                workdir=workdir,
                out=out,
                resume=resume,
                report=report,
                should_stop=should_stop,
            )
        except StoppedError as stopped:
            console.print(str(stopped), markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(130) from None
    typer.echo(
        f"loss on {settings.training.n_validation} galaxies: {archive.header['accuracy']['validation_loss']:.3f}"
    )
    typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


@contextmanager
def flow_display(console: "Console") -> "Iterator[Callable[[FlowReport], None]]":
    """A bar with the loss and the time left on a terminal; lines in a log file."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from starling.cli.display import clock

    if not console.is_terminal:
        yield lambda report: console.print(str(report), markup=False, highlight=False, soft_wrap=True)
        return
    columns = TextColumn("training"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn()
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("training", total=None, state="compiling")

        def show(report: "FlowReport") -> None:
            state = (
                f"{report.step}/{report.n_steps}  loss {report.train_loss:.3f}  "
                f"validation {report.validation_loss:.3f}  {clock(report.seconds_left)} left"
            )
            bars.update(task, total=report.n_steps, completed=report.step, state=state)

        yield show
