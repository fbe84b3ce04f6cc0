"""``starling fit``: a configuration and a table in; posteriors, a summary, findings and a report out."""

from pathlib import Path
from typing import Annotated

import typer

from starling.cli.compiled import CompiledOption, keep_compiled
from starling.cli.train import SPS_HOME_OPTION


def fit(
    config: Annotated[Path, typer.Argument(help="YAML file that says what the columns are; see configs/.")],
    table: Annotated[
        Path | None, typer.Argument(help="Table of fluxes or HATS catalogue, in place of the configured one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder that the configured paths of tables count from.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the results.")] = None,
    max_galaxies: Annotated[
        int | None, typer.Option("--max-galaxies", "-n", min=1, help="Fit at most so many galaxies.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard what an earlier run left in the folder.")
    ] = False,
    execution: Annotated[
        Path | None,
        typer.Option(
            "--execution", "-x", help="Where to fit (YAML): a cluster, as configs/execution_*.yaml."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read and check the table, and stop before the fit.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Fit with the exact model that the emulator imitates: slower.")
    ] = False,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    compiled: CompiledOption = None,
) -> None:
    """Fit the galaxies of a table. A run that was stopped goes on when the same command is given again.

    A table that is a HATS catalogue (a folder) is fitted into another one; the extra `hats` brings LSDB for that.
    """
    from starling.cli.devices import use_all_cores

    use_all_cores()  # the imports below already ask JAX for its devices
    keep_compiled(compiled)

    from rich.console import Console

    from starling.cli.hats_steps import fit_hats_catalogue, hats_run
    from starling.cli.inputs import read_inputs
    from starling.cli.pipeline import fit_catalogue, say_results
    from starling.execution import read_execution

    console = Console()
    where = None if execution is None else read_execution(execution)
    hats = hats_run(config, table, data)
    if hats is not None:
        if max_galaxies is not None:
            raise ValueError(
                "--max-galaxies is for tables: of a HATS catalogue take rows by `table.select.cuts`"
            )
        if exact:
            raise ValueError("--exact is for tables: a HATS catalogue is fitted with the emulator")
        folder = out or Path(hats.config.output.folder or f"starling-{config.stem}")
        fit_hats_catalogue(console, hats, folder, fresh=fresh, check=check, execution=where)
        return
    settings, emulator, catalogue, place = read_inputs(
        console, config, table, data, max_galaxies=max_galaxies, exact=exact, sps_home=sps_home
    )
    if check:
        return
    folder = out or Path(settings.output.folder or f"starling-{config.stem}")
    results = fit_catalogue(
        console,
        settings,
        catalogue,
        emulator,
        folder,
        fresh=fresh,
        title=config.stem,
        execution=where,
        place=place,
    )
    say_results(console, results)
