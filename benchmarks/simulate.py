"""Training sets of the exact JAX model: galaxies per second and core, cost of storage, scaling over cores and workers.

    uv run python benchmarks/simulate.py                     # photometry in 25 bands, and spectra of 0.1 to 30 um
    uv run python benchmarks/simulate.py --sps-home DIR      # with the AGN torus

A process of its own, bound to so many cores, makes shards of a set with as many workers, threads or processes (which
have opened the simulator before the clock runs); that with one core also tells storage apart: the simulator is timed,
then everything that ``make_shard`` does beside it (failures, encoding, checksums, files, the record), then bare files
with the same numbers, which is what the disk takes. Figures are medians over rounds; storage and bare files are parts
of the simulator's time of the same round. ``fsps.py`` has the same of FSPS.
"""

import argparse
import json
import os
import subprocess
import sys

if hasattr(os, "sched_setaffinity") and "--cores" in sys.argv:  # before JAX starts its threads
    wanted = int(sys.argv[sys.argv.index("--cores") + 1])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:wanted])

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from starling.cli.shards import open_configured, shard_job
from starling.cli.source import Source
from starling.emulators.simulate_config import SimulateConfig
from starling.execution import Executor, Processes, Threads
from starling.simulation import DrawPlan, draw_chunk, simulate_set
from starling.simulation.generate import make_shard
from starling.simulation.store import open_set, set_identity

BANDS = (
    *("sdss_u0", "sdss_g0", "sdss_r0", "sdss_i0", "sdss_z0", "twomass_J", "twomass_H", "twomass_Ks"),
    *("acs_wfc_f435w", "acs_wfc_f606w", "acs_wfc_f775w", "acs_wfc_f814w", "acs_wfc_f850lp"),
    *("wfc3_ir_f105w", "wfc3_ir_f125w", "wfc3_ir_f140w", "wfc3_ir_f160w"),
    *("spitzer_irac_ch1", "spitzer_irac_ch2", "spitzer_irac_ch3", "spitzer_irac_ch4", "spitzer_mips_24"),
    *("galex_FUV", "galex_NUV", "jwst_f200w"),
)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def bare_files(outputs: Mapping[str, np.ndarray], folder: Path) -> None:
    folder.mkdir()
    for name, array in outputs.items():
        (folder / name).write_bytes(np.ascontiguousarray(array, np.float32).data)


def storage(found: Source, chunk: int, rounds: int, place: Path) -> dict[str, float]:
    """Milliseconds per galaxy without storage; storage, and bare files, over that time; bytes per galaxy."""
    plan, folder = DrawPlan(found.exact.space, rounds * chunk, 1, chunk=chunk), place / "set"
    open_set(folder, set_identity(plan, found.description, found.coordinates), plan.n, found.coordinates)
    alone, stored, files = [], [], []
    for index in range(rounds):
        drawing = seconds(lambda index=index: draw_chunk(plan, index))
        theta = draw_chunk(plan, index)
        start = time.perf_counter()
        outputs = found.simulate(theta)
        alone.append(time.perf_counter() - start)
        made = seconds(
            lambda index=index, outputs=outputs: make_shard(lambda _: outputs, plan, folder, index)
        )
        stored.append(made - drawing)
        files.append(
            seconds(lambda index=index, outputs=outputs: bare_files(outputs, place / f"bare-{index}"))
        )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    over = {
        name: float(np.median(np.array(took) / alone))
        for name, took in (("storage", stored), ("bare", files))
    }
    return over | {"ms": 1e3 * float(np.median(alone)) / chunk, "bytes": size / (rounds * chunk)}


def rate(
    found: Source, executor: Executor, config: SimulateConfig, place: Path, sps_home: Path | None
) -> float:
    """Galaxies per second of whole calls in which every worker makes two shards."""
    plans = config.plans(lambda _: {})
    job = shard_job(config, place, place, sps_home)
    took = [
        seconds(
            lambda name=name, plan=plan: simulate_set(
                found.simulate,
                plan,
                place / name,
                description=found.description,
                coordinates=found.coordinates,
                executor=executor,
                job=job.named(name) if isinstance(executor, Processes) else None,
            )
        )
        for name, plan in plans.items()
    ]
    return plans["0"].n / float(np.median(took[1:]))  # the first one opens


def configurations(options: argparse.Namespace) -> dict[str, SimulateConfig]:
    """Photometry and spectra, by what they are called; sets of two shards per worker, one of them to begin with."""
    found = {}
    for number, (name, wanted) in enumerate(
        {
            f"photometry, {len(BANDS)} bands": {"bands": BANDS},
            "spectra": {"spectra": {"low_aa": 1000.0, "high_aa": 300000.0}},
        }.items()
    ):
        chunk = options.chunk // (1 + number)
        draws = {
            str(index): {"n": 2 * max(1, options.cores) * chunk, "seed": 10 + index, "chunk": chunk}
            for index in range(options.rounds + 1)
        }
        shared = {"space": {"agn": options.sps_home is not None}, "simulator": {"batch": 64}, "draws": draws}
        found[name] = SimulateConfig.model_validate({"name": "benchmark", **wanted, **shared})
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """What one process finds, by the name of the simulator."""
    results = {}
    for name, config in configurations(options).items():
        chunk = config.draws["0"].chunk
        with (
            open_configured(config, options.sps_home, options.cores) as found,
            tempfile.TemporaryDirectory(dir=options.folder) as folder,
            Processes(options.cores) as processes,
        ):
            place = Path(folder)
            found.simulate(draw_chunk(DrawPlan(found.exact.space, chunk, 1, chunk=chunk), 0))  # compiles
            cost = storage(found, chunk, options.rounds, place) if options.cores == 1 else {}
            kinds: dict[str, Executor] = {"threads": Threads(options.cores), "processes": processes}
            results[name] = cost | {
                kind: rate(found, executor, config, place / kind, options.sps_home)
                for kind, executor in kinds.items()
            }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--chunk", type=int, default=1024, help="galaxies in a shard of photometry; spectra: half"
    )
    parser.add_argument("--sps-home", type=Path, default=None, help="FSPS data directory, for the AGN torus")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to write; default: the temporary folder"
    )
    parser.add_argument("--cores", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cores:
        print(json.dumps(measure(options)))
        return
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = {}
    for cores in (n for n in (1, 2, 4, 8, 16, 32) if n <= available):
        command = [sys.executable, *sys.argv, "--cores", str(cores)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[cores] = json.loads(said.splitlines()[-1])
    for name, one in found[1].items():
        print(f"{name}: {1e3 / one['ms']:.0f} galaxies/s on one core ({one['ms']:.2f} ms each)")
        print(
            f"  storage: {100 * one['storage']:.1f}% of the time of simulating (bare files: {100 * one['bare']:.1f}%), "
            f"{one['bytes'] / 1e3:.1f} kB a galaxy"
        )
        for kind in ("threads", "processes"):
            grown = ", ".join(
                f"{cores}: {result[name][kind] / one['threads']:.2f}" for cores, result in found.items()
            )
            print(f"  rate with as many {kind} as cores over that with one thread: {grown}")


if __name__ == "__main__":
    main()
