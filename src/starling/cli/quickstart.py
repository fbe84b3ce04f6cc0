"""``starling quickstart``: simulated galaxies with known truths, fitted as any others are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starling.cli.compiled import CompiledOption, keep_compiled

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from astropy.table import Table as AstropyTable
    from rich.table import Table

TABLE = "quickstart.ecsv"
MAIN = ("logmass", "logzsol", "dust2", "dust_index", "sfr_100", "log_ssfr_100", "mwa", "zred")
EXAMPLES = 6
# shorter than the default of `starling fit`, so that two cores need less than three minutes
QUICK = {"n_warmup": 250, "patience": 2}


def quickstart(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path(
        "starling-quickstart"
    ),
    max_galaxies: Annotated[
        int | None, typer.Option("--max-galaxies", "-n", min=1, help="Fit at most so many of the 64.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard what an earlier run left in the folder.")
    ] = False,
    compiled: CompiledOption = None,
) -> None:
    """Fit 64 simulated galaxies with the emulator of the package, and compare with the truth."""
    from importlib import resources

    from starling.cli.devices import use_all_cores

    use_all_cores()  # the imports below already ask JAX for its devices
    keep_compiled(compiled)

    from astropy.table import Table as AstropyTable
    from rich.console import Console

    from starling.catalogues import load_catalogue, parse_config
    from starling.cli.fits import bounds_of
    from starling.cli.opened import open_emulator
    from starling.cli.pipeline import fit_catalogue, say_catalogue, say_results

    console = Console()
    with resources.as_file(resources.files("starling") / "data" / TABLE) as path:
        if not path.is_file():
            raise ValueError(f"the package lacks its table {TABLE}: install it again")
        table = AstropyTable.read(path, format="ascii.ecsv")
        config = parse_config(quickstart_config(table, max_galaxies), TABLE)
        emulator = open_emulator(config.model.emulator, Path())
        catalogue = load_catalogue(
            config,
            available_bands=emulator.model.bands,
            bounds=bounds_of(emulator.model),
            table=path,
            model=emulator.name,
        )
    say_catalogue(console, catalogue)
    truth = true_values(table, catalogue.rows)
    results = fit_catalogue(
        console,
        config,
        catalogue,
        emulator,
        out,
        fresh=fresh,
        truth=truth,
        title="Quickstart: simulated galaxies",
    )
    assert results.tree is not None  # 64 galaxies are a small run
    console.print(recovery_table(results.tree, truth))
    console.print(examples_table(results.tree, truth))
    say_results(console, results)


def quickstart_config(table: "AstropyTable", max_galaxies: int | None) -> dict[str, object]:
    """The configuration of the shipped table: a band is a pair of columns flux_BAND and error_BAND, in microJy."""
    bands = [name.removeprefix("flux_") for name in table.colnames if name.startswith("flux_")]
    return {
        "table": {"id": "id", "select": {} if max_galaxies is None else {"max_rows": max_galaxies}},
        "redshift": "zred",
        "sampler": QUICK,
        "photometry": {
            "unit": "uJy",
            "error_floor": 0.0,  # the errors of the table hold all of the noise
            "pattern": {"flux": "flux_{}", "error": "error_{}"},
            "bands": {band: band for band in bands},
        },
    }


def true_values(table: "AstropyTable", rows: "np.ndarray") -> "dict[str, np.ndarray]":
    """The true parameters and derived quantities (columns true_NAME) of the galaxies in these rows (from 1)."""
    import numpy as np

    prefix = "true_"
    return {
        name.removeprefix(prefix): np.asarray(table[name], float)[rows - 1]
        for name in table.colnames
        if name.startswith(prefix) and table[name].ndim == 1
    }


def recovery_table(tree: "xr.DataTree", truth: "dict[str, np.ndarray]") -> "Table":
    """Truth against posterior over the sample: bias, scatter, and how many truths the intervals hold."""
    import numpy as np
    from rich.table import Table

    columns = ("", "bias", "scatter", "error", "in 68%", "in 95%")
    table = Table(*columns, title="Posterior median against truth", title_justify="left")
    for name, (true, draws) in _compared(tree, truth).items():
        low2, low, middle, high, high2 = np.quantile(draws, [0.025, 0.16, 0.5, 0.84, 0.975], axis=0)
        error = middle - true
        bias = np.median(error)
        cells = (1.4826 * np.median(np.abs(error - bias)), np.median(high - low) / 2)
        inside = [np.mean((a <= true) & (true <= b)) for a, b in ((low, high), (low2, high2))]
        table.add_row(name, f"{bias:+.3f}", *(f"{cell:.3f}" for cell in cells), *(f"{x:.0%}" for x in inside))
    return table


def examples_table(tree: "xr.DataTree", truth: "dict[str, np.ndarray]") -> "Table":
    """A few galaxies: the truth, and the posterior median with half its 68% interval."""
    import numpy as np
    from rich.table import Table

    from starling.plotting.residuals import sample_galaxies

    compared = _compared(tree, truth)
    names = list(compared)[:4]
    table = Table("galaxy", *names, title="A few of them: truth, posterior", title_justify="left")
    ids = np.asarray(tree["diagnostics"]["galaxy"])[sample_galaxies(tree)]
    for galaxy, name in enumerate(ids[:EXAMPLES]):
        cells = []
        for true, draws in (compared[name] for name in names):
            low, middle, high = np.quantile(draws[:, galaxy], [0.16, 0.5, 0.84])
            cells.append(f"{true[galaxy]:.2f}, {middle:.2f} ± {(high - low) / 2:.2f}")
        table.add_row(str(name), *cells)
    return table


def _compared(
    tree: "xr.DataTree", truth: "dict[str, np.ndarray]"
) -> "dict[str, tuple[np.ndarray, np.ndarray]]":
    """Truth [galaxy] and draws [draw, galaxy] of the main parameters, over the galaxies that converged if any did."""
    import numpy as np

    from starling.plotting.recovery import LOG_SCALED
    from starling.plotting.residuals import sample_galaxies

    good = sample_galaxies(tree)
    found = {}
    for name in MAIN:
        group = next((g for g in ("posterior", "derived") if name in tree[g].data_vars), None)
        if group is None or name not in truth:
            continue
        draws = tree[group].to_dataset()[name].transpose("chain", "draw", "galaxy").values
        true, draws = truth[name][good], draws.reshape(-1, good.size)[:, good].astype(float)
        if name in LOG_SCALED:
            true, draws = (np.log10(np.maximum(rates, 1e-4)) for rates in (true, draws))
        found[f"log {name}" if name in LOG_SCALED else name] = (true, draws)
    return found
