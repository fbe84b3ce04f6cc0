"""Tables from files (FITS, ECSV, CSV, Parquet, text with a commented header) and columns out of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from starling.catalogues.config import FitConfig
from starling.catalogues.errors import CatalogueError
from starling.configuration import nearest

FORMAT_OF_SUFFIX = {
    ".fits": "fits",
    ".fit": "fits",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".parquet": "parquet",
    ".cat": "ascii.commented_header",
    ".dat": "ascii.commented_header",
    ".fout": "ascii.commented_header",
    ".txt": "ascii.commented_header",
}


class Tables(NamedTuple):
    """The table of fluxes with its IDs, and for each joined table the row that matches (-1: none)."""

    main: Table
    ids: tuple[str, ...]
    joined: dict[str, Table]
    match: dict[str, np.ndarray]


class Numbers(NamedTuple):
    """A numeric column: float64 values, NaN where the entry is ``empty`` or ``unreadable``."""

    values: np.ndarray
    empty: np.ndarray
    unreadable: np.ndarray


def read_table(path: Path, table_format: str | None = None) -> Table:
    """A table; the format is known from the suffix or named as astropy names it. CatalogueError says what failed."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    known = table_format or FORMAT_OF_SUFFIX.get(suffix.lower())
    if known is None:
        raise CatalogueError(
            f"{path}: the suffix {path.suffix!r} tells no format (known: {' '.join(FORMAT_OF_SUFFIX)}); name it with "
            "`format:`, as astropy's Table.read calls it"
        )
    if not path.is_file():
        raise CatalogueError(
            f"there is no table {path}; give its path on the command line, or its folder by --data"
        )
    options = {"guess": False} if known.startswith("ascii.") and known != "ascii.ecsv" else {}
    try:
        table = Table.read(path, format=known, **options)
    except Exception as error:  # astropy's readers raise many kinds, and each means the same to the user
        raise CatalogueError(f"{path} cannot be read as {known}: {' '.join(str(error).split())}") from error
    if len(table) == 0:
        raise CatalogueError(f"{path} has no rows")
    return table


def read_tables(config: FitConfig, table: Path | Table, folder: Path) -> Tables:
    """The table of fluxes and those to join it with; paths of the latter are taken from ``folder``."""
    main = table if isinstance(table, Table) else read_table(table, config.table.format)
    ids = identifiers(column_of(main, config.table.id, "table.id"))
    joined, match = {}, {}
    for name, join in config.joins.items():
        other = read_table(folder / join.path, join.format)
        row_of: dict[str, int] = {}
        for row, key in enumerate(identifiers(column_of(other, join.id, f"joins.{name}.id"))):
            row_of.setdefault(key, row)
        joined[name] = other
        match[name] = np.array([row_of.get(key, -1) if key else -1 for key in ids], dtype=int)
    return Tables(main, ids, joined, match)


def column_of(table: Table, name: str, key: str) -> Column:
    """A column with one value per row; CatalogueError with near misses where there is none."""
    if name not in table.colnames:
        raise CatalogueError(f"{key}: the table has no column {name!r}{nearest(name, table.colnames)}")
    column = table[name]
    if column.ndim != 1:
        raise CatalogueError(f"{key}: column {name!r} has {column.shape[1:]} values per row; one is needed")
    return column


def find_column(tables: Tables, name: str, key: str) -> tuple[Column, np.ndarray | None]:
    """A column of the main table, or ``join.column`` of a joined one with the rows to take."""
    join, dot, rest = name.partition(".")
    if name in tables.main.colnames or not dot:
        return column_of(tables.main, name, key), None
    if join not in tables.joined:
        near = nearest(join, tables.joined) or nearest(name, tables.main.colnames)
        raise CatalogueError(f"{key}: {name!r} is no column, and there is no join {join!r}{near}")
    return column_of(tables.joined[join], rest, key), tables.match[join]


def numbers(tables: Tables, name: str, key: str) -> Numbers:
    """A numeric column for every row of the main table; NaN where a join has no match."""
    column, rows = find_column(tables, name, key)
    found = to_numbers(column)
    if rows is None:
        return found
    lost = rows < 0
    values = np.where(lost, np.nan, found.values[rows])
    return Numbers(values, found.empty[rows] | lost, found.unreadable[rows] & ~lost)


def to_numbers(column: Column) -> Numbers:
    """float64 values of a column, whatever its kind; text that is no number is NaN and unreadable."""
    empty = np.array(column.mask, bool) if isinstance(column, MaskedColumn) else np.zeros(len(column), bool)
    plain = np.asarray(column.filled() if isinstance(column, MaskedColumn) else column)
    if plain.dtype.kind in "fiub":
        return Numbers(np.where(empty, np.nan, plain.astype(float)), empty, np.zeros(len(plain), bool))
    values, unreadable = np.full(len(plain), np.nan), np.zeros(len(plain), bool)
    for row in np.flatnonzero(~empty):
        text = _text(plain[row])
        if text in {"", "--", "None", "null"}:
            empty[row] = True
            continue
        try:
            values[row] = float(text)
        except ValueError:
            unreadable[row] = True
    return Numbers(values, empty, unreadable)


def flags(tables: Tables, name: str, key: str) -> np.ndarray:
    """A true-or-false column: numbers other than 0, or the words true, t, yes and y."""
    column, _ = find_column(tables, name, key)
    if np.asarray(column).dtype.kind in "fiub":
        values = numbers(tables, name, key).values
        return (values != 0) & np.isfinite(values)
    texts = np.array([_text(value).casefold() in {"true", "t", "yes", "y", "1"} for value in column])
    _, rows = find_column(tables, name, key)
    return texts if rows is None else np.where(rows < 0, False, texts[rows])


def identifiers(column: Column) -> tuple[str, ...]:
    """IDs as text, the same for 12, 12.0, b'12' and ' 12 '; empty where the table has none."""
    empty = np.asarray(column.mask, bool) if isinstance(column, MaskedColumn) else np.zeros(len(column), bool)
    return tuple("" if masked else _identifier(value) for value, masked in zip(column, empty, strict=True))


def _identifier(value: object) -> str:
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            return ""
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return _text(value)


def _text(value: object) -> str:
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()


def comparison_columns(config: FitConfig, tables: Tables) -> Mapping[str, np.ndarray]:
    """The columns to carry to the report, NaN where they are missing."""
    found = {}
    for name, item in config.comparison.items():
        values = numbers(tables, item.column, f"comparison.{name}.column").values
        found[name] = np.where(np.isin(values, item.missing), np.nan, values)
    return found
