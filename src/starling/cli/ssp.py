"""``starling ssp``: tables of simple stellar populations for the exact model."""

import os
from pathlib import Path
from typing import Annotated

import typer

from starling.cli.errors import add_command
from starling.cli.train import SPS_HOME_OPTION

IMF_HELP = "Initial mass function: salpeter, chabrier, kroupa, van_dokkum, dave, or tabulated (data/imf.dat)."

app = typer.Typer(help="Tables of stellar populations for the exact model.", no_args_is_help=True)


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write (.safetensors).")],
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    log_u: Annotated[float, typer.Option(help="Ionisation parameter of the nebulae, log10.")] = -2.0,
    imf: Annotated[str, typer.Option(help=IMF_HELP)] = "chabrier",
    imf_parameter: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE, can be repeated: imf1, imf2, imf3 (slopes of kroupa), vdmc (van_dokkum), mdave."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write the SSPs, nebulae, dust emission and torus of the installed FSPS; `simulator: {tables: OUT}` uses them."""
    from starling.sps.files import save_ssp_tables
    from starling.sps.fsps.export import export_tables
    from starling.sps.fsps.imf import choose_imf

    _check_out(out, overwrite)
    chosen = choose_imf(imf, dict(_number(given) for given in imf_parameter or ()))
    tables, header = export_tables(sps_home, log_u=log_u, imf=chosen)
    save_ssp_tables(out, tables, header)
    ssp = tables.ssp
    typer.echo(
        f"wrote {tables.description} to {out}: {ssp.log_z.size} metallicities, {ssp.age_gyr.size} ages, "
        f"{ssp.wave_aa.size} wavelengths{' (SURROGATE)' if tables.surrogate else ''}"
    )


def _check_out(out: Path, overwrite: bool) -> None:
    """ValueError unless a file can be written: before FSPS builds its SSPs, and not after."""
    if out.suffix != ".safetensors":
        raise ValueError(f"--out {out}: name a file that ends in .safetensors")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is there already: --overwrite replaces it")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"cannot write to the folder {out.parent}: name another --out")


def _number(given: str) -> tuple[str, float]:
    name, _, value = given.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise ValueError(f"--imf-parameter {given!r}: write NAME=VALUE, such as imf3=2.7") from None


add_command(app, export)
