"""What a run over a large catalogue costs beside the sampling: time, memory, and bytes on disk per galaxy.

The sampler is a stand-in that hands out the same posteriors again and again, in the layout of a real result of the
default emulator (4 chains of 500 draws, 25 bands); everything else is what ``starling fit`` does with 100,000 rows.

    python benchmarks/catalogue.py --rows 100000
"""

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from astropy.table import Table

from starling.catalogues import load_catalogue, parse_config
from starling.cli.fits import bounds_of
from starling.cli.opened import open_emulator
from starling.cli.results import write_large
from starling.forward import ForwardModel
from starling.inference import Draws, SamplerSettings, diagnose, observe, summary_table, to_datatree
from starling.runs import Fit, Storage, complete, open_run, storage_of, summary
from starling.runs.parts import save_part

N_BANDS, MISSING, UJY = 25, 0.1, 3.631e9
SPENT: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))  # seconds on the clock and of the CPU


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = clocks()
    yield
    SPENT[what] += clocks() - start


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def posteriors(model: ForwardModel, n: int, settings: SamplerSettings) -> xr.DataTree:
    """The tree of a part: draws scattered about points of the prior as posteriors are, chains that mix at once."""
    space, key = model.space, jax.random.key(0)
    n_param, shape = len(space), (n, settings.n_chains, settings.n_draws)
    u = 0.7 * np.asarray(jax.random.normal(key, (n, 1, 1, n_param)))
    width = np.asarray(
        jax.random.uniform(jax.random.fold_in(key, 1), (n, 1, 1, n_param), minval=0.1, maxval=0.5)
    )
    scatter = np.asarray(jax.random.normal(jax.random.fold_in(key, 2), (*shape, n_param)))
    cube = jax.scipy.stats.norm.cdf(jnp.asarray(u + width * scatter))
    theta = np.array(jax.jit(jax.vmap(space.from_unit_cube))(cube.reshape(-1, n_param)), np.float32)
    theta = theta.reshape(*shape, n_param)
    zred = theta[:, :1, :1, space.index("zred")].copy()
    theta[..., space.index("zred")] = zred
    flux = np.asarray(jax.jit(jax.vmap(model))(jnp.asarray(theta[:, 0, 0])))
    free = tuple(name for name in space.names if name != "zred")
    draws = Draws(
        names=space.names,
        free=free,
        theta=theta,
        remoteness=np.abs(scatter[..., 0]).astype(np.float32) / 5,
        extra={},
        log_density=(-0.5 * (scatter**2).sum(-1)).astype(np.float32),
        acceptance_rate=np.clip(0.9 + 0.05 * scatter[..., 1], 0, 1).astype(np.float32),
        diverging=np.zeros(shape, bool),
        n_steps=np.full(shape, 80),
        step_size=np.full(n, 0.1),
        n_modes=np.ones(n, int),
        problems=("",) * n,
    )
    observed = observe(flux, 0.05 * flux, fixed={"zred": zred[:, 0, 0]})
    ids = [str(i) for i in range(n)]
    return to_datatree(draws, observed, model, diagnose(draws), galaxy=ids, settings=settings)


def renamed(tree: xr.DataTree, ids: list[str], shift: int) -> xr.DataTree:
    """The same posteriors for other galaxies; the draws begin elsewhere."""
    n = len(ids)

    def of(data: xr.Dataset) -> xr.Dataset:
        if "galaxy" not in data.dims:
            return data
        data = data.isel(galaxy=slice(n)).assign_coords(galaxy=ids)
        return data.roll(draw=shift, roll_coords=False) if "draw" in data.dims else data

    return xr.DataTree.from_dict({node.path: of(node.to_dataset(inherit=False)) for node in tree.subtree})


def table_of(model: ForwardModel, n: int) -> Table:
    rng = np.random.default_rng(0)
    zred = rng.uniform(0.5, 2.9, n)
    theta = np.array(model.space.sample(jax.random.key(1), (512,)))
    flux = np.asarray(jax.jit(jax.vmap(model))(jnp.asarray(theta)))[rng.integers(512, size=n)] * UJY
    error = 0.05 * flux + 1e-3
    flux = np.where(rng.random(flux.shape) < MISSING, np.nan, flux + error * rng.normal(size=flux.shape))
    columns: dict[str, np.ndarray] = {"id": np.arange(n), "z": zred}
    for i, band in enumerate(model.bands):
        columns |= {f"f_{band}": flux[:, i].astype("f4"), f"e_{band}": error[:, i].astype("f4")}
    return Table(columns)


