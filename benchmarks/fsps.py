"""Cost of FSPS: spectra per second and process, with and without lines in the spectrum, with one process and with two.

    uv run python benchmarks/fsps.py SPS_HOME [N]

N galaxies (default 200) from the prior of the 18-parameter model of Mathews et al. (2023). Every process has built its
SSPs before the clock runs; rounds of the alternatives are interleaved, so that whatever else the machine does meets all
of them; the figures are medians over rounds. CPU time is that of FSPS's processes. Photometry is in 25 bands, lines and
IGM included.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import jax
import numpy as np

from starling.photometry import available_bands
from starling.spaces import prospector_alpha
from starling.sps.fsps import Fsps, FspsWarning, describe_fsps, photometry_simulator

ROUNDS, SPACE = 5, prospector_alpha()
BANDS = tuple(
    name for name in available_bands() if name.startswith(("sdss_", "twomass_", "wise_", "jwst_f", "galex_"))
)[:25]


def cpu_seconds(fsps: Fsps) -> float:
    """CPU time that the processes have taken so far (Linux)."""
    fields = [
        Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        for process in fsps.pool.processes
    ]
    return sum(int(user) + int(system) for *_, user, system in (row[:13] for row in fields)) / os.sysconf(
        "SC_CLK_TCK"
    )


def main() -> None:
    home, n = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
    theta = np.asarray(SPACE.sample(jax.random.key(0), (n,)))
    warnings.simplefilter("ignore", FspsWarning)
    with ExitStack() as stack:
        start = time.perf_counter()
        one = stack.enter_context(Fsps(SPACE, home))
        print(f"{describe_fsps(one)['tables']}{' (SURROGATE)' if one.home.surrogate else ''}")
        print(f"start and setup of a process {time.perf_counter() - start:6.1f} s")
        two = stack.enter_context(Fsps(SPACE, home, workers=2))
        lines = stack.enter_context(Fsps(SPACE, home, lines_in_spectrum=True))
        simulate = photometry_simulator(one, BANDS)
        runs: dict[str, tuple[Fsps, Callable[[np.ndarray], object]]] = {
            "spectra, lines apart": (one, one.spectra),
            "photometry in 25 bands": (one, simulate),
            "spectra, lines apart, 2 processes": (two, two.spectra),
            "spectra, lines in the spectrum": (lines, lines.spectra),
        }
        for _, run in runs.values():
            run(theta)
        taken: dict[str, list[float]] = {name: [] for name in runs}
        cpu = dict.fromkeys(runs, 0.0)
        for _ in range(ROUNDS):
            for name, (fsps, run) in runs.items():
                start, before = time.perf_counter(), cpu_seconds(fsps)
                run(theta)
                taken[name].append((time.perf_counter() - start) / n)
                cpu[name] += (cpu_seconds(fsps) - before) / (n * ROUNDS)
    for name, times in taken.items():
        middle = float(np.median(times))
        print(
            f"{name:35s} {1e3 * middle:6.2f} ms (min {1e3 * min(times):.2f}, max {1e3 * max(times):.2f}); "
            f"{1 / middle:4.0f} per second; {1e3 * cpu[name]:5.2f} ms of CPU, {1 / cpu[name]:4.0f} per second and core"
        )


if __name__ == "__main__":
    main()
