"""``starling compare``: two results on the same galaxies, parameter by parameter."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    a: Annotated[Path, typer.Argument(help="A result: a file (.nc, .zarr) or the folder of a run.")],
    b: Annotated[Path, typer.Argument(help="Another one: of `starling judge`, of another emulator, ...")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the tables and the figure; default: only print."),
    ] = None,
    passed_only: Annotated[
        bool, typer.Option("--passed-only", help="Leave out galaxies that failed in either.")
    ] = False,
) -> None:
    """Say how far two posteriors are apart: the discrepancy D, outliers above 3, and evidences.

    D is the difference of the medians over their sigmas in quadrature (Mathews et al. 2023, eq. 10).
    """
    from rich.console import Console

    from starling.cli.compare_steps import open_pair, say_comparison, write_comparison

    console = Console()
    matched = open_pair(a, b).match()
    if passed_only:
        matched = matched._replace(table=matched.table[matched.table["passed"]])
        if not len(matched.table):
            raise ValueError("no galaxy passed in both results: leave out --passed-only")
    say_comparison(console, matched, str(a), str(b))
    if out is not None:
        for name, path in write_comparison(matched, out, str(a), str(b)).items():
            console.print(f"  {name:<14}{path}", highlight=False, soft_wrap=True)
