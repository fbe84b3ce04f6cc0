"""From a HATS catalogue on disk to another one: what ``starling fit`` does where the table is one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import typer
from astropy.table import Table
from rich.console import Console

from starling import __version__
from starling.catalogues import Catalogue, FitConfig, load_catalogue, read_config
from starling.catalogues.errors import NothingToFit
from starling.catalogues.status import Status
from starling.cli.errors import INTERRUPTED, say_error
from starling.cli.fits import bounds_of, fit_of
from starling.cli.hats import fit_hats, head, require_lsdb
from starling.cli.opened import open_emulator
from starling.cli.partitions import fit_partition
from starling.cli.pipeline import say_catalogue, say_emulator, this_command
from starling.execution import ExecutionConfig, open_client
from starling.runs.lock import locked_beside
from starling.runs.manifest import RunError, check_manifest, kind_of, write_manifest

if TYPE_CHECKING:
    import pandas as pd

KIND = "hats"
_PROPERTIES = (
    "hats.properties",
    "collection.properties",
    "properties",
)  # one of them is in every HATS catalogue
_LOOKED_AT = 500  # rows that are read and checked before the fit; more where none of them can be fitted
_LOOKED_AT_MOST = 50_000
_EXAMPLES = 8  # galaxies that are fitted to learn what columns a result has


class HatsRun(NamedTuple):
    """A configuration, the HATS catalogue that is its table, and where its other files are."""

    config: FitConfig
    catalogue: Path
    base: Path


def hats_run(path: Path, table: Path | None, data: Path | None) -> HatsRun | None:
    """The run of a configuration where its table is a HATS catalogue; paths as those of any table. None where not."""
    config = read_config(path)
    folder = data or path.parent
    named = table if table is not None else folder / (config.table.path or "no table")
    if not is_hats(named):
        return None
    # partitions are fitted wherever Dask has workers
    base = path.parent.resolve()
    joins = {
        name: join.model_copy(update={"path": str((folder / join.path).resolve())})
        for name, join in config.joins.items()
    }
    return HatsRun(config.model_copy(update={"joins": joins}), named.resolve(), base)


def is_hats(path: Path) -> bool:
    """Whether a folder is a catalogue in the HATS format, or a collection with one."""
    return path.is_dir() and any((path / name).is_file() for name in _PROPERTIES)


def columns_of(config: FitConfig) -> list[str]:
    """The columns of the table of fluxes that a configuration names."""
    photometry = config.photometry
    limits = [photometry.upper_limit, *(band.upper_limit for band in photometry.bands.values())]
    named: Iterable[str | None] = (
        config.table.id,
        config.redshift.column,
        *config.table.select.cuts,
        *(column for band in photometry.bands.values() for column in (band.flux, band.error)),
        *(limit.column for limit in limits if limit is not None),
        *(item.column for item in config.comparison.values()),
    )
    return list(dict.fromkeys(name for name in named if name))


def fit_hats_catalogue(
    console: Console,
    run: HatsRun,
    folder: Path,
    *,
    fresh: bool = False,
    check: bool = False,
    execution: ExecutionConfig | None = None,
) -> None:
    """Check the first rows of a HATS catalogue, and fit all of it into another one in ``folder``.

    Partitions that are written stay: a run that was stopped goes on. Columns that the configuration compares with are
    carried along. Raises ImportError without LSDB, RunError where the folder holds anything else.
    """
    require_lsdb()
    import lsdb

    everything = lsdb.open_catalog(run.catalogue, columns="all")
    info, n = everything.hc_structure.catalog_info, len(everything.get_healpix_pixels())
    console.print(
        f"{run.catalogue}: [bold]{info.total_rows}[/] rows in {n} partitions", highlight=False, soft_wrap=True
    )
    seen = _look(console, run, everything)
    if check:
        return
    named = [name for name in columns_of(run.config) if name in everything.columns]
    catalog = lsdb.open_catalog(
        run.catalogue, columns=list(dict.fromkeys([info.ra_column, info.dec_column, *named]))
    )
    where = {"catalogue": str(run.catalogue), "rows": int(info.total_rows), "partitions": n}
    keep = [item.column for item in run.config.comparison.values() if item.column in named]
    with locked_beside(folder):
        if _begin(folder, {"kind": KIND, **where, **seen.identity}, fresh=fresh):
            console.print(f"{folder} is finished: --fresh fits it again", highlight=False, soft_wrap=True)
        else:
            _fit(console, run, catalog, seen, folder, keep, execution)
        written = lsdb.open_catalog(folder, columns=["status"]).compute(progress_bar=False)
    _say(console, np.asarray(written["status"]), folder)


def _fit(
    console: Console,
    run: HatsRun,
    catalog: Any,
    seen: "_Seen",
    folder: Path,
    keep: list[str],
    execution: ExecutionConfig | None,
) -> None:
    """Every partition that is not written yet."""
    content = plain(run.config)
    like = fit_partition(seen.rows, content, str(run.base))
    try:
        with _dask(execution, console.print):
            fit_hats(
                catalog, content, folder, base=run.base, keep=keep, like=like, resume=True, progress=True
            )
    except KeyboardInterrupt:
        say_error(
            f"stopped; finished partitions are in {folder}. To go on, run the same again:\n  {this_command()}"
        )
        raise typer.Exit(INTERRUPTED) from None


def plain(config: FitConfig) -> dict[str, Any]:
    """A configuration as ``fit_partition`` takes it."""
    return config.model_dump(mode="json", by_alias=True, exclude_unset=True)


class _Seen(NamedTuple):
    """What the first rows tell: some that can be fitted, and what decides the results."""

    rows: "pd.DataFrame"
    identity: dict[str, Any]


def _look(console: Console, run: HatsRun, catalog: Any) -> _Seen:
    """Read and check the first rows, and say what is found; NothingToFit where none of many can be fitted."""
    emulator = open_emulator(run.config.model.emulator, run.base, tuple(run.config.photometry.bands))
    say_emulator(console, emulator)

    def read(n: int) -> tuple["pd.DataFrame", Catalogue]:
        frame = head(catalog, n)
        return frame, load_catalogue(
            run.config,
            available_bands=emulator.model.bands,
            bounds=bounds_of(emulator.model),
            table=Table.from_pandas(frame),
            folder=run.base,
            model=emulator.name,
        )

    try:
        frame, catalogue = read(_LOOKED_AT)
    except NothingToFit:
        frame, catalogue = read(_LOOKED_AT_MOST)
    console.print("The first rows:")
    say_catalogue(console, catalogue)
    planned = fit_of(run.config, catalogue, emulator, folder=run.base)
    console.print(f"Posteriors: {planned.engine}", highlight=False, soft_wrap=True)
    identity = {**planned.fit.inputs, "config": plain(run.config), "starling": __version__}
    return _Seen(frame.iloc[catalogue.rows[:_EXAMPLES] - 1], identity)


def _begin(folder: Path, identity: Mapping[str, Any], *, fresh: bool) -> bool:
    """Make a folder a run's own, or see that it is; whether the run is finished. RunError where it is another's."""
    if folder.exists() and any(folder.iterdir()):
        if kind_of(folder) != KIND:
            raise RunError(
                f"{folder} holds something else than a fit of a HATS catalogue: choose another --out"
            )
        if fresh:
            rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not check_manifest(folder, identity):
        write_manifest(folder, identity)
    return is_hats(folder)


@contextmanager
def _dask(execution: ExecutionConfig | None, say: Callable[[str], None]) -> Iterator[None]:
    """Where Dask does the partitions: here, one after another, each on all devices; or on a cluster."""
    import dask

    if execution is None:
        with dask.config.set(scheduler="synchronous"):
            yield
        return
    with open_client(execution) as client, client.as_current():
        say(f"Dask scheduler: {client.scheduler.address}")
        yield


def _say(console: Console, status: np.ndarray, folder: Path) -> None:
    """What became of the rows."""
    fitted, passed = int(np.sum(status < Status.NOT_SELECTED)), int(np.sum(status == Status.PASSED))
    style = "green" if passed > 0.9 * fitted else "yellow"
    console.print(f"[{style}]{passed} of {fitted} galaxies converged[/]", end="")
    left_out = status.size - fitted
    console.print(f", {left_out} rows were not fitted: see the column `status`" if left_out else "")
    console.print(f"  HATS catalogue   {folder}", highlight=False, soft_wrap=True)
