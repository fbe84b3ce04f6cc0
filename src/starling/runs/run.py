"""A fit of many galaxies in parts, each kept as soon as it is finished; the same call goes on where a run stopped."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from starling import __version__
from starling.runs.folder import discard, load_part, merge, part_path, prepare_folder, save_part
from starling.runs.manifest import check_manifest, write_manifest


class RunProgress(NamedTuple):
    """Where a run is: galaxies finished (and how many of those passed), and how far the part at work has come."""

    done: int
    total: int
    passed: int
    galaxies_at_work: int
    fraction: float
    stage: str

    @property
    def completed(self) -> float:
        """Galaxies finished, counting those at work by their fraction."""
        return self.done + self.fraction * self.galaxies_at_work


# Fits the galaxies from ``start`` to ``stop``: (part, start, stop, report) -> results; report takes (fraction, stage).
SamplePart = Callable[[int, int, int, Callable[[float, str], None]], xr.DataTree]


def parts(n_galaxies: int, at_most: int) -> list[tuple[int, int]]:
    """Start and stop of every part: as few as hold ``at_most`` galaxies each, of equal size but for the last."""
    count = -(-n_galaxies // at_most)
    size = -(-n_galaxies // count)
    return [(start, min(start + size, n_galaxies)) for start in range(0, n_galaxies, size)]


def run(
    sample: SamplePart,
    ids: Sequence[str],
    folder: Path,
    *,
    inputs: Mapping[str, Any],
    batch_size: int,
    fresh: bool = False,
    needed_bytes: int = 0,
    progress: Callable[[RunProgress], None] = lambda _: None,
) -> xr.DataTree:
    """Results of all galaxies, in order; finished parts in ``folder`` are taken from there.

    ``inputs`` identifies the run (JSON-able): an earlier run of others in the folder is an error unless ``fresh``.
    ``sample`` must depend on them and the part's number only, so that a resumed run gives the same results.

    Raises RunError where the folder holds another run, cannot be written to, or has no room.
    """
    identity = {**inputs, "batch size": batch_size, "number of galaxies": len(ids), "starling": __version__}
    if fresh:
        discard(folder)
    known = check_manifest(folder, identity)
    prepare_folder(folder, needed_bytes)
    if not known:
        discard(folder)
        write_manifest(folder, identity)
    trees: list[xr.DataTree] = []
    done = passed = 0
    for number, (start, stop) in enumerate(parts(len(ids), batch_size)):
        report = _reporter(progress, RunProgress(done, len(ids), passed, stop - start, 0.0, "starting"))
        path = part_path(folder, number)
        tree = load_part(path, ids[start:stop])
        if tree is None:
            tree = sample(number, start, stop, report)
            save_part(tree, path)
        trees.append(tree)
        done, passed = stop, passed + count_passed(tree)
    progress(RunProgress(done, len(ids), passed, 0, 0.0, "done"))
    return merge(trees)


def _reporter(progress: Callable[[RunProgress], None], now: RunProgress) -> Callable[[float, str], None]:
    """What a part reports to: fraction and stage, on top of where the run is."""
    progress(now)
    return lambda fraction, stage: progress(now._replace(fraction=fraction, stage=stage))


def count_passed(tree: xr.DataTree) -> int:
    """How many galaxies of a tree converged."""
    return int(np.asarray(tree["diagnostics"]["passed"]).astype(bool).sum())
