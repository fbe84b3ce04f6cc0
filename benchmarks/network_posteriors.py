"""How wide a network has to be for its posteriors (Mathews et al. 2023, figures 11 and 12).

    uv run python benchmarks/network_posteriors.py [--galaxies 32] [--widths 32 64 128 256] [--epochs 36]

Mocks as of `starling sbc configs/quickstart.yaml`, simulated with the emulator of the package, which is the truth here.
Each is fitted with that emulator and with networks of the papers' kind (5 layers from all parameters to magnitudes)
that learned from it; the floor is a second run of the truth and, as in the paper, of the widest network: two runs of
the same posterior. Printed are the discrepancies D (their equation 10) of every run against the truth over all galaxies
and parameters, the rate of catastrophic outliers (D > 3), and how far medians are apart in dex, of 68% of the galaxies;
with the network's own errors in the likelihood, and without.
"""

import argparse
from dataclasses import replace

import jax
import numpy as np
from small_emulators import SETTINGS, galaxies, in_the_bands_of_the_quickstart, small_emulator

from starling.amortised import Settled, load_proposal, settle, shipped_proposal
from starling.emulators import PhotometryEmulator
from starling.inference import SamplerSettings
from starling.validation.discrepancy import CATASTROPHIC, centre, discrepancy
from starling.validation.replicas import Replicas


def fitted(model: PhotometryEmulator, mocks: Replicas, settings: SamplerSettings, seed: int) -> Settled:
    """All galaxies by the stages of a fit."""
    archive = load_proposal(shipped_proposal("prospector_alpha"))
    return settle(jax.random.key(seed), mocks.observations, model, archive, settings)


def draws_of(found: Settled) -> tuple[np.ndarray, tuple[str, ...]]:
    """Draws [draw, galaxy, free parameter]."""
    columns = [found.draws.names.index(name) for name in found.draws.free]
    theta = found.draws.theta[..., columns]
    return theta.reshape(len(theta), -1, len(columns)).swapaxes(0, 1), found.draws.free


def line(name: str, run: Settled, truth: Settled) -> str:
    """Of the table."""
    both = run.diagnostics.passed & truth.diagnostics.passed
    (mine, names), (right, _) = draws_of(run), draws_of(truth)
    d = discrepancy(centre(mine[:, both]), centre(right[:, both]))
    apart = np.abs(np.median(mine[:, both], axis=0) - np.median(right[:, both], axis=0))
    dex = [np.quantile(apart[:, names.index(one)], 0.68) for one in ("logmass", "logzsol")]
    low, middle, high = np.quantile(d, [0.5, 0.84, 0.99])
    passed = f"{run.diagnostics.passed.sum()} of {len(both)}"
    return (
        f"| {name} | {passed} | {low:.3f}, {middle:.3f}, {high:.2f} | {d.max():.1f} "
        f"| {100 * np.mean(d > CATASTROPHIC):.2f}% | {dex[0]:.3f}, {dex[1]:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, default=32)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--rows", type=int, default=131_072)
    parser.add_argument("--epochs", type=int, default=36)
    options = parser.parse_args()
    model = in_the_bands_of_the_quickstart()
    mocks = galaxies(model, options.galaxies)
    truth = fitted(model, mocks, SETTINGS, 0)
    lines = [line("the truth, again", fitted(model, mocks, SETTINGS, 1), truth)]
    print(lines[0], flush=True)
    last = None
    for width in options.widths:
        network = small_emulator(model, width, rows=options.rows, epochs=options.epochs)
        for name, kind in (("its errors known", "band"), ("errors ignored", "none")):
            run = fitted(network, mocks, replace(SETTINGS, model_error=kind), 0)
            lines.append(line(f"{width} units, {name}", run, truth))
            print(lines[-1], flush=True)
            last = (network, run) if kind == "band" else last
    assert last is not None
    again = fitted(last[0], mocks, SETTINGS, 1)
    lines.append(line(f"{options.widths[-1]} units, two runs against each other", again, last[1]))
    print(
        f"\n{options.galaxies} galaxies, 17 free parameters, against the truth\n\n"
        "| run | pass | D: median, 84%, 99% | largest | D > 3 | log M, log Z apart, 68%, dex |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for text in lines:
        print(text)


if __name__ == "__main__":
    main()