def sampler(part: xr.DataTree, ids: tuple[str, ...]) -> Callable[..., xr.DataTree]:
    def sample(number: int, start: int, stop: int, _: object) -> xr.DataTree:
        with timed("the stand-in for the sampler"):
            return renamed(part, list(ids[start:stop]), number % 499)

    return sample


def sizes(part: xr.DataTree, folder: Path) -> None:
    """Bytes per galaxy under several settings, from one part."""
    n = part["diagnostics"].sizes["galaxy"]
    for name, storage in {
        "all draws": Storage(),
        "all draws, 5 digits": Storage(significant_digits=5),
        "500 draws": Storage(draws=500),
        "500 draws, 5 digits (default of large runs)": Storage(draws=500, significant_digits=5),
        "500 draws, 5 digits, no predictions": Storage(500, ("predicted",), 5),
        "500 draws, 5 digits, no SFH, no predictions": Storage(500, ("sfh", "predicted"), 5),
        "500 draws, 5 digits, parameters only": Storage(500, ("derived", "predicted"), 5),
        "500 draws, 3 digits, parameters only": Storage(500, ("derived", "predicted"), 3),
    }.items():
        start = time.process_time()
        save_part(part, folder / "size.nc", storage=storage)
        seconds = time.process_time() - start
        print(
            f"  {name:<48}{(folder / 'size.nc').stat().st_size / n / 1e3:8.1f} kB   {seconds:.2f} s of CPU a part"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    emulator = open_emulator("default", Path())
    bands = emulator.model.bands[:N_BANDS]
    model, settings = emulator.model.select(bands), SamplerSettings()
    part = posteriors(model, settings.batch_size, settings)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        print("Bytes per galaxy:")
        sizes(part, folder)
        table_of(model, given.rows).write(folder / "table.fits")
        content = {
            "table": {"id": "id"},
            "redshift": "z",
            "photometry": {
                "unit": "uJy",
                "pattern": {"flux": "f_{}", "error": "e_{}"},
                "bands": {band: band for band in bands},
            },
            "output": {"whole": 0},
        }
        config = parse_config(content)
        with timed("reading the table"):
            catalogue = load_catalogue(
                config, available_bands=bands, bounds=bounds_of(model), table=folder / "table.fits"
            )
        before = peak_gb()
        ids, storage = catalogue.ids, storage_of(config.output, len(catalogue.ids))

        def rows(tree: xr.DataTree) -> Table:
            with timed("rows of the summary"):
                return summary_table(tree)

        fit = Fit(ids, sampler(part, ids), {}, settings.batch_size, rows, storage)
        with timed("all parts"):
            complete(fit, folder)
        with timed("finding that all parts are there"):
            complete(fit, folder)
        with timed("joining the rows"):
            table = summary(fit, folder)
        with timed("tables and report"):
            write_large(config, catalogue, table, folder, "benchmark")
        with timed("opening the run"):
            run = open_run(folder)
        with timed("one galaxy of it"):
            run.galaxy(ids[len(ids) // 2])
        kept = sum(path.stat().st_size for path in (folder / "parts").glob("*.nc"))
        beside = sum(path.stat().st_size for path in (folder / "parts").glob("*.parquet"))
        print(f"{len(ids)} galaxies of {given.rows} rows in {len(fit.parts)} parts")
        for what, (seconds, cpu) in SPENT.items():
            print(f"  {what:<40}{seconds:9.1f} s, {cpu:.1f} s of CPU")
        print(f"  peak memory {peak_gb():.2f} GB, {before:.2f} GB before the first part")
        print(f"  per galaxy {kept / len(ids) / 1e3:.1f} kB of draws, {beside / len(ids):.0f} bytes of rows")
        for name in ("summary.fits", "summary.parquet", "rows.fits", "findings.ecsv", "report.html"):
            print(f"  {name:<20}{(folder / name).stat().st_size / 1e6:8.1f} MB")


if __name__ == "__main__":
    main()
