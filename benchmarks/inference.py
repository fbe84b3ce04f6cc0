"""Engines of posteriors side by side: what passes, what it costs, and dynesty for the same galaxies.

    uv run python benchmarks/inference.py [--engines hmc latent amortised dynesty] [--galaxies 32] [--nested 1]

Mocks as in benchmarks/amortised.py: draws from the prior of the default emulator, 0.5 < z < 3, the redshift known, 25
to 45 bands, S/N 5 to 50, no floor. Chains are those of ``starling.inference.fit`` with its defaults, but for the
kernel. ``latent`` are chains in the flow's coordinates for every galaxy, whatever its weights are worth; ``amortised``
is the whole way of ``starling.amortised.settle``. A galaxy passes with R-hat below 1.01, bulk and tail ESS of 400 in
every parameter and under 1% divergences (chains), or as its weights say. dynesty runs point by point (rslice, 500 live
points, its own code and number of slices) on the first ``--nested`` galaxies.

Core-seconds are CPU time of the process and its threads, compilation apart. ESS is that of the worst parameter, bulk or
tail: in the median galaxy per 1000 gradients after the warm-up, and of all galaxies together per core-second.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from mocks import FLOOR, mocks

from starling.amortised import (
    Amortised,
    AmortisedSettings,
    LatentChains,
    Settled,
    Stage,
    amortised_posterior,
    load_proposal,
    settle,
    shipped_proposal,
)
from starling.emulators import PhotometryEmulator, load_default
from starling.inference import Observation, SamplerSettings, fit, take
from starling.inference.convergence import Thresholds, converged, convergence
from starling.inference.fit import Draws, Progress
from starling.inference.kernels import KERNELS
from starling.inference.nested import NestedSettings
from starling.inference.nested.sample import sample_galaxy
from starling.validation.discrepancy import CATASTROPHIC, Centre, centre, discrepancy, summarise_discrepancy

SNR = (5.0, 50.0)
TOGETHER = 8  # galaxies whose chains in the flow's coordinates run side by side


class Row(NamedTuple):
    """One engine's line; per galaxy, core-seconds for all of them."""

    engine: str
    passed: np.ndarray
    core_s: float
    compile_s: float
    ess: np.ndarray
    gradients: np.ndarray  # NaN where none are taken
    note: str = ""
    draws: Draws | None = None


def shown(progress: Progress) -> None:
    """A line that follows the run."""
    print(f"\r{progress.stage:12s} {100 * progress.fraction:5.1f}% ", end="", flush=True)


