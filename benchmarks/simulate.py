"""Training sets of the exact JAX model: galaxies per second and core, cost of storage, scaling over workers.

    uv run python benchmarks/simulate.py                     # photometry in 25 bands, and spectra of 0.1 to 30 um
    uv run python benchmarks/simulate.py --sps-home DIR      # with the AGN torus

One core computes a shard, without and with putting it on disk, in alternating rounds, so that whatever else the machine
does meets both; then shards are made by 1, 2, ... workers, alternating too. Figures are medians over rounds, and ratios
are of the same round. Storage is all of it: encoding, checksums, files, the record that is synchronised with the disk.
"""

import argparse
import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from starling.cli.simulator import Described, photometry_simulator
from starling.cli.spectra import spectral_simulator
from starling.emulators.config import SimulatorConfig
from starling.emulators.simulate_config import SimulateConfig
from starling.simulation import DrawPlan, draw_chunk, simulate_set
from starling.simulation.generate import make_shard
from starling.simulation.store import open_set
from starling.spaces import prospector_alpha

BANDS = (
    *("sdss_u0", "sdss_g0", "sdss_r0", "sdss_i0", "sdss_z0", "twomass_J", "twomass_H", "twomass_Ks"),
    *("acs_wfc_f435w", "acs_wfc_f606w", "acs_wfc_f775w", "acs_wfc_f814w", "acs_wfc_f850lp"),
    *("wfc3_ir_f105w", "wfc3_ir_f125w", "wfc3_ir_f140w", "wfc3_ir_f160w"),
    *("spitzer_irac_ch1", "spitzer_irac_ch2", "spitzer_irac_ch3", "spitzer_irac_ch4", "spitzer_mips_24"),
    *("galex_FUV", "galex_NUV", "jwst_f200w"),
)


def pinned(core: int | None) -> None:
    """Keep the process on one core, or let it use all that it had."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, CORES if core is None else {core})


CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Storage(NamedTuple):
    """Galaxies per second on one core without storage; storage, and bare files, over that time; bytes per galaxy."""

    rate: float
    overhead: float
    files: float
    size: float


def bare_files(outputs: Mapping[str, np.ndarray], folder: Path) -> None:
    """The same numbers as files without more: what the disk itself takes."""
    folder.mkdir()
    for name, array in outputs.items():
        (folder / name).write_bytes(np.ascontiguousarray(array, np.float32).data)


def storage(found: Described, plan: DrawPlan, rounds: int, folder: Path) -> Storage:
    open_set(folder, {"draws": plan.to_dict(), "simulator": found.description}, plan.n, found.coordinates)
    outputs = found.simulator(draw_chunk(plan, 0))  # compiles
    alone, stored, files = [], [], []
    for index in range(rounds):
        alone.append(seconds(lambda index=index: found.simulator(draw_chunk(plan, 2 * index))))
        stored.append(seconds(lambda index=index: make_shard(found.simulator, plan, folder, 2 * index + 1)))
        files.append(seconds(lambda index=index: bare_files(outputs, folder.parent / f"bare-{index}")))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    over = [float(np.median(np.array(took) / np.array(alone))) for took in (stored, files)]
    return Storage(plan.chunk / float(np.median(alone)), over[0] - 1.0, over[1], size / (rounds * plan.chunk))


def scaling(found: Described, chunk: int, rounds: int, workers: list[int], folder: Path) -> dict[int, float]:
    """Rate with so many workers over that with one, every worker making one shard."""
    took: dict[int, list[float]] = {n: [] for n in workers}
    for index in range(rounds):
        for n in workers:
            plan = DrawPlan(found.model.space, n * chunk, 100 * index + n, chunk=chunk)
            where = folder / f"{index}-{n}"
            took[n].append(
                seconds(
                    lambda plan=plan, where=where, n=n: simulate_set(
                        found.simulator, plan, where, description=found.description, workers=n
                    )
                )
            )
    first = np.array(took[workers[0]])
    return {n: float(np.median(n * first / np.array(took[n]))) for n in workers}


def report(name: str, found: Described, chunk: int, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        plan = DrawPlan(found.model.space, 2 * options.rounds * chunk, 1, chunk=chunk)
        pinned(min(CORES))
        cost = storage(found, plan, options.rounds, Path(place) / "set")
        pinned(None)
        print(
            f"{name}: {cost.rate:.0f} galaxies/s on one core ({1e3 / cost.rate:.2f} ms each), shards of {chunk}"
        )
        print(
            f"  storage: {100 * cost.overhead:.1f}% of the time of simulating (bare files: {100 * cost.files:.1f}%), "
            f"{cost.size / 1e3:.1f} kB a galaxy"
        )
        workers = [n for n in (1, 2, 4, 8, 16, 32) if n <= len(CORES)]
        grown = scaling(found, chunk, options.rounds, workers, Path(place) / "scaling")
        print("  rate over that of one worker: " + ", ".join(f"{n}: {grown[n]:.2f}" for n in workers))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--chunk", type=int, default=1024, help="galaxies in a shard of photometry; spectra: half"
    )
    parser.add_argument("--sps-home", type=Path, default=None, help="FSPS data directory, for the AGN torus")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to write; default: the temporary folder"
    )
    options = parser.parse_args()
    agn = options.sps_home is not None
    settings = SimulatorConfig(batch=64)
    space = prospector_alpha(agn=agn)
    found = photometry_simulator(settings, space, BANDS, options.sps_home)
    report(f"photometry, {len(BANDS)} bands", found, options.chunk, options)
    config = SimulateConfig.model_validate(
        {
            "name": "benchmark",
            "space": {"agn": agn},
            "simulator": {"batch": 64},
            "spectra": {"low_aa": 1000.0, "high_aa": 300000.0},
            "sets": {"n_train": 1},
        }
    )
    spectra = spectral_simulator(config, options.sps_home)
    pixels = len(spectra.coordinates["edges_aa"]) - 1
    report(f"spectra, {pixels} pixels", spectra, options.chunk // 2, options)


if __name__ == "__main__":
    main()
