"""Small emulators that learn from the emulator of the package, and galaxies like those of the quickstart."""

import tempfile
from importlib import resources
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from astropy.table import Table

from starling.catalogues import load_catalogue, parse_config
from starling.cli.fits import bounds_of
from starling.cli.quickstart import quickstart_config
from starling.cli.simulator import make_simulator
from starling.emulators import PhotometryEmulator, load_default
from starling.emulators.branch import Branch
from starling.emulators.config import OptimizerConfig
from starling.emulators.direct import ROLE, DirectRows, direct_core, direct_rows, direct_task
from starling.emulators.features import FeatureRecipe, Features, fit_features
from starling.emulators.networks import Architecture
from starling.emulators.training import train_model
from starling.inference import SamplerSettings
from starling.lines import line_light
from starling.photometry import load_bands
from starling.simulation import DrawPlan, draw_chunk
from starling.spaces import training_space
from starling.validation.replicas import Replicas, draw_replicas

DEPTH, CHUNK, HELD_OUT = 5, 4096, 8192
SOFTENING = 10.0 ** (-0.4 * 18.0)
SETTINGS = SamplerSettings(error_floor=0.0)


def in_the_bands_of_the_quickstart() -> PhotometryEmulator:
    """The emulator of the package."""
    with resources.as_file(resources.files("starling") / "data" / "quickstart.ecsv") as path:
        names = Table.read(path, format="ascii.ecsv").colnames
    return load_default().select([name.removeprefix("flux_") for name in names if name.startswith("flux_")])


def galaxies(model: PhotometryEmulator, n: int) -> Replicas:
    """Mocks like the galaxies of the quickstart."""
    with resources.as_file(resources.files("starling") / "data" / "quickstart.ecsv") as path:
        table = Table.read(path, format="ascii.ecsv")
        config = parse_config(quickstart_config(table, None), path.name)
        catalogue = load_catalogue(
            config, available_bands=model.bands, bounds=bounds_of(model), table=path, model="the emulator"
        )
    return draw_replicas(1, n, catalogue.observations, model, SETTINGS)


def rows_of(
    model: PhotometryEmulator, n: int, seed: int, features: Features | None = None
) -> tuple[Features, DirectRows]:
    """Inputs and targets from ``model``: of held-out draws from the prior where ``features`` are given."""
    simulate = make_simulator(model, 64, components=False)  # type: ignore[arg-type]
    space = training_space(model.space) if features is None else model.space
    plan = DrawPlan(space, n, seed, chunk=CHUNK)
    theta = jnp.asarray(np.concatenate([draw_chunk(plan, i) for i in range(plan.n_chunks)]))
    outputs = {name: jnp.asarray(values) for name, values in simulate(np.asarray(theta)).items()}
    features = features or fit_features(FeatureRecipe(log_bin_masses=False), model.space, theta)
    light = line_light(np.zeros(0), load_bands(model.bands), 3.0)  # fluxes are whole, with their lines
    return features, direct_rows(features, light, model.space, SOFTENING, theta, outputs)


def small_emulator(
    model: PhotometryEmulator, width: int, *, rows: int, epochs: int, seed: int = 1
) -> PhotometryEmulator:
    """One network of 5 layers from parameters to magnitudes, with the errors that it has on draws of the prior."""
    features, train = rows_of(model, rows, 1)
    _, held_out = rows_of(model, HELD_OUT, 2, features)
    task = direct_task(Architecture(features.shift.size, train.targets.shape[1], width, DEPTH), train)
    how = {"optimizer": "nadam", "learning_rate": 2e-3, "stages": [{"epochs": epochs, "batch_size": 256}]}
    names = [*model.bands, "mass", "u-v", "v-j", "lir"]
    with tempfile.TemporaryDirectory() as folder:
        settings = OptimizerConfig.model_validate(how | {"checkpoint_minutes": 1000.0})
        found = train_model(
            task, train, held_out, settings, seed=seed, workdir=Path(folder), run_hash="", output_names=names
        )
    error = np.asarray(task.error(found, held_out))[:, : len(model.bands)]
    sigma = np.std(error, axis=0)
    print(f"{width} units: sigma {np.median(sigma):.4f} mag in the median band", flush=True)
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
