"""``starling ssp``: tables of simple stellar populations for the exact model."""

from pathlib import Path
from typing import Annotated

import typer

from starling.cli.errors import add_command
from starling.cli.train import SPS_HOME_OPTION

app = typer.Typer(help="Tables of stellar populations for the exact model.", no_args_is_help=True)


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write (.safetensors).")],
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    log_u: Annotated[float, typer.Option(help="Ionisation parameter of the nebulae, log10.")] = -2.0,
) -> None:
    """Write the SSPs, nebulae, dust emission and torus of the installed FSPS; `simulator: {tables: OUT}` uses them."""
    from starling.sps.files import save_ssp_tables
    from starling.sps.fsps.export import export_tables

    tables, header = export_tables(sps_home, log_u=log_u)
    save_ssp_tables(out, tables, header)
    ssp = tables.ssp
    typer.echo(
        f"wrote {tables.description} to {out}: {ssp.log_z.size} metallicities, {ssp.age_gyr.size} ages, "
        f"{ssp.wave_aa.size} wavelengths{' (SURROGATE)' if tables.surrogate else ''}"
    )


add_command(app, export)
