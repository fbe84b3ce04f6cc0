"""A fit of many galaxies in parts, each kept as soon as it is finished; the same call goes on where a run stopped."""

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from starling import __version__
from starling.execution import ExecutionError, Executor, Job, Threads
from starling.runs.folder import discard, load_part, merge, part_path, prepare_folder, save_part
from starling.runs.manifest import RunError, check_manifest, write_manifest


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


Report = Callable[[float, str], None]  # (fraction of a part, stage)

# Fits the galaxies from ``start`` to ``stop``: (part, start, stop, report) -> results.
SamplePart = Callable[[int, int, int, Report], xr.DataTree]


class Fit(NamedTuple):
    """What a run is of: the galaxies, what fits a part of them, and what decides the result.

    ``inputs`` (JSON-able) identify the run; ``sample`` must depend on them and the part's number only. A part has at
    most ``batch_size`` galaxies.
    """

    ids: tuple[str, ...]
    sample: SamplePart
    inputs: Mapping[str, Any]
    batch_size: int

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Start and stop of every part."""
        return parts(len(self.ids), self.batch_size)

    @property
    def identity(self) -> dict[str, Any]:
        """What a folder of the run's parts is known by."""
        counts = {"batch size": self.batch_size, "number of galaxies": len(self.ids)}
        return {**self.inputs, **counts, "starling": __version__}


def parts(n_galaxies: int, at_most: int) -> list[tuple[int, int]]:
    """Start and stop of every part: as few as hold ``at_most`` galaxies each, of equal size but for the last."""
    count = -(-n_galaxies // at_most)
    size = -(-n_galaxies // count)
    return [(start, min(start + size, n_galaxies)) for start in range(0, n_galaxies, size)]


def run(
    fit: Fit,
    folder: Path,
    *,
    fresh: bool = False,
    needed_bytes: int = 0,
    progress: Callable[[RunProgress], None] = lambda _: None,
    executor: Executor | None = None,
    job: Job | None = None,
) -> xr.DataTree:
    """Results of all galaxies, in order; finished parts in ``folder`` are taken from there.

    An earlier run of other inputs in the folder is an error unless ``fresh``. Parts are made here one after another;
    with a ``job``, whose work is ``make_part`` of the same fit, where the ``executor`` makes them.

    Raises RunError where the folder holds another run, cannot be written to, or has no room.
    """
    if fresh:
        discard(folder)
    known = check_manifest(folder, fit.identity)
    prepare_folder(folder, needed_bytes)
    if not known:
        discard(folder)
        write_manifest(folder, fit.identity)
    bounds = fit.parts
    found = {number: _passed(fit, folder, number) for number in range(len(bounds))}
    missing = [number for number, passed in found.items() if passed is None]
    passed = sum(n for n in found.values() if n is not None)
    done = sum(stop - start for number, (start, stop) in enumerate(bounds) if found[number] is not None)
    now = RunProgress(done, len(fit.ids), passed, 0, 0.0, "starting" if job is None else "fitting")

    def make(number: int) -> int:
        start, stop = bounds[number]
        at_work = now._replace(galaxies_at_work=stop - start)
        progress(at_work)
        return make_part(
            fit, folder, number, lambda f, stage: progress(at_work._replace(fraction=f, stage=stage))
        )

    with closing((executor or Threads()).run(make if job is None else job, missing)) as finished:
        for part in finished:
            start, stop = bounds[part.part]
            now = now._replace(done=now.done + stop - start, passed=now.passed + part.result)
            if job is not None:
                progress(now)
    progress(now._replace(stage="done"))
    return merge([_part(fit, folder, number) for number in range(len(bounds))])


def make_part(fit: Fit, folder: Path, number: int, report: Report = lambda *_: None) -> int:
    """Fit a part and keep it in the folder of a run; how many of its galaxies passed. Made again it is the same."""
    start, stop = fit.parts[number]
    tree = fit.sample(number, start, stop, report)
    save_part(tree, part_path(folder, number))
    return count_passed(tree)


def work_on(fit: Fit, folder: Path) -> Callable[[int], int]:
    """What makes the parts of a run that was begun elsewhere; ExecutionError where it is not the same run here."""
    try:
        known = check_manifest(folder, fit.identity)
    except RunError as error:
        raise ExecutionError(
            f"what is installed or read where the work is done is not what is here: {error}"
        ) from error
    if not known:
        raise ExecutionError(
            f"{folder} holds no run where the work is done: all machines have to see the same folder"
        )
    return partial(make_part, fit, folder)


def _passed(fit: Fit, folder: Path, number: int) -> int | None:
    """How many galaxies of a part passed; None where it has to be made."""
    start, stop = fit.parts[number]
    tree = load_part(part_path(folder, number), fit.ids[start:stop])
    return None if tree is None else count_passed(tree)


def _part(fit: Fit, folder: Path, number: int) -> xr.DataTree:
    start, stop = fit.parts[number]
    tree = load_part(part_path(folder, number), fit.ids[start:stop])
    if tree is None:
        raise RunError(
            f"{part_path(folder, number)} cannot be read: run the same command again, which makes it anew"
        )
    return tree


def count_passed(tree: xr.DataTree) -> int:
    """How many galaxies of a tree converged."""
    return int(np.asarray(tree["diagnostics"]["passed"]).astype(bool).sum())
