"""``starling report``: the page about a run, made again or of what a run has finished so far."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run of `starling fit`, quickstart or judge.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page to write; default: report.html in the folder."),
    ] = None,
    galaxies: Annotated[
        int, typer.Option("--galaxies", min=0, help="How many galaxies get figures of their own.")
    ] = 12,
) -> None:
    """Write one HTML page about a run: what was run, what passed, how well it fits, the worst galaxies.

    The page needs no network. Of a run that has not finished it is about the galaxies that are done.
    """
    from rich.console import Console
    from rich.markup import escape

    from starling.cli.run_report import report_run

    console = Console()
    path, notices = report_run(run, out, max_galaxies=galaxies)
    for notice in notices:
        console.print(f"[yellow]{escape(notice)}[/]", highlight=False, soft_wrap=True)
    size = path.stat().st_size / 1e6
    console.print(f"{path} ({size:.1f} MB)", markup=False, highlight=False, soft_wrap=True)
