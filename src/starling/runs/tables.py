"""Tables of results on disk: ECSV, FITS and Parquet, each written whole."""

import os
import warnings
from pathlib import Path

import numpy as np
from astropy import units
from astropy.table import Column, Table

from starling.catalogues.config import TableFormat
from starling.runs.folder import cannot_write

_NAMES = {"ecsv": "ascii.ecsv", "fits": "fits", "parquet": "parquet"}


def write_table(table: Table, path: Path, kind: TableFormat) -> Path:
    """Write a table with units and descriptions; RunError where there is no room.

    Letters that FITS does not have are written as escapes, a unit that it does not know goes into the description.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Attribute `.*` of type .* cannot be added to FITS Header")
            (for_fits(table) if kind == "fits" else table).write(partial, format=_NAMES[kind], overwrite=True)
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def for_fits(table: Table) -> Table:
    """The same table with texts in ASCII and units of the FITS standard."""
    made = Table(meta=table.meta)
    for column in table.itercols():
        values, unit, meaning = np.asarray(column), column.unit, column.description
        if values.dtype.kind in "OSU":
            texts = [str(text).encode("ascii", "backslashreplace") for text in values]
            values = np.asarray(texts, dtype=bytes) if texts else np.zeros(0, "S1")
        if unit is not None and not _in_fits(unit):
            meaning, unit = f"{meaning or ''} ({unit})".strip(), None
        made[column.name] = Column(values, unit=unit, description=meaning)
    return made


def _in_fits(unit: units.UnitBase) -> bool:
    try:
        unit.to_string("fits")
    except ValueError:
        return False
    return True
