"""A piece of a catalogue as a function from rows to rows: what can be mapped over the partitions of any large table."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Column, Table, vstack

from starling.catalogues import FitConfig, load_catalogue, parse_config
from starling.catalogues.errors import CatalogueError, NothingToFit
from starling.catalogues.status import status_of_fits
from starling.cli.fits import bounds_of, fit_of
from starling.cli.opened import Emulator, open_emulator

if TYPE_CHECKING:
    import pandas as pd

_BLANK = {
    "b": False,
    "i": 0,
    "u": 0,
    "f": np.nan,
}  # of a row that was not fitted, by kind of column; texts are empty


def fit_partition(
    frame: "pd.DataFrame", config: Mapping[str, Any], base: str = ".", like: "pd.DataFrame | None" = None
) -> "pd.DataFrame":
    """The summary of the galaxies in the rows of a table, with a row and the index of each, fitted or not.

    ``config`` is a configuration of ``starling fit`` as plain values; its paths count from ``base``. The column
    ``status`` says what became of a row (``starling.catalogues.status``); where it was not fitted, numbers are NaN or 0
    and texts are empty, so columns have the same types in every partition. Where no row of a partition can be fitted,
    columns and types are those of ``like``: a result of other rows. The draws are not kept.

    A partition may have no rows, or a few of any brightness: units are not judged, so fit a piece of the table with
    ``starling fit`` first. CatalogueError where the configuration is about a whole table (``max_rows`` and ``ids`` of
    ``table.select``).
    """
    settings = parse_config(dict(config))
    for name in ("max_rows", "ids"):
        if getattr(settings.table.select, name) is not None:
            raise CatalogueError(
                f"table.select.{name} is of a whole table, and would be taken of every partition anew: leave it out, "
                "and select rows before, or by `cuts`"
            )
    emulator = open_emulator(settings.model.emulator, Path(base), tuple(settings.photometry.bands))
    try:
        if len(frame) == 0:
            raise NothingToFit("the partition has no rows: give `like`", np.zeros(0, np.int16))
        summary, rows, status = _fit(Table.from_pandas(frame), settings, emulator, Path(base))
    except NothingToFit as error:
        if like is None:
            raise
        found, status = _blank(like, frame.index), error.status
    else:
        found = _filled(summary, rows, len(frame)).to_pandas(index=False)
        found.index = frame.index
    found["status"] = status
    return found


def _blank(like: "pd.DataFrame", index: "pd.Index") -> "pd.DataFrame":
    """Rows of nothing, with the columns and types of others."""
    import pandas as pd

    columns = {
        name: pd.Series(_BLANK.get(kind.kind, ""), index=index, dtype=kind)
        for name, kind in like.dtypes.items()
    }
    return pd.DataFrame(columns, index=index)


def _fit(
    table: Table, settings: FitConfig, emulator: Emulator, base: Path
) -> tuple[Table, np.ndarray, np.ndarray]:
    """The summary, its rows in the table (from 0), and the status of all rows."""
    catalogue = load_catalogue(
        settings,
        available_bands=emulator.model.bands,
        bounds=bounds_of(emulator.model),
        table=table,
        folder=base,
        model=emulator.name,
        judge_units=False,
    )
    # draws depend on the partition too: on the first of its galaxies
    words = [settings.seed, zlib.crc32(catalogue.ids[0].encode())]
    seed = int(np.random.SeedSequence(words).generate_state(1)[0])
    fit, order, *_ = fit_of(settings.model_copy(update={"seed": seed}), catalogue, emulator, folder=base)
    parts = [
        fit.summarise(fit.sample(number, *bounds, lambda *_: None)) for number, bounds in enumerate(fit.parts)
    ]
    summary = vstack(parts, metadata_conflicts="silent")[np.argsort(order)]
    rows, status = catalogue.rows - 1, catalogue.status.copy()
    status[rows] = status_of_fits(summary)
    return summary, rows, status


def _filled(summary: Table, rows: np.ndarray, n: int) -> Table:
    """As many rows as the table has: those of the summary, and blank ones."""
    filled = Table()
    for column in summary.itercols():
        values = np.asarray(column)
        if values.dtype.kind in _BLANK:
            whole = np.full(n, _BLANK[values.dtype.kind], values.dtype)
        else:
            whole = np.full(n, "", object)
        whole[rows] = values
        filled[column.name] = Column(whole if whole.dtype.kind in _BLANK else whole.astype(str))
    return filled
