"""``starling sbc``: whether the posteriors of a fit hold the truth as often as they say."""

from pathlib import Path
from typing import Annotated

import typer

from starling.cli.compiled import CompiledOption, keep_compiled
from starling.cli.train import SPS_HOME_OPTION


def sbc(
    config: Annotated[Path, typer.Argument(help="YAML file, the same as of `starling fit`.")],
    table: Annotated[
        Path | None, typer.Argument(help="Table of fluxes, in place of the configured one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder that the configured paths of tables count from.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the results.")] = None,
    mocks: Annotated[
        int, typer.Option("--mocks", "-n", min=8, help="How many galaxies to simulate and fit.")
    ] = 512,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated galaxies and their noise.")] = 0,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Simulate with the exact model, and fit with the emulator, whose errors then count.",
        ),
    ] = False,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard what an earlier run left in the folder.")
    ] = False,
    compiled: CompiledOption = None,
) -> None:
    """Simulation-based calibration: simulate galaxies as a catalogue's are observed, fit them, and count.

    Parameters are drawn from the prior; errors, bands and redshifts are those of the catalogue's galaxies, and so is
    about how bright they are. Over calibrated posteriors the share of draws below the truth is uniform for every
    quantity. A run that was stopped goes on when the same command is given again.
    """
    from starling.cli.devices import use_all_cores

    use_all_cores()  # the imports below already ask JAX for its devices
    keep_compiled(compiled)

    from rich.console import Console

    from starling.cli.inputs import read_inputs
    from starling.cli.pipeline import fit_catalogue, say_results
    from starling.cli.sbc_steps import calibrate, say_calibration, simulated

    console = Console()
    inputs = read_inputs(console, config, table, data)
    replicas = simulated(inputs, mocks, seed, sps_home, exact=exact)
    kind = "the exact model" if exact else "the emulator"
    console.print(f"Simulating {mocks} galaxies like these, with {kind}", highlight=False, soft_wrap=True)
    folder = out or Path(f"starling-{config.stem}-sbc")
    results = fit_catalogue(
        console,
        replicas.config,
        replicas.catalogue,
        inputs.emulator,
        folder,
        fresh=fresh,
        truth=replicas.truth,
        title=f"{config.stem}: simulation-based calibration",
        place=inputs.place,
    )
    files = say_calibration(console, calibrate(folder), folder)
    say_results(console, results._replace(files=results.files | files))
