"""Run a simulator over a plan, shard by shard, into a folder that a later call continues."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from starling.execution import Executor, Job, Threads
from starling.simulation.draws import Plan, draw_chunk
from starling.simulation.shards import THETA, missing_shards, read_record, read_rows, write_shard
from starling.simulation.store import (
    FAILED,
    StorageError,
    finite_rows,
    open_set,
    set_identity,
    storage,
    write_failed,
)

_N_COMPARED = 64
FAILURE = "failure"

# theta[row, param] -> arrays by name, rows first. Emulators understand the fields of ``starling.components.Components``
# and, of a simulator that cannot tell them apart, ``rest_flux`` [row, band] (maggies at 10 pc per Msun formed) with
# ``properties`` [row, 4] (``starling.components.SPECTRAL_PROPERTIES``). A galaxy that cannot be simulated has a number
# that is not finite, in any array; the simulator may say why in ``failure`` [row], texts, empty for the others. It is
# called from several threads at the same time, and every row depends on its parameters only. An exception means that
# nothing can be simulated.
Simulator = Callable[[Float[np.ndarray, "row param"]], Mapping[str, Any]]


class StoppedError(Exception):
    """A long run was asked to stop and did so with everything on disk; the same call continues it."""


class Progress(NamedTuple):
    """How far a simulation is; ``rate`` counts this call's rows per second, ``failed`` are those of the set so far."""

    done: int
    total: int
    failed: int
    rate: float
    seconds_left: float

    def __str__(self) -> str:
        text = f"simulated {self.done}/{self.total} rows, {self.rate:.0f} rows/s, {self.seconds_left / 60:.1f} min left"
        return text + (f", {self.failed} failed" if self.failed else "")


