"""Rows of a summary in Parquet, with a record of the part that they are of and a checksum of the whole file.

The checksum is a key of the file's own footer, which Parquet's checksums of pages leave out: the CRC-32C, in
hexadecimal digits, of the file with zeros in its place.
"""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Column, Table

_RECORD = b"starling"
_CHECKSUM = b"starling_crc32c"
_ZEROS = b"00000000"


class Rows(NamedTuple):
    """Rows of a part, and what its record says."""

    table: pa.Table
    record: dict[str, Any]


def encode_rows(table: Table, record: Mapping[str, Any]) -> bytes:
    """A Parquet file; units and descriptions are metadata of the columns, the record is that of the file."""
    fields, arrays = [], []
    for column in table.itercols():
        values = np.asarray(column)
        array = pa.array(values.astype(str).tolist() if values.dtype.kind in "OSU" else values)
        about = {"unit": str(column.unit or ""), "description": column.description or ""}
        fields.append(pa.field(column.name, array.type, metadata=about))
        arrays.append(array)
    schema = pa.schema(fields, metadata={_RECORD: json.dumps(dict(record))})
    content = BytesIO()
    with pq.ParquetWriter(content, schema) as writer:
        writer.write_table(pa.table(arrays, schema=schema))
        writer.add_key_value_metadata({_CHECKSUM: _ZEROS})
    written = content.getvalue()
    found = _digits(written)
    return written[: found.start] + _checksum(written) + written[found.stop :]


def decode_rows(content: bytes, columns: Sequence[str] | None = None) -> Rows:
    """The rows, or some of their columns; ValueError where the file is not whole."""
    place = _digits(content)
    if _checksum(content[: place.start] + _ZEROS + content[place.stop :]) != content[place]:
        raise ValueError("no rows of a run: the checksum of the file is wrong")
    try:
        found = pq.read_table(BytesIO(content), columns=columns, use_threads=False)
        return Rows(found, json.loads((found.schema.metadata or {})[_RECORD]))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"no rows of a run: {error}") from error


def join_rows(tables: Sequence[pa.Table]) -> Table:
    """All rows as one table in memory; a column that some parts lack is NaN, 0 or empty there."""
    joined = pa.concat_tables(tables, promote_options="default")
    table = Table()
    for field in joined.schema:
        values = _values(joined.column(field.name))
        about = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
        table[field.name] = Column(
            values, unit=about.get("unit") or None, description=about.get("description") or None
        )
    return table


def _digits(content: bytes) -> slice:
    """Where the digits of the checksum are; ValueError where there are none."""
    key = content.rfind(_CHECKSUM)
    if key < 0:
        raise ValueError("no rows of a run: the file has no checksum")
    start = key + len(_CHECKSUM) + 2  # Thrift: the field's type, and the length of the text
    return slice(start, start + len(_ZEROS))


def _checksum(content: bytes) -> bytes:
    return b"%08x" % google_crc32c.value(content)


def _values(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(column.type):
        return np.asarray(["" if text is None else text for text in column.to_pylist()], dtype=str)
    if column.null_count:
        blank = float("nan") if pa.types.is_floating(column.type) else False
        column = column.fill_null(pa.scalar(blank).cast(column.type))
    return column.to_numpy()
