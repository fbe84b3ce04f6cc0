"""Runs of galaxies whose draws cost nothing, in the layout of real results; and processes that are killed at one."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.table import Table

CHAINS, DRAWS, BANDS = 2, 40, ["u", "v", "w"]
PREDICTED = np.arange(0, DRAWS, 10)


def toy_tree(start: int, stop: int, names: Callable[[int], str] = "g{:03d}".format) -> xr.DataTree:
    """Results of the galaxies from ``start`` to ``stop``, the same whichever part they are made in."""
    n = stop - start
    ids = [names(i) for i in range(start, stop)]

    def normal(*shape: int) -> np.ndarray:
        columns = [
            np.random.default_rng((i, len(shape), *shape)).normal(size=shape) for i in range(start, stop)
        ]
        return np.stack(columns, axis=2).astype(np.float32) if len(shape) > 1 else np.stack(columns)

    sample = ("chain", "draw", "galaxy")
    draws = {"chain": np.arange(CHAINS), "draw": np.arange(DRAWS), "galaxy": ids}
    flux = np.ones((n, 3), np.float32)
    passed = np.arange(start, stop) % 3 != 0
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"created": "now"}),
            "posterior": xr.Dataset(
                {
                    "logmass": (
                        sample,
                        10 + normal(CHAINS, DRAWS),
                        {"units": "log10 Msun", "long_name": "mass"},
                    ),
                    "dust2": (sample, normal(CHAINS, DRAWS)),
                },
                draws,
            ),
            "derived": xr.Dataset(
                {
                    "mwa": (
                        sample,
                        normal(CHAINS, DRAWS),
                        {"units": "Gyr", "long_name": "mass-weighted age"},
                    ),
                    "sfh": ((*sample, "sfh_bin"), np.repeat(normal(CHAINS, DRAWS)[..., None], 2, axis=-1)),
                },
                draws,
            ),
            "sample_stats": xr.Dataset({"lp": (sample, normal(CHAINS, DRAWS))}, draws),
            "posterior_predictive": xr.Dataset(
                {"flux": ((*sample, "band"), np.ones((CHAINS, PREDICTED.size, n, 3), np.float32))},
                {**draws, "draw": PREDICTED, "band": BANDS},
            ),
            "observed_data": xr.Dataset(
                {
                    "flux": (("galaxy", "band"), flux),
                    "flux_err_total": (("galaxy", "band"), 0.1 * flux),
                    "mask": (("galaxy", "band"), flux > 0),
                    "upper_limit": (("galaxy", "band"), flux < 0),
                },
                {"galaxy": ids, "band": BANDS},
            ),
            "constant_data": xr.Dataset({"zred": ("galaxy", np.arange(start, stop) * 0.1)}, {"galaxy": ids}),
            "diagnostics": xr.Dataset(
                {
                    "rhat": (("galaxy", "parameter"), 1.0 + 0.001 * np.ones((n, 2))),
                    "ess_bulk": (("galaxy", "parameter"), np.full((n, 2), 500.0)),
                    "stage": ("galaxy", np.arange(start, stop) % 2, {"long_name": "what settled it"}),
                    "k_hat": ("galaxy", np.full(n, 0.2)),
                    "outside_domain": ("galaxy", np.where(np.arange(start, stop) % 6 == 0, 0.5, 0.0)),
                    "passed": ("galaxy", passed),
                    "flag": (
                        "galaxy",
                        ["" if good else f"δ is wrong with {i}" for i, good in zip(ids, passed, strict=True)],
                    ),
                },
                {"galaxy": ids, "parameter": ["logmass", "dust2"]},
            ),
        }
    )


def toy_fit(n: int, batch_size: int, calls: Path | None = None, seconds: float = 0.0, **options: Any) -> Any:
    """A run of ``n`` galaxies; every part that is begun leaves a line in ``calls``."""
    from starling.inference.summary import summary_table
    from starling.runs import Fit

    def sample(part: int, start: int, stop: int, report: Callable[[float, str], None]) -> xr.DataTree:
        if calls is not None:
            with calls.open("a") as file:
                file.write(f"{part}\n")
        time.sleep(seconds)
        return toy_tree(start, stop)

    ids = tuple(f"g{i:03d}" for i in range(n))
    return Fit(ids, sample, {"table": "abc"}, batch_size, summary_table, **options)


def summary_of(fit: Any, folder: Path) -> Table:
    from starling.runs import summary

    return summary(fit, folder)


def is_held(folder: Path) -> bool:
    """Whether a second run into the folder, of another thread, would be refused now."""
    from starling.runs import RunError
    from starling.runs.lock import locked

    def take() -> bool:
        try:
            with locked(folder):
                return False
        except RunError:
            return True

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(take).result()


def killed_again_and_again(folder: Path, seed: int) -> int:
    """Make a run in processes that are killed at random moments until one gets to its end; how many were killed."""
    from starling.runs import complete

    complete(toy_fit(2, 2), folder / "warm")  # the first part of a process takes long
    start = time.monotonic()
    complete(toy_fit(4, 2), folder / "timed")
    part_seconds = (time.monotonic() - start) / 2
    fit, generator = toy_fit(12, 2, folder / "calls"), np.random.default_rng(seed)
    killed = 0
    while not _ends(lambda: complete(fit, folder), part_seconds * generator.uniform(0.5, 4.0)):
        killed += 1
    return killed


def _ends(work: Callable[[], None], within: float) -> bool:
    """Whether a process of its own does the work in time; it is killed otherwise."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    end = time.monotonic() + within
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert status == 0, status
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


if __name__ == "__main__":
    sys.stdout.write(json.dumps(killed_again_and_again(Path(sys.argv[1]), int(sys.argv[2]))))
