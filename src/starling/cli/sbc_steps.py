"""Simulated galaxies as a catalogue, and what their fits say of the calibration of posteriors."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import Table as Rows
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy import stats

from starling.catalogues import Catalogue, FitConfig
from starling.cli.inputs import Inputs
from starling.cli.opened import exact_of
from starling.plotting.calibration import Calibration, calibration, plot_calibration
from starling.plotting.draws import label, passed
from starling.plotting.residuals import FALSE_ALARM_RATE
from starling.plotting.sample import UNUSED, gather
from starling.runs import open_run, write_table
from starling.validation.replicas import draw_replicas

INTERVALS = (0.68, 0.95)


class Simulated(NamedTuple):
    """What takes the place of a configuration's galaxies, and their true parameters and derived quantities."""

    config: FitConfig
    catalogue: Catalogue
    truth: dict[str, np.ndarray]


class Calibrated(NamedTuple):
    """Of every quantity the shares of draws below the truth, over the galaxies that passed, of all that there are."""

    found: list[Calibration]
    n_passed: int
    n: int


def simulated(inputs: Inputs, n: int, seed: int, sps_home: Path | None, *, exact: bool) -> Simulated:
    """``n`` galaxies in place of those of ``inputs``; ValueError where the likelihood is none to draw data from."""
    config, emulator, catalogue, place = inputs
    if exact:
        emulator = exact_of(emulator, catalogue.bands, sps_home, place.base)
    model = emulator.model.select(catalogue.bands)
    replicas = draw_replicas(seed, n, catalogue.observations, model, config.sampler_settings, exact=exact)
    theta = jnp.asarray(replicas.theta)
    derived = jax.jit(lambda model, theta: jax.lax.map(model.properties, theta, batch_size=64))(model, theta)
    truth = {name: replicas.theta[:, i] for i, name in enumerate(model.space.names)}
    truth |= {name: np.asarray(values) for name, values in derived.items() if np.ndim(values) == 1}
    width = len(str(n - 1))
    ids = tuple(f"mock-{i:0{width}d}" for i in range(n))
    known = replicas.observations.fixed
    return Simulated(
        config.model_copy(update={"comparison": {}}),
        Catalogue(
            ids=ids,
            bands=catalogue.bands,
            observations=replicas.observations,
            redshift=np.asarray(known["zred"]) if "zred" in known else None,
            extra={"like": np.asarray(catalogue.ids)[replicas.like]},
            rows=np.arange(1, n + 1),
            total_rows=n,
            findings=[],
            table_ids=ids,
            status=np.zeros(n, np.int16),
        ),
        truth,
    )


def calibrate(folder: Path) -> Calibrated:
    """The calibration of a finished run of simulated galaxies."""
    tree = gather(open_run(folder).trees(UNUSED), ()).tree
    good = passed(tree)
    return Calibrated(calibration(tree), int(good.sum()), good.size)


def say_calibration(console: Console, result: Calibrated, folder: Path) -> dict[str, Path]:
    """Print a line for every quantity, and write the table and the figure; the path of each."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Calibration", title_justify="left")
    for heading in ("", *(f"in {interval:.0%}" for interval in INTERVALS), "p of uniform"):
        shown.add_column(heading, justify="left" if not heading else "right")
    for item in result.found:
        cells = [f"{_inside(item.shares, interval):.1%}" for interval in INTERVALS]
        text = f"[red]{item.p_value:.1e}[/]" if item.off else f"{item.p_value:.2f}"
        shown.add_row(escape(label(item.name).text), *cells, text)
    console.print(shown)
    if not result.found:
        console.print("[yellow]too few galaxies to say anything of calibration[/]")
        return {}
    n = max(item.shares.size for item in result.found)
    spread = ", ".join(
        f"{low / n:.1%} to {high / n:.1%} in {interval:.0%}"
        for interval in INTERVALS
        for low, high in [stats.binom.interval(0.95, n, interval)]
    )
    who = (
        f"{n} of {result.n} galaxies, which passed"
        if result.n_passed
        else f"{n} galaxies, none of which passed"
    )
    console.print(f"Over {who}; by chance {spread} (95% of the time).", highlight=False, soft_wrap=True)
    off = [escape(label(item.name).text) for item in result.found if item.off]
    if off:
        console.print(
            f"[red]Not calibrated: {', '.join(off)}[/] (all at once would fail a calibrated fit once in "
            f"{1 / FALSE_ALARM_RATE:.0f})"
        )
    else:
        console.print(
            f"[green]No quantity is off[/] (tested at {FALSE_ALARM_RATE:.0%} for all at once)",
            highlight=False,
        )
    return _write(result, folder)


def _inside(shares: np.ndarray, interval: float) -> float:
    """How many truths lie in the central interval."""
    edge = (1.0 - interval) / 2.0
    return float(((shares > edge) & (shares < 1.0 - edge)).mean())


def _write(result: Calibrated, folder: Path) -> dict[str, Path]:
    rows = Rows(
        {
            "name": [item.name for item in result.found],
            "n": [item.shares.size for item in result.found],
            **{
                f"in_{interval:.0%}".replace("%", ""): [
                    _inside(item.shares, interval) for item in result.found
                ]
                for interval in INTERVALS
            },
            "p_value": [item.p_value for item in result.found],
            "off": [item.off for item in result.found],
        }
    )
    figure = folder / "calibration.png"
    plot_calibration(result.found).savefig(figure, dpi=150)
    return {
        "calibration": write_table(rows, folder / "calibration.ecsv", "ecsv"),
        "calibration figure": figure,
    }
