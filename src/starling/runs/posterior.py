"""The draws of a run that were left in its parts: opened part by part, or for some galaxies."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from astropy.table import Table

from starling.configuration import nearest
from starling.runs.folder import PARTS, merge
from starling.runs.manifest import RunError, read_manifest
from starling.runs.parts import load_part, load_rows, passed_of_part, rows_path
from starling.runs.rows import Rows, join_rows


class StoredRun(NamedTuple):
    """A run on disk; of its draws, one part at a time is in memory.

    ``parts`` are the files of the draws with the ids of their galaxies, in the order in which they were fitted;
    ``place`` is the part of every galaxy, and its position there.
    """

    parts: tuple[tuple[Path, tuple[str, ...]], ...]
    place: Mapping[str, tuple[int, int]]

    @property
    def ids(self) -> tuple[str, ...]:
        """IDs of all galaxies of the finished parts."""
        return tuple(self.place)

    def trees(self, leave_out: Sequence[str] = ()) -> Iterator[xr.DataTree]:
        """The parts, one after another, without the variables to leave out; RunError names one that is damaged."""
        return (self._part(number, leave_out) for number in range(len(self.parts)))

    def galaxy(self, identifier: str) -> xr.DataTree:
        """What is kept of one galaxy, with a galaxy axis of length one; KeyError with the nearest ids."""
        return self.select([identifier])

    def select(self, identifiers: Iterable[str]) -> xr.DataTree:
        """What is kept of some galaxies, in their order, in memory; every part that has one of them is read once."""
        wanted = list(identifiers)
        for one in wanted:
            if one not in self.place:
                raise KeyError(f"the run has no galaxy {one!r}{nearest(one, self.place)}")
        by_part: dict[int, list[int]] = {}
        for position, one in enumerate(wanted):
            by_part.setdefault(self.place[one][0], []).append(position)
        trees = []
        for number, positions in by_part.items():
            rows = [self.place[wanted[position]][1] for position in positions]
            trees.append(of_galaxies(self._part(number), np.asarray(rows)))
        order = np.concatenate([np.asarray(found) for found in by_part.values()])
        return of_galaxies(merge(trees), np.argsort(order))

    def summary(self) -> Table:
        """The rows of all galaxies of the finished parts; the draws are not read. RunError names what is damaged."""
        return join_rows([_rows(path, ids).table for path, ids in self.parts])

    def _part(self, number: int, leave_out: Sequence[str] = ()) -> xr.DataTree:
        path, ids = self.parts[number]
        tree = load_part(path, ids, leave_out)
        if tree is None:
            raise _damaged(path)
        return tree


def open_run(folder: str | Path, damaged: list[Path] | None = None) -> StoredRun:
    """The finished parts of the run in a folder, lazily; RunError where it holds none, or damaged rows.

    With a list for the ``damaged`` parts every checksum is looked at first; those parts are put there and left out.
    """
    folder = Path(folder)
    read_manifest(folder)
    finished = [path for path in sorted((folder / PARTS).glob("part-*.nc")) if rows_path(path).is_file()]
    if damaged is not None:
        damaged += [path for path in finished if not _is_whole(path)]
        finished = [path for path in finished if path not in damaged]
        if damaged and not finished:
            raise _damaged(damaged[0])
    parts = [(path, tuple(_rows(path, columns=["id"]).table.column("id").to_pylist())) for path in finished]
    if not parts:
        raise RunError(f"{folder} holds no finished part yet")
    place = {one: (number, row) for number, (_, ids) in enumerate(parts) for row, one in enumerate(ids)}
    return StoredRun(tuple(parts), place)


def _rows(path: Path, ids: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> Rows:
    rows = load_rows(path, ids, columns)
    if rows is None:
        raise _damaged(rows_path(path))
    return rows


def _is_whole(path: Path) -> bool:
    rows = load_rows(path, columns=["id"])
    return rows is not None and passed_of_part(path, rows.table.column("id").to_pylist()) is not None


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} is damaged: the command of the run, given again, makes it anew")


def of_galaxies(tree: xr.DataTree, rows: np.ndarray) -> xr.DataTree:
    """Some galaxies of a tree, or all in another order."""
    if np.array_equal(rows, np.arange(len(rows))) and len(rows) == tree["diagnostics"].sizes["galaxy"]:
        return tree
    groups = {
        node.path: node.to_dataset(inherit=False).isel(galaxy=rows, missing_dims="ignore")
        for node in tree.subtree
    }
    return xr.DataTree.from_dict(groups)
