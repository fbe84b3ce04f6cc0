"""Which check catches which fault: galaxies like those of `starling quickstart`, each time with something made wrong.

    uv run python benchmarks/faults.py [--galaxies 32] [--faults "zero point" ...]

Mocks as of `starling sbc configs/quickstart.yaml`. For every fault: galaxies that converge; what it does to log M
(mean and rms of the error over its sigma, over those that converge); galaxies that are said to be unexplained
(posterior predictive p < 0.001), unlike what the flow was trained for, or drawn from beyond the emulator's domain;
bands whose mean residual is off over the sample and bands whose errors are said to be too small or too large, as in the
report. The coarse emulators are a network of 16 units per layer that learns from the emulator of the package; "knows"
has its errors in the likelihood, "does not" has `model_error: none`.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from small_emulators import SETTINGS, galaxies, in_the_bands_of_the_quickstart, small_emulator

from starling.amortised import load_proposal, settle, shipped_proposal
from starling.emulators import PhotometryEmulator
from starling.inference import Observation, SamplerSettings, to_datatree
from starling.inference.noise import model_share
from starling.plotting.bands import band_fluxes
from starling.plotting.predictive import band_scatter
from starling.plotting.residuals import band_residuals, sample_galaxies
from starling.validation.replicas import Replicas

WIDTH, ROWS, EPOCHS = 16, 32_768, 40
ZERO_POINT, MISLABELLED, HUNDREDTH = "wfc3_ir_f160w", ("acs_wfc_f606w", "acs_wfc_f814w"), 0.1


class Case(NamedTuple):
    """What is made wrong, and what it is fitted with."""

    name: str
    change: Callable[[Observation], Observation]
    model: PhotometryEmulator
    settings: SamplerSettings = SETTINGS


def cases(model: PhotometryEmulator, small: PhotometryEmulator) -> list[Case]:
    """All faults."""
    column = model.bands.index(ZERO_POINT)
    swapped = list(range(len(model.bands)))
    a, b = (model.bands.index(band) for band in MISLABELLED)
    swapped[a], swapped[b] = b, a
    wave = jnp.asarray(model.wave_effective_aa)

    def power_law(seen: Observation) -> Observation:
        shape = (wave / 1e4) ** 1.0
        noise = jax.random.normal(jax.random.key(3), seen.flux.shape)
        level = jnp.nanmedian(seen.flux, axis=1, keepdims=True)
        flux = level * shape / jnp.median(shape)
        return seen._replace(flux=flux + seen.flux_err * noise)

    def off(seen: Observation) -> Observation:
        return seen._replace(flux=seen.flux.at[:, column].multiply(10.0 ** (0.4 * HUNDREDTH)))

    def another_redshift(seen: Observation) -> Observation:
        zred = seen.fixed["zred"]
        wrong = jnp.where(zred > 1.5, zred - 0.3, zred + 0.3)
        return seen._replace(fixed={**seen.fixed, "zred": wrong})

    def mislabelled(seen: Observation) -> Observation:
        order = np.asarray(swapped)
        return seen._replace(
            flux=seen.flux[:, order], flux_err=seen.flux_err[:, order], mask=seen.mask[:, order]
        )

    blind = replace(SETTINGS, model_error="none")
    return [
        Case("none", lambda seen: seen, model),
        Case("errors 3 times too small", lambda seen: seen._replace(flux_err=seen.flux_err / 3.0), model),
        Case("errors 3 times too large", lambda seen: seen._replace(flux_err=seen.flux_err * 3.0), model),
        Case(f"zero point of {ZERO_POINT} off by {HUNDREDTH} mag", off, model),
        Case(f"{MISLABELLED[0]} and {MISLABELLED[1]} mislabelled", mislabelled, model),
        Case("redshifts wrong by 0.3", another_redshift, model),
        Case("not galaxies: a power law", power_law, model),
        Case("coarse emulator that knows", lambda seen: seen, small),
        Case("coarse emulator that does not", lambda seen: seen, small, blind),
    ]


def run(case: Case, mocks: Replicas) -> str:
    """A line of the table."""
    seen = case.change(mocks.observations)
    archive = load_proposal(shipped_proposal("prospector_alpha"))
    settled = settle(jax.random.key(0), seen, case.model, archive, case.settings)
    ids = [str(i) for i in range(len(mocks.theta))]
    tree = to_datatree(
        settled.draws, seen, case.model, settled.diagnostics, galaxy=ids, settings=case.settings
    )
    about = tree["diagnostics"].to_dataset()
    passed = about["passed"].values
    mass = tree["posterior"]["logmass"].transpose("chain", "draw", "galaxy").values
    mass = mass.reshape(-1, mass.shape[-1])[:, passed]
    true = mocks.theta[passed, case.model.space.index("logmass")]
    pull = (mass.mean(axis=0) - true) / mass.std(axis=0)
    residuals = band_residuals(band_fluxes(tree), sample_galaxies(tree))
    scatter = band_scatter(tree, band_fluxes(tree))
    off = sorted((item for item in residuals if item.off), key=lambda item: -abs(item.significance))
    wrong = [sum(item.verdict == kind for item in scatter) for kind in ("too small", "too large")]
    share = model_share(seen, case.model, case.settings.error_floor)
    named = f" ({', '.join(item.band for item in off[:2])})" if off else ""
    return (
        f"| {case.name} | {passed.sum()} of {len(ids)} | {pull.mean():+.1f}, {np.sqrt(np.mean(pull**2)):.1f} "
        f"| {np.sum(about['unexplained'].values.astype(str) != '')} "
        f"| {np.sum(about['unlike_training'].values.astype(str) != '')} "
        f"| {np.sum(about['outside_domain'].values > 0.01)} | {len(off)}{named} "
        f"| {wrong[0]}, {wrong[1]} | {np.sum(share > 0.5)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, default=32)
    parser.add_argument("--faults", nargs="*", help="only those that have one of these words in their name")
    options = parser.parse_args()
    model = in_the_bands_of_the_quickstart()
    mocks = galaxies(model, options.galaxies)
    wanted = options.faults
    needed = not wanted or any("coarse" in word for word in wanted)
    small = small_emulator(model, WIDTH, rows=ROWS, epochs=EPOCHS) if needed else model
    print(
        "\n| fault | converge | log M: mean, rms pull | unexplained | unlike training | outside the domain | bands off "
        "| bands with errors too small, too large | bands where the model is coarser than the data |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for case in cases(model, small):
        if not wanted or any(word in case.name for word in wanted):
            print(run(case, mocks), flush=True)


if __name__ == "__main__":
    main()
