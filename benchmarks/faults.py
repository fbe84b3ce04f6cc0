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
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import Table

from starling.amortised import load_proposal, settle, shipped_proposal
from starling.catalogues import load_catalogue, parse_config
from starling.cli.fits import bounds_of
from starling.cli.quickstart import quickstart_config
from starling.cli.simulator import make_simulator
from starling.emulators import PhotometryEmulator, load_default
from starling.emulators.branch import Branch
from starling.emulators.config import OptimizerConfig
from starling.emulators.direct import ROLE, direct_core, direct_rows, direct_task
from starling.emulators.features import FeatureRecipe, fit_features
from starling.emulators.networks import Architecture
from starling.emulators.training import train_model
from starling.inference import Observation, SamplerSettings, to_datatree
from starling.inference.noise import model_share
from starling.lines import line_light
from starling.photometry import load_bands
from starling.plotting.bands import band_fluxes
from starling.plotting.predictive import band_scatter
from starling.plotting.residuals import band_residuals, sample_galaxies
from starling.simulation import DrawPlan, draw_chunk
from starling.spaces import training_space
from starling.validation.replicas import Replicas, draw_replicas

WIDTH, DEPTH, ROWS, EPOCHS, CHUNK = 16, 5, 32_768, 40, 4096
SOFTENING = 10.0 ** (-0.4 * 18.0)
SETTINGS = SamplerSettings(error_floor=0.0)
ZERO_POINT, MISLABELLED, HUNDREDTH = "wfc3_ir_f160w", ("acs_wfc_f606w", "acs_wfc_f814w"), 0.1


class Case(NamedTuple):
    """What is made wrong, and what it is fitted with."""

    name: str
    change: Callable[[Observation], Observation]
    model: PhotometryEmulator
    settings: SamplerSettings = SETTINGS


def galaxies(model: PhotometryEmulator, n: int) -> Replicas:
    """Mocks like the galaxies of the quickstart."""
    with resources.as_file(resources.files("starling") / "data" / "quickstart.ecsv") as path:
        table = Table.read(path, format="ascii.ecsv")
        config = parse_config(quickstart_config(table, None), path.name)
        catalogue = load_catalogue(
            config, available_bands=model.bands, bounds=bounds_of(model), table=path, model="the emulator"
        )
    return draw_replicas(1, n, catalogue.observations, model, SETTINGS)


def coarse(model: PhotometryEmulator) -> PhotometryEmulator:
    """One small network from parameters to magnitudes, with the errors that it has on draws of the prior."""
    simulate = make_simulator(model, 64, components=False)  # type: ignore[arg-type]

    def rows_of(space, n: int, seed: int, features=None):
        plan = DrawPlan(space, n, seed, chunk=CHUNK)
        theta = jnp.asarray(np.concatenate([draw_chunk(plan, i) for i in range(plan.n_chunks)]))
        outputs = {name: jnp.asarray(values) for name, values in simulate(np.asarray(theta)).items()}
        features = features or fit_features(FeatureRecipe(log_bin_masses=False), model.space, theta)
        light = line_light(np.zeros(0), load_bands(model.bands), 3.0)  # fluxes are whole, with their lines
        return features, direct_rows(features, light, model.space, SOFTENING, theta, outputs)

    features, rows = rows_of(training_space(model.space), ROWS, 1)
    _, held_out = rows_of(model.space, CHUNK, 2, features)
    shape = Architecture(features.shift.size, rows.targets.shape[1], WIDTH, DEPTH)
    task = direct_task(shape, rows)
    how = {"optimizer": "nadam", "learning_rate": 2e-3, "stages": [{"epochs": EPOCHS, "batch_size": 256}]}
    names = [*model.bands, "mass", "u-v", "v-j", "lir"]
    with tempfile.TemporaryDirectory() as folder:
        settings = OptimizerConfig.model_validate(how | {"checkpoint_minutes": 1000.0})
        found = train_model(
            task, rows, held_out, settings, seed=1, workdir=Path(folder), run_hash="", output_names=names
        )
    error = np.asarray(task.error(found, held_out))[:, : len(model.bands)]
    sigma = np.std(error, axis=0)
    print(f"coarse emulator: sigma {np.median(sigma):.3f} mag in the median band", flush=True)
    wave = [band.wave_effective_aa for band in load_bands(model.bands)]
    return PhotometryEmulator(
        direct_core({ROLE: Branch(features, task.finish(found))}, SOFTENING),
        jnp.asarray(sigma, jnp.float32),
        jnp.asarray(wave, jnp.float32),
        model.space,
        model.bands,
        SOFTENING,
        model.observed_softening,
    )


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
    whole = load_default()
    with resources.as_file(resources.files("starling") / "data" / "quickstart.ecsv") as path:
        names = Table.read(path, format="ascii.ecsv").colnames
    model = whole.select([name.removeprefix("flux_") for name in names if name.startswith("flux_")])
    mocks = galaxies(model, options.galaxies)
    wanted = options.faults
    needed = not wanted or any("coarse" in word for word in wanted)
    small = coarse(model) if needed else model
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
