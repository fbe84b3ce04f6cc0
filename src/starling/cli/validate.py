"""``starling validate``: how accurate an emulator is."""

from pathlib import Path
from typing import Annotated

import typer

from starling.cli.train import SPS_HOME_OPTION


def validate(
    emulator: Annotated[
        Path | None, typer.Argument(help="Emulator file; default: the one that the package ships.")
    ] = None,
    simulate: Annotated[
        int,
        typer.Option(min=0, help="Compare with the exact model on this many new galaxies from the prior."),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the new galaxies.")] = 12345,
    training: Annotated[
        bool, typer.Option("--training", help="Show the errors on the training distribution, not the prior.")
    ] = False,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
) -> None:
    """Print the errors of an emulator in every band, from the statistics that it carries or from new simulations."""
    from rich.console import Console

    from starling.emulators.files import changed_curves, default_path, load_emulator, read_header
    from starling.validation.calibration import calibration_table, calibration_verdict
    from starling.validation.emulator import accuracy_on_new_draws, accuracy_table, summary, verdict

    console = Console()
    path = emulator or default_path()
    header = read_header(path)
    console.print(f"{header['name']}: {len(header['bands'])} bands, made {header['created']} on", end=" ")
    console.print(
        f"{header['simulator']['tables']}{' (SURROGATE: not astrophysics)' if header['surrogate'] else ''}"
    )
    if changed := changed_curves(header):
        console.print(f"The installed filter curves differ from those of the training: {', '.join(changed)}")
    if simulate:
        from starling.cli.simulator import build_model, describe_model, make_simulator

        config = header["config"]["simulator"]
        model = load_emulator(path)
        exact = build_model(config["tables"], model.space, model.bands, sps_home)
        description = describe_model(exact)
        differing = sorted(key for key in description if description[key] != header["simulator"].get(key))
        if differing:
            console.print(
                f"The exact model is not the one of the training: it differs in {', '.join(differing)}"
            )
        simulator = make_simulator(exact, config["batch"], components=False)
        statistics, n_failed = accuracy_on_new_draws(model, simulator, simulate, seed)
        title = f"Errors on {statistics['n']} new draws from the prior (emulated - exact)"
        if n_failed:
            console.print(f"{n_failed} simulations are not finite and are left out")
        console.print(accuracy_table(statistics, title))
        console.print(verdict(statistics), highlight=False)
        return
    kind = "training" if training else "prior"
    statistics = header["accuracy"][kind]
    console.print(
        accuracy_table(statistics, f"Errors on {statistics['n']} held-out draws, {kind} (emulated - exact)")
    )
    console.print(summary(header), highlight=False)
    if "calibration" in header:
        console.print(calibration_table(header["calibration"]))
        console.print(calibration_verdict(header["calibration"]), highlight=False)
