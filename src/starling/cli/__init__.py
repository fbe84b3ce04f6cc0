"""Commands. Nothing heavy is imported before a command runs, so that ``starling --help`` answers at once."""

from importlib.metadata import version
from typing import Annotated

import typer

from starling.cli.amortise import amortise
from starling.cli.calibrate import calibrate
from starling.cli.compare import compare
from starling.cli.compare_simulators import compare_simulators
from starling.cli.errors import add_command
from starling.cli.fit import fit
from starling.cli.judge import judge
from starling.cli.mock import mock
from starling.cli.models import models
from starling.cli.quickstart import quickstart
from starling.cli.report import report
from starling.cli.sbc import sbc
from starling.cli.simulate import simulate
from starling.cli.ssp import app as ssp_app
from starling.cli.study import study
from starling.cli.train import train
from starling.cli.validate import validate

app = typer.Typer(
    help="From a catalogue of galaxies to posteriors of their properties.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"starling {version('starling-sed')}")
        raise typer.Exit
    return wanted


@app.callback()
def main(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop."),
    ] = False,
) -> None:
    """From a catalogue of galaxies to posteriors of their properties."""


for _function in (
    quickstart,
    fit,
    judge,
    compare,
    report,
    sbc,
    simulate,
    train,
    amortise,
    study,
    validate,
    calibrate,
    compare_simulators,
    models,
    mock,
):
    add_command(app, _function)
app.add_typer(ssp_app, name="ssp")
