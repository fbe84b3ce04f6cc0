"""What was found wrong with a catalogue, row by row; a table that is written beside the results."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table

LEVELS = ("left out", "masked", "warning")


class Finding(NamedTuple):
    """One thing found: ``row`` counts from 1 (0: the whole column); ``level`` is one of ``LEVELS``."""

    level: str
    row: int
    id: str
    column: str
    band: str
    reason: str


def rows_where(
    bad: np.ndarray, ids: Sequence[str], level: str, column: str, reason: str, band: str = ""
) -> list[Finding]:
    """A finding for every row of a boolean array."""
    return [Finding(level, row + 1, ids[row], column, band, reason) for row in map(int, np.flatnonzero(bad))]


def findings_table(findings: Sequence[Finding]) -> Table:
    """The findings as a table, ordered by row."""
    ordered = sorted(findings, key=lambda item: (item.row, LEVELS.index(item.level), item.column))
    names = Finding._fields
    types = [str, int, str, str, str, str]
    columns = zip(*ordered, strict=True) if ordered else [[] for _ in names]
    return Table({name: np.array(list(c), dtype=t) for name, c, t in zip(names, columns, types, strict=True)})


def summarise(findings: Sequence[Finding]) -> list[tuple[str, str, str, int, str]]:
    """Counted by level, column and reason: (level, column, reason, rows, the first few IDs), heaviest first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], list[str]] = {}
    for item in findings:
        key = (item.level, item.column, item.reason)
        counts[key] += 1
        if item.row and len(examples.setdefault(key, [])) < 3:
            examples[key].append(f"{item.id} (row {item.row})")
    ordered = sorted(counts, key=lambda key: (LEVELS.index(key[0]), -counts[key], key))
    return [(*key, counts[key], ", ".join(examples.get(key, []))) for key in ordered]
