"""How many galaxies pass with an amortised posterior, and what they cost.

    python benchmarks/amortised.py --galaxies 128 [--flow FILE] [--stages 8:2000 12:8000]

Mocks are drawn from the prior of the default emulator, 0.5 < z < 3, the redshift known unless it is to be free: fluxes
of the emulator, errors with S/N 5 to 50 drawn for every band, between 25 and 45 of the flow's bands. Their likelihood
has no floor beside these errors and the emulator's own. Core-seconds are CPU time of the process and its threads,
compilation apart.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from mocks import FLOOR, mocks

from starling.amortised import (
    Amortised,
    AmortisedSettings,
    Archive,
    LatentChains,
    Stage,
    amortised_posterior,
    load_proposal,
    shipped_proposal,
)
from starling.emulators import PhotometryEmulator, load_default
from starling.inference import Observation, take
from starling.inference.noise import prepare_all


def measure(
    archive: Archive,
    emulator: PhotometryEmulator,
    observations: Observation,
    stages: tuple[Stage, ...],
    seed: int,
    chains: LatentChains | None,
    components: int,
) -> None:
    settings = AmortisedSettings(
        stages=stages, chains=chains, n_components=components, error_floor=FLOOR, batch_size=8
    )

    def run(some: Observation, settings: AmortisedSettings) -> Amortised:
        return amortised_posterior(
            jax.random.key(seed), some, emulator, archive.proposal, archive.trained, settings
        )

    begun = time.perf_counter()
    # nothing is ever worth so many draws: every stage is compiled
    brief = None if chains is None else chains._replace(n_warmup=chains.chunk, patience=1)
    first = take(observations, np.arange(settings.batch_size))
    run(first, replace(settings, ess=1e9, chains=brief))
    # all pass with their first round: what is compiled for so many galaxies
    run(observations, replace(settings, ess=0.0, k_hat=np.inf))
    compiling = time.perf_counter() - begun
    begun, cpu = time.perf_counter(), time.process_time()
    result = run(observations, settings)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    n = len(result.stage)
    passed = int(result.passed.sum())
    efficiency = np.median(result.ess / result.n_drawn)
    by_stage = ", ".join(
        f"{np.mean((result.stage > 0) & (result.stage <= i + 1)):.1%} by stage {i + 1} ({stage.rounds} rounds "
        f"of {stage.draws} draws)"
        for i, stage in enumerate(stages)
    )
    print(f"{n} galaxies, passed: {by_stage}")
    print(
        f"efficiency {efficiency:.1%} (median), k-hat {np.percentile(result.k_hat, [16, 50, 84, 95]).round(2)}"
    )
    print(f"{result.n_drawn.mean():.0f} draws in the last stage of weights (mean)")
    print(f"k-hat below 0.7: {np.mean(result.k_hat < 0.7):.1%}, ESS of 400: {np.mean(result.ess >= 400):.1%}")
    print(
        f"{cpu / n:.3f} core-s and {wall / n:.3f} s per galaxy ({compiling:.0f} s before, for compiling), "
        f"{passed / cpu * 3600:.0f} passing galaxies per core-hour"
    )
    outside = sum(bool(words) for words in result.outside)
    if result.by_chains.any():
        own = result.by_chains
        print(
            f"{own.sum()} galaxies by chains, {(own & result.passed).sum()} pass; worst R-hat "
            f"{np.percentile(result.rhat[own].max(axis=1), [16, 50, 84]).round(3)}, smallest bulk ESS "
            f"{np.percentile(result.ess_bulk[own].min(axis=1), [16, 50, 84]).round()}"
        )
    print(f"{outside} galaxies outside what the flow was trained on")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flow", type=Path, help="default: that of the package")
    parser.add_argument("--free-redshift", action="store_true", help="the redshift is not known")
    parser.add_argument("--galaxies", type=int, default=128)
    parser.add_argument(
        "--stages",
        nargs="+",
        default=[f"{s.rounds}:{s.draws}" for s in AmortisedSettings().stages],
        help="ROUNDS:DRAWS of each",
    )
    parser.add_argument("--no-chains", action="store_true", help="weighted draws alone")
    parser.add_argument("--components", type=int, default=AmortisedSettings().n_components)
    parser.add_argument("--snr", type=float, nargs=2, default=[5.0, 50.0])
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    fixed = () if options.free_redshift else ("zred",)
    archive = load_proposal(options.flow or shipped_proposal("prospector_alpha", fixed))
    emulator = load_default().select(archive.proposal.bands)
    observations, _ = mocks(emulator, options.galaxies, options.seed, tuple(options.snr), fixed)
    error = np.asarray(prepare_all(observations, emulator, FLOOR, "band").error)
    share = np.where(np.asarray(observations.mask), error / np.abs(np.asarray(observations.flux)), np.nan)
    print(f"total error over flux: {np.nanpercentile(share, [5, 50, 95]).round(3)}")
    measure(
        archive,
        emulator,
        observations,
        tuple(Stage(*map(int, text.split(":"))) for text in options.stages),
        options.seed,
        None if options.no_chains else LatentChains(),
        options.components,
    )


if __name__ == "__main__":
    main()
