"""Run a simulator over a draw plan, chunk by chunk, into a folder that a later call continues."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from starling.simulation.draws import DrawPlan, draw_chunk
from starling.simulation.store import chunk_is_whole, finite_rows, open_set, read_chunk, write_chunk

_N_COMPARED = 64

# theta[row, param] -> arrays by name, rows first. Emulators understand the fields of ``starling.components.Components``
# and, of a simulator that cannot tell them apart, ``rest_flux`` [row, band] (maggies at 10 pc per Msun formed) with
# ``properties`` [row, 4] (``starling.components.SPECTRAL_PROPERTIES``).
Simulator = Callable[[Float[np.ndarray, "row param"]], Mapping[str, Float[np.ndarray, "row ..."]]]


class StoppedError(Exception):
    """A long run was asked to stop and did so with everything on disk; the same call continues it."""


class Progress(NamedTuple):
    """How far a simulation is; ``rate`` counts this call's rows per second."""

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
    plan: DrawPlan,
    folder: Path,
    *,
    description: Mapping[str, Any],
    workers: int = 1,
    progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Make what is missing of a set and return the number of rows that failed in this call.

    ``description`` (JSON-able: bands, curve hashes, tables, versions) is part of the set's identity. ``workers`` chunks
    run at the same time in threads; memory is bounded by that many chunks, and the result does not depend on it.
    A row with a number that is not finite is kept on disk and counted as failed. An exception of the simulator ends the
    call; finished chunks stay. Raises ValueError where the folder holds another set, or one that the simulator (its
    code may have changed) no longer gives, and StoppedError when
    ``should_stop`` (asked after every chunk) says so.
    """
    open_set(folder, {"draws": plan.to_dict(), "simulator": dict(description)})
    _check_simulator(simulator, plan, folder)
    missing = [i for i in range(plan.n_chunks) if not chunk_is_whole(folder, i, plan.rows(i))]
    present = plan.n - sum(plan.rows(i) for i in missing)
    done = failed = 0
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        queue = iter(missing)
        running: dict[Future[int], int] = {}
        try:
            while True:
                while len(running) < max(1, workers) and (index := next(queue, None)) is not None:
                    running[pool.submit(_make_chunk, simulator, plan, folder, index)] = index
                if not running:
                    return failed
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    failed += future.result()
                    done += plan.rows(running.pop(future))
                if should_stop() and present + done < plan.n:
                    raise StoppedError(
                        f"stopped with {present + done} of {plan.n} rows simulated in {folder}"
                    )
                rate = done / max(time.monotonic() - started, 1e-9)
                progress(
                    Progress(
                        present + done, plan.n, failed, rate, (plan.n - present - done) / max(rate, 1e-9)
                    )
                )
        finally:
            for future in running:
                future.cancel()


def _check_simulator(simulator: Simulator, plan: DrawPlan, folder: Path) -> None:
    """Compare the first galaxies of a set that is there with what the simulator says now; ValueError if they differ."""
    n = min(_N_COMPARED, plan.rows(0))
    if not chunk_is_whole(folder, 0, plan.rows(0)):
        return
    stored = read_chunk(folder, 0)
    for name, new in simulator(draw_chunk(plan, 0)[:n]).items():
        old, new = stored.get(name, np.empty(0))[:n], np.asarray(new, np.float32)
        # rounding depends on how galaxies are batched; faint fluxes are known to a part of the typical one only
        if old.shape != new.shape or not np.all(_close(old, new, np.nanmedian(np.abs(old), axis=0))):
            raise ValueError(
                f"the simulator no longer gives the {name} that {folder} holds: its code has changed; "
                "give another folder, or remove this one to simulate anew"
            )


def _close(old: np.ndarray, new: np.ndarray, floor: np.ndarray) -> np.ndarray:
    same = np.abs(old - new) <= 1e-3 * (np.abs(old) + floor)
    return same | (~np.isfinite(old) & ~np.isfinite(new))


def _make_chunk(simulator: Simulator, plan: DrawPlan, folder: Path, index: int) -> int:
    """Simulate and write one chunk; returns its number of failed rows."""
    theta = draw_chunk(plan, index)
    outputs = {name: np.asarray(array, np.float32) for name, array in simulator(theta).items()}
    wrong = {name: array.shape for name, array in outputs.items() if array.shape[:1] != theta.shape[:1]}
    if wrong or not outputs:
        raise ValueError(f"the simulator returned {wrong or 'nothing'} for {theta.shape[0]} galaxies")
    rows = slice(0, plan.rows(index))
    kept = {name: array[rows] for name, array in outputs.items()}
    write_chunk(folder, index, theta[rows], kept)
    return int(np.sum(~finite_rows(*kept.values())))
