"""``starling train``: from a configuration to an emulator file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starling.cli.stopping import stop_on_signal

if TYPE_CHECKING:
    from starling.emulators.spectra.config import SpectrumConfig

SPS_HOME_OPTION = typer.Option(
    "--sps-home",
    envvar="SPS_HOME",
    help="FSPS data directory: for FSPS itself, and for the table of the AGN torus.",
)

GRADIENT_SEED = 999


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
    sets: Annotated[
        Path | None,
        typer.Option(
            help="Sets that `starling simulate` made, read only; default: simulate them in WORKDIR/sets."
        ),
    ] = None,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Chunks to simulate at the same time; processes of FSPS.")
    ] = os.cpu_count() or 1,
    gradients: Annotated[
        int, typer.Option(min=0, help="Galaxies to measure the error of the gradient with; 0: none.")
    ] = 512,
) -> None:
    """Simulate a training set, train an emulator on it, measure it on held-out galaxies, and write it.

    What is there already (simulated chunks, a checkpoint) is used; Ctrl-C or SIGTERM end the training after the epoch,
    and the same command continues it.
    """
    from rich.console import Console

    from starling.cli.display import training_display
    from starling.cli.training_sets import find_sets
    from starling.emulators.config import TrainingConfig
    from starling.emulators.files import add_accuracy, read_header
    from starling.emulators.pipeline import train_emulator
    from starling.emulators.spectra.config import load_any_config
    from starling.simulation import StoppedError
    from starling.validation.emulator import summary
    from starling.validation.gradients import gradient_errors, gradient_verdict

    settings = load_any_config(config)
    workdir = workdir or Path("runs") / settings.name
    out = out or workdir / f"{settings.name}.safetensors"
    if not isinstance(settings, TrainingConfig):
        _train_spectra(
            settings,
            out,
            workdir,
            sets,
            resume=resume,
            sps_home=sps_home,
            workers=workers,
            gradients=gradients,
        )
        return
    with training_display(Console()) as shown, stop_on_signal() as should_stop:
        hooks = shown._replace(should_stop=should_stop)
        try:
            with find_sets(
                settings, sets, workdir, sps_home, workers, hooks, gradients=gradients > 0
            ) as found:
                emulator = train_emulator(
                    settings,
                    found.sets,
                    found.description,
                    workdir=workdir,
                    out=out,
                    resume=resume,
                    hooks=hooks,
                    simulator=found.simulate,
                    draws=found.draws,
                )
        except StoppedError as stopped:
            hooks.say(str(stopped))
            raise typer.Exit(130) from None
    if gradients and found.exact is not None:
        # a seed of its own: the sets have those from 1000 times the configuration's on
        seed = 1000 * settings.seed + GRADIENT_SEED
        error = gradient_errors(emulator, found.exact, emulator.softening, gradients, seed)
        add_accuracy(out, "gradient", error)
    header = read_header(out)
    typer.echo(summary(header))
    if "gradient" in header["accuracy"]:
        typer.echo(gradient_verdict(header["accuracy"]["gradient"]))
    typer.echo(f"wrote {out}")


def _train_spectra(
    settings: "SpectrumConfig",
    out: Path,
    workdir: Path,
    sets: Path | None,
    *,
    resume: bool,
    sps_home: Path | None,
    workers: int,
    gradients: int,
) -> None:
    """The same for spectra."""
    from rich.console import Console

    from starling.cli.display import training_display
    from starling.cli.spectra import train_spectra
    from starling.emulators.spectra.files import read_quantiles
    from starling.simulation import StoppedError
    from starling.validation.spectra import spectrum_table, spectrum_verdict
    from starling.validation.spectrum_gradients import spectrum_gradient_verdict

    console = Console()
    with training_display(console) as shown, stop_on_signal() as should_stop:
        hooks = shown._replace(should_stop=should_stop)
        try:
            train_spectra(
                settings,
                out,
                workdir,
                resume=resume,
                sps_home=sps_home,
                workers=workers,
                gradients=gradients,
                hooks=hooks,
                sets=sets,
            )
        except StoppedError as stopped:
            hooks.say(str(stopped))
            raise typer.Exit(130) from None
    header, _ = read_quantiles(out)
    console.print(spectrum_table(header))
    console.print(spectrum_verdict(header), highlight=False)
    if "gradient" in header["accuracy"]:
        console.print(spectrum_gradient_verdict(header["accuracy"]["gradient"]), highlight=False)
    typer.echo(f"wrote {out}")