def simulate_set(
    simulator: Simulator,
    plan: Plan,
    folder: Path,
    *,
    description: Mapping[str, Any],
    coordinates: Mapping[str, np.ndarray] | None = None,
    executor: Executor | None = None,
    job: Job | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Make what is missing or damaged of a set and return the number of its rows that failed.

    ``description`` (JSON-able: bands, curve hashes, tables, versions) is part of the set's identity, as are
    ``coordinates``, arrays that belong to all galaxies (wavelengths of pixels and lines). ``executor`` makes the
    shards: threads of this process (one without it) do it with ``simulator``, others with ``job``, which has to
    do the same (``make_shard``) elsewhere. Memory is bounded by a shard per worker; the result does not depend on them.
    A row that failed is kept on disk, with the reason in its shard's record and in ``failed.ecsv``. An exception of the
    simulator ends the call; finished shards stay. Raises ValueError where the folder holds another set, or one that the
    simulator (its code may have changed) no longer gives, StorageError where the disk is full or cannot be written, and
    StoppedError when ``should_stop`` (asked before every shard) says so.
    """
    open_set(folder, set_identity(plan, description, coordinates or {}), plan.n, coordinates or {})
    missing = missing_shards(folder, [plan.rows(index) for index in range(plan.n_chunks)])
    if 0 not in missing:
        _check_simulator(simulator, plan, folder)
    done = present = plan.n - sum(plan.rows(index) for index in missing)
    failed = sum(_n_failed(folder, index, plan) for index in set(range(plan.n_chunks)) - set(missing))
    started = time.monotonic()
    work = (lambda index: make_shard(simulator, plan, folder, index)) if job is None else job
    with closing((executor or Threads()).run(work, _until(missing, should_stop))) as finished:
        for made in finished:
            n_failed, n_bytes = made.result
            failed += n_failed
            if done == present:
                _check_room(folder, n_bytes, plan.rows(made.part), plan.n - present)
            done += plan.rows(made.part)
            rate = (done - present) / max(time.monotonic() - started, 1e-9)
            progress(Progress(done, plan.n, failed, rate, (plan.n - done) / max(rate, 1e-9)))
    if done < plan.n:
        raise StoppedError(f"stopped with {done} of {plan.n} rows simulated in {folder}")
    if missing or (failed and not (folder / FAILED).exists()):
        with storage(folder):
            write_failed(folder, plan.space.names, plan.n)
    return failed


def _until(parts: Sequence[int], should_stop: Callable[[], bool]) -> Iterator[int]:
    """The parts, as long as nobody asks to stop."""
    for part in parts:
        if should_stop():
            return
        yield part


def make_shard(simulator: Simulator, plan: Plan, folder: Path, index: int) -> tuple[int, int]:
    """Simulate and write one shard of a set that ``open_set`` made: how many rows failed, bytes.

    Whoever calls it, and however often, the shard is the same.
    StorageError where the disk does not take it; ValueError for a simulator that does not give a row for every galaxy.
    """
    theta = draw_chunk(plan, index)
    outputs, reasons = split_failures(simulator(theta), len(theta))
    start, n_rows = index * plan.chunk, plan.rows(index)
    kept = {name: array[:n_rows] for name, array in {THETA: theta, **outputs}.items()}
    failed = {start + row: reason for row, reason in reasons.items() if row < n_rows}
    with storage(folder):
        write_shard(folder, index, kept, failed, n=plan.n, chunk=plan.chunk)
    return len(failed), sum(array.nbytes for array in kept.values())


def split_failures(outputs: Mapping[str, Any], n_rows: int) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """The numbers that a simulator gave, float32, and the rows that failed with the reasons.

    Where a reason is given every number of the row is NaN. ValueError unless every array has ``n_rows`` rows.
    """
    arrays = {name: np.asarray(array, np.float32) for name, array in outputs.items() if name != FAILURE}
    wrong = {name: array.shape for name, array in arrays.items() if array.shape[:1] != (n_rows,)}
    if wrong or not arrays:
        raise ValueError(f"the simulator returned {wrong or 'nothing'} for {n_rows} galaxies")
    said = [str(reason) for reason in outputs.get(FAILURE, [""] * n_rows)]
    if len(said) != n_rows:
        raise ValueError(f"the simulator returned {len(said)} reasons of failure for {n_rows} galaxies")
    told = np.array([bool(reason) for reason in said])
    if told.any():
        arrays = {
            name: np.where(told.reshape(-1, *[1] * (array.ndim - 1)), np.float32(np.nan), array)
            for name, array in arrays.items()
        }
    reasons = {}
    for row in np.flatnonzero(~finite_rows(*arrays.values())):
        names = [name for name, array in arrays.items() if not np.isfinite(array[row]).all()]
        reasons[int(row)] = said[row] or f"not finite: {', '.join(names)}"
    return arrays, reasons


def _n_failed(folder: Path, index: int, plan: Plan) -> int:
    record, last = read_record(folder, index), index * plan.chunk + plan.rows(index)
    return 0 if record is None else sum(row < last for row in record.failed)


def _check_room(folder: Path, n_bytes: int, n_rows: int, n_wanted: int) -> None:
    """StorageError where the disk has no room for the rows to come, judged by the first shard."""
    needed, free = n_bytes / n_rows * (n_wanted - n_rows), shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{folder} has {free / 1e9:.3g} GB left, and the rest of the set needs {needed / 1e9:.3g} GB: make room "
            "there and run the same command again, choose another folder with --out, or ask for fewer galaxies"
        )


def _check_simulator(simulator: Simulator, plan: Plan, folder: Path) -> None:
    """Compare the first galaxies of a set that is there with what the simulator says now; ValueError if they differ."""
    n = min(_N_COMPARED, plan.rows(0))
    stored = read_rows(folder, 0, n)
    for name, new in split_failures(simulator(draw_chunk(plan, 0)[:n]), n)[0].items():
        old = stored.get(name, np.empty(0, np.float32))
        # rounding depends on how galaxies are batched; faint fluxes are known to a part of the typical one only
        if old.shape != new.shape or not np.all(_close(old, new)):
            raise ValueError(
                f"the simulator no longer gives the {name} that {folder} holds: its code has changed; "
                "give another folder, or remove this one to simulate anew"
            )


def _close(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    finite = np.isfinite(old) & np.isfinite(new)
    typical = np.median(np.where(finite, np.abs(old), 0.0), axis=0)
    with np.errstate(invalid="ignore"):
        same = np.abs(old - new) <= 1e-3 * (np.abs(old) + typical)
    return same | ~(np.isfinite(old) | np.isfinite(new))
