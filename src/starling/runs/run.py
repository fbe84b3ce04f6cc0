"""A fit of many galaxies in parts, each kept as soon as it is finished; the same call goes on where a run stopped."""

import gc
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr
from astropy.table import Table

from starling import __version__
from starling.execution import ExecutionError, Executor, Job, Threads
from starling.runs.folder import discard, merge, part_path, prepare_folder
from starling.runs.lock import locked
from starling.runs.manifest import RunError, check_manifest, write_manifest
from starling.runs.parts import (
    count_passed,
    ids_and_passed,
    load_part,
    load_rows,
    passed_of_part,
    rows_path,
    save_part,
)
from starling.runs.rows import join_rows
from starling.runs.storage import Storage

# Nodes of a tree know each other, so its draws go when Python looks for cycles: seldom by itself. It takes 0.2 s.
_COLLECT_EVERY = 4  # parts


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
    most ``batch_size`` galaxies. ``summarise`` makes the rows of a part (column ``id`` first) from all of its draws,
    ``storage`` says which of them are kept.
    """

    ids: tuple[str, ...]
    sample: SamplePart
    inputs: Mapping[str, Any]
    batch_size: int
    summarise: Callable[[xr.DataTree], Table] = ids_and_passed
    storage: Storage = Storage()

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Start and stop of every part."""
        return parts(len(self.ids), self.batch_size)

    @property
    def identity(self) -> dict[str, Any]:
        """What a folder of the run's parts is known by."""
        counts = {"batch size": self.batch_size, "number of galaxies": len(self.ids)}
        return {**self.inputs, **counts, "storage": asdict(self.storage), "starling": __version__}


def parts(n_galaxies: int, at_most: int) -> list[tuple[int, int]]:
    """Start and stop of every part: as few as hold ``at_most`` galaxies each, of equal size but for the last."""
    count = -(-n_galaxies // at_most)
    size = -(-n_galaxies // count)
    return [(start, min(start + size, n_galaxies)) for start in range(0, n_galaxies, size)]


def run(fit: Fit, folder: Path, **options: Any) -> xr.DataTree:
    """Results of all galaxies, in order, in memory: ``complete`` and ``merged``, with the folder held meanwhile."""
    with locked(folder):
        complete(fit, folder, **options)
        return merged(fit, folder)


def complete(
    fit: Fit,
    folder: Path,
    *,
    fresh: bool = False,
    needed_bytes: int = 0,
    merged_bytes: int = 0,
    progress: Callable[[RunProgress], None] = lambda _: None,
    executor: Executor | None = None,
    job: Job | None = None,
    command: str = "",
) -> None:
    """Make every part that ``folder`` does not hold yet; in memory there is one at a time.

    ``needed_bytes`` are for all parts together, of which those that are there need none; ``merged_bytes`` for what is
    made of them later. An earlier run of other inputs in the folder is an error unless ``fresh``. Parts are made here
    one after another; with a ``job``, whose work is ``make_part`` of the same fit, where the ``executor`` makes them.
    The ``command`` that began the run is recorded, and does not identify it.

    Raises RunError where the folder holds another run, is at work, cannot be written to, or has no room.
    """
    with locked(folder):
        _complete(
            fit,
            folder,
            fresh=fresh,
            needed_bytes=needed_bytes,
            merged_bytes=merged_bytes,
            progress=progress,
            executor=executor,
            job=job,
            command=command,
        )


def _complete(
    fit: Fit,
    folder: Path,
    *,
    fresh: bool,
    needed_bytes: int,
    merged_bytes: int,
    progress: Callable[[RunProgress], None],
    executor: Executor | None,
    job: Job | None,
    command: str,
) -> None:
    if fresh:
        discard(folder)
    known = check_manifest(folder, fit.identity)
    bounds = fit.parts
    found = {
        number: passed_of_part(part_path(folder, number), fit.ids[start:stop]) if known else None
        for number, (start, stop) in enumerate(bounds)
    }
    missing = [number for number, passed in found.items() if passed is None]
    passed = sum(n for n in found.values() if n is not None)
    done = sum(stop - start for number, (start, stop) in enumerate(bounds) if found[number] is not None)
    prepare_folder(folder, needed_bytes * (len(fit.ids) - done) // len(fit.ids) + merged_bytes)
    if not known:
        discard(folder)
        write_manifest(folder, fit.identity, command)
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


def merged(fit: Fit, folder: Path) -> xr.DataTree:
    """What is kept of all galaxies of a finished run as one tree, in memory."""
    return merge([_part(fit, folder, number) for number in range(len(fit.parts))])


def summary(fit: Fit, folder: Path) -> Table:
    """The rows of all galaxies of a finished run; the draws are not read."""
    tables = []
    for number, (start, stop) in enumerate(fit.parts):
        rows = load_rows(part_path(folder, number), fit.ids[start:stop])
        if rows is None:
            raise _unreadable(rows_path(part_path(folder, number)))
        tables.append(rows.table)
    return join_rows(tables)


def make_part(fit: Fit, folder: Path, number: int, report: Report = lambda *_: None) -> int:
    """Fit a part and keep it in the folder of a run; how many of its galaxies passed. Made again it is the same."""
    start, stop = fit.parts[number]
    tree = fit.sample(number, start, stop, report)
    save_part(tree, part_path(folder, number), fit.summarise(tree), fit.storage)
    passed = count_passed(tree)
    del tree
    if number % _COLLECT_EVERY == 0:
        gc.collect()
    return passed


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


def _part(fit: Fit, folder: Path, number: int) -> xr.DataTree:
    start, stop = fit.parts[number]
    tree = load_part(part_path(folder, number), fit.ids[start:stop])
    if tree is None:
        raise _unreadable(part_path(folder, number))
    return tree


def _unreadable(path: Path) -> RunError:
    return RunError(f"{path} cannot be read: run the same command again, which makes it anew")
