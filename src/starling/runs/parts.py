"""Finished parts on disk: the draws in netCDF, and beside them, written last, the rows of the summary with a checksum.

A part is finished where both are there and the rows' record has the size and the checksum of the draws.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import google_crc32c
import numpy as np
import xarray as xr
from astropy.table import Table

from starling.runs.folder import write_whole
from starling.runs.rows import Rows, decode_rows, encode_rows
from starling.runs.storage import Storage


def save_part(
    tree: xr.DataTree, path: Path, rows: Table | None = None, storage: Storage | None = None
) -> None:
    """Keep a part and its rows, each written whole; RunError where there is no room.

    When it was made (the attribute ``created``) is not kept: two processes that make one part write the same bytes.
    """
    storage = storage or Storage()
    rows = ids_and_passed(tree) if rows is None else rows
    kept = storage.reduce(tree).copy(deep=False)
    kept.attrs = {name: value for name, value in kept.attrs.items() if name != "created"}
    content = storage.encode(kept)
    record = {"crc32c": google_crc32c.value(content), "bytes": len(content), "passed": count_passed(tree)}
    encoded = encode_rows(rows, record)
    rows_path(path).unlink(missing_ok=True)  # of a part that is made anew
    write_whole(path, content)
    write_whole(rows_path(path), encoded)


def load_part(path: Path, ids: Sequence[str], leave_out: Sequence[str] = ()) -> xr.DataTree | None:
    """A finished part, without the variables to leave out; None where there is none, or damaged, or other galaxies."""
    content = _content(path, load_rows(path, ids, columns=["id"]))
    if content is None:
        return None
    with xr.open_datatree(BytesIO(content), engine="h5netcdf", drop_variables=list(leave_out)) as stored:
        # without the encoding of the file: it would cut the longer texts of other parts to the length of these
        return xr.map_over_datasets(lambda data: data.drop_encoding(), stored.load())


def load_rows(
    path: Path, ids: Sequence[str] | None = None, columns: Sequence[str] | None = None
) -> Rows | None:
    """The rows of a part; None where there are none, where they are damaged, or where they are of other galaxies."""
    try:
        rows = decode_rows(rows_path(path).read_bytes(), columns)
    except (OSError, ValueError):
        return None
    known = ids is None or rows.table.column("id").to_pylist() == list(ids)
    return rows if known else None


def passed_of_part(path: Path, ids: Sequence[str]) -> int | None:
    """How many galaxies of a finished part passed; None where it has to be made."""
    rows = load_rows(path, ids, columns=["id"])
    return None if rows is None or _content(path, rows) is None else int(rows.record["passed"])


def rows_path(path: Path) -> Path:
    """Where the rows of a part are kept."""
    return path.with_suffix(".parquet")


def ids_and_passed(tree: xr.DataTree) -> Table:
    """The least that rows can say."""
    found = tree["diagnostics"]["passed"]
    return Table({"id": np.asarray(found["galaxy"]).astype(str), "passed": np.asarray(found).astype(bool)})


def count_passed(tree: xr.DataTree) -> int:
    """How many galaxies of a tree converged."""
    return int(np.asarray(tree["diagnostics"]["passed"]).astype(bool).sum())


def _content(path: Path, rows: Rows | None) -> bytes | None:
    """The file of a part; None where it is not the one that the record of its rows tells of."""
    if rows is None:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    expected = (rows.record["bytes"], rows.record["crc32c"])
    return content if (len(content), google_crc32c.value(content)) == expected else None
