"""``starling validate``: how accurate an emulator is."""

from pathlib import Path
from typing import Annotated

import typer

from starling.cli.train import SPS_HOME_OPTION


def validate(
    emulator: Annotated[
        str, typer.Argument(help="Emulator file, or the name of one in the package (see `starling models`).")
    ] = "default",
    simulate: Annotated[
        int,
        typer.Option(min=0, help="Compare with the exact model on this many new galaxies from the prior."),
    ] = 0,
    gradients: Annotated[
        int, typer.Option(min=1, help="With --simulate: galaxies to compare gradients on.")
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the new galaxies.")] = 12345,
    training: Annotated[
        bool, typer.Option("--training", help="Show the errors on the training distribution, not the prior.")
    ] = False,
    card: Annotated[
        Path | None, typer.Option(help="Write a model card (Markdown, figures) into this folder.")
    ] = None,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
) -> None:
    """Print the errors of an emulator in every band, from the statistics that it carries or from new simulations.

    New simulations also give the error of its gradient against the exact one, which a sampler lives on.
    """
    from rich.console import Console

    from starling.archives import format_of
    from starling.cli.emulators import find_emulator
    from starling.cli.measure import measure
    from starling.emulators.files import changed_curves, read_header
    from starling.emulators.spectra.files import FORMAT as SPECTRA
    from starling.validation.calibration import calibration_table, calibration_verdict
    from starling.validation.emulator import accuracy_table, summary, verdict
    from starling.validation.gradients import gradient_table, gradient_verdict

    console = Console()
    path = find_emulator(emulator)
    if format_of(path) == SPECTRA:
        from starling.cli.spectra import validate_spectra

        validate_spectra(
            path,
            card,
            simulate=simulate,
            gradients=gradients,
            seed=seed,
            sps_home=sps_home,
            say=console.print,
        )
        return
    header = read_header(path)
    console.print(f"{header['name']}: {len(header['bands'])} bands, made {header['created']} on", end=" ")
    console.print(
        f"{header['simulator']['tables']}{' (SURROGATE: not astrophysics)' if header['surrogate'] else ''}"
    )
    if changed := changed_curves(header):
        console.print(f"The installed filter curves differ from those of the training: {', '.join(changed)}")
    errors, gradient = None, header["accuracy"].get("gradient")
    if simulate:
        measured = measure(path, simulate, gradients, seed, sps_home)
        errors, gradient = measured.errors, measured.gradient
        if measured.differing:
            console.print(
                f"The exact model is not the one of the training: it differs in {', '.join(measured.differing)}"
            )
        if errors.n_failed:
            console.print(f"{errors.n_failed} simulations are not finite and are left out")
        statistics = errors.statistics()
        title = f"Errors on {statistics['n']} new draws from the prior (emulated - exact)"
        said = verdict(statistics)
    else:
        kind = "training" if training else "prior"
        statistics = header["accuracy"][kind]
        title = f"Errors on {statistics['n']} held-out draws, {kind} (emulated - exact)"
        said = summary(header)
    console.print(accuracy_table(statistics, title))
    console.print(said, highlight=False)
    if "calibration" in header and not simulate:
        console.print(calibration_table(header["calibration"]))
        console.print(calibration_verdict(header["calibration"]), highlight=False)
    if gradient is not None:
        console.print(gradient_table(gradient))
        console.print(gradient_verdict(gradient), highlight=False)
    if card is not None:
        from starling.cli.card import write_card

        words = f"--simulate {simulate} --gradients {gradients} --seed {seed}" if simulate else ""
        console.print(f"wrote {write_card(card, path, words, errors, gradient)}")