def judged(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Whether each galaxy's chains have converged, and the ESS of the worst parameter."""
    columns = [draws.names.index(name) for name in draws.free]
    theta = np.moveaxis(draws.theta[..., columns], 0, 2)
    every = np.asarray(draws.every) if draws.every else 1
    good = converged(theta, np.moveaxis(draws.diverging, 0, 2), Thresholds(), every=every).good
    _, bulk, tail = convergence(theta)
    return good, np.nanmin(np.minimum(bulk, tail), axis=1)


def chains(
    kernel: str, emulator: PhotometryEmulator, observations: Observation, seed: int, changed: dict[str, float]
) -> Row:
    """``fit`` with a kernel."""
    settings = replace(SamplerSettings(), kernel=kernel, error_floor=FLOOR, **changed)  # type: ignore[arg-type]
    brief = replace(settings, n_warmup=2 * settings.chunk, n_draws=settings.chunk, patience=1, mean_steps=1.0)
    first = take(observations, np.arange(min(settings.together, len(observations.flux))))
    compiling, _ = timed(lambda: fit(jax.random.key(seed), first, emulator, settings=brief))
    core_s, draws = timed(
        lambda: fit(jax.random.key(seed), observations, emulator, settings=settings, progress=shown)
    )
    good, ess = judged(draws)
    gradients = draws.n_steps.sum(axis=(1, 2)).astype(float)
    rounds = gradients / np.median(gradients[gradients <= np.median(gradients)])
    note = (
        f"divergences {draws.share_diverging.mean():.2%}, gradients of a galaxy after the warm-up "
        f"{np.percentile(gradients, [16, 50, 84]).round(-3)}, longest {rounds.max():.0f} times the usual"
    )
    return Row(kernel, good, core_s, compiling, ess, gradients, note, draws)


def latent(emulator: PhotometryEmulator, observations: Observation, seed: int) -> Row:
    """Chains in the coordinates of a proposal that a few draws of the flow were enough to adapt."""
    archive = load_proposal(shipped_proposal("prospector_alpha"))
    # no k-hat is below minus infinity: no galaxy passes by its weights
    settings = AmortisedSettings(
        stages=(Stage(4, 2000),),
        # as patient as plain chains are
        chains=LatentChains(patience=SamplerSettings().patience),
        k_hat=-np.inf,
        error_floor=FLOOR,
        batch_size=TOGETHER,
    )

    def run(some: Observation, settings: AmortisedSettings) -> Amortised:
        return amortised_posterior(
            jax.random.key(seed), some, emulator, archive.proposal, archive.trained, settings
        )

    assert settings.chains is not None
    brief = replace(settings, chains=settings.chains._replace(n_warmup=settings.chains.chunk, patience=1))
    first = take(observations, np.arange(min(TOGETHER, len(observations.flux))))
    compiling, _ = timed(lambda: run(first, brief))
    core_s, found = timed(lambda: run(observations, settings))
    ess = np.minimum(found.ess_bulk, found.ess_tail).min(axis=1)
    gradients = found.draws.n_steps.sum(axis=(1, 2)).astype(float)
    rhat = np.percentile(found.rhat.max(axis=1), [16, 50, 84]).round(4)
    note = f"{found.divergences.sum()} divergences, largest R-hat {rhat}"
    return Row("latent", found.passed, core_s, compiling, ess, gradients, note, found.draws)


def amortised(emulator: PhotometryEmulator, observations: Observation, seed: int) -> Row:
    """The flow's draws, chains in its coordinates, plain chains."""
    archive = load_proposal(shipped_proposal("prospector_alpha"))
    sampler = replace(SamplerSettings(), error_floor=FLOOR)
    first = take(observations, np.arange(min(4, len(observations.flux))))

    def run(some: Observation, settings: AmortisedSettings | None = None) -> Settled:
        return settle(jax.random.key(seed), some, emulator, archive, sampler, settings)

    # nothing is ever worth so many draws: every stage is compiled
    compiling, _ = timed(lambda: run(first, AmortisedSettings(ess=1e9)))
    core_s, found = timed(lambda: run(observations))
    stages = found.diagnostics.weights.stage
    passed = np.asarray([stage != "unsettled" for stage in stages])
    ess = np.minimum(found.diagnostics.ess_bulk, found.diagnostics.ess_tail).min(axis=1)
    counted = ", ".join(
        f"{count / len(stages):.1%} {stage}" for stage, count in Counter(stages).most_common()
    )
    none = np.full(len(stages), np.nan)
    return Row("amortised", passed, core_s, compiling, ess, none, counted, found.draws)


def apart(a: Row, b: Row) -> str:
    """The discrepancies of two engines for the galaxies that both settle."""
    assert a.draws is not None
    assert b.draws is not None
    both = a.passed & b.passed
    if not both.any():
        return f"{a.engine} against {b.engine}: no galaxy that both settle"
    columns = [a.draws.names.index(name) for name in a.draws.free]

    def centres(draws: Draws) -> Centre:
        kept = draws.theta[both][..., columns]
        return centre(kept.reshape(len(kept), -1, len(columns)).swapaxes(0, 1))

    found = summarise_discrepancy(discrepancy(centres(a.draws), centres(b.draws)).ravel())
    return (
        f"{a.engine} against {b.engine}, {both.sum()} galaxies that both settle: D {found.median:.3f} in the median, "
        f"{found.upper:.3f} at 84%, at most {found.largest:.2f}; {found.outliers} above {CATASTROPHIC:g}"
    )


def dynesty(emulator: PhotometryEmulator, observations: Observation, seed: int, n: int) -> Row:
    """Point by point, as anyone would run it."""
    settings = NestedSettings(n_live=500, slices=1, lanes=1, error_floor=FLOOR)
    brief = replace(settings, max_calls=600)
    compiling, _ = timed(lambda: sample_galaxy(take(observations, 0), emulator, brief, seed))
    core_s, ess, calls = 0.0, [], 0
    for i in range(n):
        spent, record = timed(lambda i=i: sample_galaxy(take(observations, i), emulator, settings, seed))
        core_s += spent
        weights = np.exp(record.log_weight - record.log_weight.max())
        ess.append(weights.sum() ** 2 / np.sum(weights**2))
        calls += record.n_calls
    note = f"{calls / n:.3g} likelihood calls per galaxy; whether it is right takes two runs that agree"
    return Row("dynesty", np.ones(n, bool), core_s, compiling, np.asarray(ess), np.full(n, np.nan), note)


def timed[T](function: Callable[[], T]) -> tuple[float, T]:
    """Core-seconds and what comes of it."""
    begun = time.process_time()
    result = function()
    return time.process_time() - begun, result


def line(row: Row, nested_s: float | None) -> str:
    """Of the table."""
    n, passed = len(row.passed), int(row.passed.sum())
    per_passed = row.core_s / passed if passed else np.inf
    per_gradient = np.median(1000.0 * row.ess / row.gradients)
    return (
        f"| {row.engine} | {passed} of {n} ({passed / n:.0%}) | {row.core_s / n:.2f} | {per_passed:.2f} "
        f"| {3600.0 / per_passed:.0f} | {row.ess.sum() / row.core_s:.1f} | {per_gradient:.2f} "
        f"| {row.compile_s:.0f} | {'' if nested_s is None else f'{nested_s / per_passed:.0f}'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    engines = (*KERNELS, "latent", "amortised", "dynesty")
    parser.add_argument("--engines", nargs="+", choices=engines, default=engines)
    parser.add_argument("--galaxies", type=int, default=32)
    parser.add_argument("--nested", type=int, default=1, help="galaxies for dynesty")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", help="of SamplerSettings")
    options = parser.parse_args()
    proposal = load_proposal(shipped_proposal("prospector_alpha")).proposal
    emulator = load_default().select(proposal.bands)
    observations, _ = mocks(emulator, options.galaxies, options.seed, SNR)
    changed = {name: float(value) for name, value in (text.split("=") for text in options.set)}
    changed = {
        name: int(v) if name not in ("mean_steps", "target_accept") else v for name, v in changed.items()
    }
    rows = []
    for engine in options.engines:
        if engine == "amortised":
            rows.append(amortised(emulator, observations, options.seed))
        elif engine == "latent":
            rows.append(latent(emulator, observations, options.seed))
        elif engine == "dynesty":
            rows.append(dynesty(emulator, observations, options.seed, options.nested))
        else:
            rows.append(chains(engine, emulator, observations, options.seed, changed))
        print(f"\r{line(rows[-1], None)}\n  {rows[-1].note}", flush=True)
    nested = next((row.core_s / len(row.passed) for row in rows if row.engine == "dynesty"), None)
    print(
        "\n| engine | pass | core-s per galaxy | core-s per passing galaxy | passing galaxies per core-hour "
        "| ESS per core-s | ESS per 1000 gradients | compiling, core-s | dynesty's core-s over it |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for row in rows:
        print(line(row, nested))
    drawn = [row for row in rows if row.draws is not None]
    for i, first in enumerate(drawn):
        for second in drawn[i + 1 :]:
            print(apart(first, second))


if __name__ == "__main__":
    main()
