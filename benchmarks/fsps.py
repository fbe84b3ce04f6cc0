"""Cost of FSPS: spectra per second and process, with and without lines in the spectrum, with one process and with two.

    uv run python benchmarks/fsps.py SPS_HOME [N]

N galaxies (default 200) from the prior of the 18-parameter model of Mathews et al. (2023). Every process has built its
SSPs before the clock runs; rounds of the alternatives are interleaved, so that whatever else the machine does meets all
of them; the figures are medians over rounds. Photometry is in 25 bands, lines and IGM included.
"""

import sys
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack

import jax
import numpy as np

from starling.photometry import available_bands
from starling.spaces import prospector_alpha
from starling.sps.fsps import Fsps, FspsWarning, describe_fsps, photometry_simulator

ROUNDS, SPACE = 5, prospector_alpha()
BANDS = tuple(
    name for name in available_bands() if name.startswith(("sdss_", "twomass_", "wise_", "jwst_f", "galex_"))
)[:25]


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
        runs: dict[str, Callable[[np.ndarray], object]] = {
            "spectra, lines apart": one.spectra,
            "photometry in 25 bands": simulate,
            "spectra, lines apart, 2 processes": two.spectra,
            "spectra, lines in the spectrum": lines.spectra,
        }
        for run in runs.values():
            run(theta)
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                start = time.perf_counter()
                run(theta)
                taken[name].append((time.perf_counter() - start) / n)
    for name, times in taken.items():
        middle = float(np.median(times))
        processes = 2 if "2 processes" in name else 1
        print(
            f"{name:35s} {1e3 * middle:6.2f} ms (min {1e3 * min(times):.2f}, max {1e3 * max(times):.2f}); "
            f"{1 / middle:5.0f} per second, {1 / middle / processes:5.0f} per process"
        )


if __name__ == "__main__":
    main()
