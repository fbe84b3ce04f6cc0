"""From a configuration and a simulator to an emulator file: simulate what is missing, train, measure, write."""

import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.cosmology import flux_scale
from starling.emulators.config import TrainingConfig
from starling.emulators.features import MASS, REDSHIFT, Features, fit_features
from starling.emulators.files import load_emulator, save_emulator
from starling.emulators.networks import Architecture, weights_of, with_outputs
from starling.emulators.photometry import SPECTRAL_PROPERTIES, PhotometryEmulator
from starling.emulators.statistics import error_statistics
from starling.emulators.training import EpochReport, TrainingData, train_network
from starling.parameters import training_space
from starling.photometry import arsinh_magnitude, load_bands
from starling.simulation import DrawPlan, Progress, SimulatedSet, Simulator, read_set, simulate_set
from starling.simulation.store import identity_hash


class Hooks(NamedTuple):
    """What a caller hears from a run, and how it stops one."""

    say: Callable[[str], None] = lambda _: None
    simulated: Callable[[Progress], None] = lambda _: None
    epoch: Callable[[EpochReport], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False


SILENT = Hooks()


def draw_plans(config: TrainingConfig) -> dict[str, DrawPlan]:
    """The simulated sets of a configuration by name."""
    prior = config.space.build()
    wide = training_space(prior)
    n_prior = round(config.sets.n_train * config.sets.prior_fraction)
    wanted = {
        "train": (wide, config.sets.n_train - n_prior),
        "train_prior": (prior, n_prior),
        "validation": (prior, config.sets.n_validation),
        "test_training": (wide, config.sets.n_test),
        "test_prior": (prior, config.sets.n_test),
    }
    return {
        name: DrawPlan(space, n, 1000 * config.seed + number, config.sets.method, config.sets.chunk)
        for number, (name, (space, n)) in enumerate(wanted.items())
        if n > 0
    }


def simulate_sets(
    config: TrainingConfig,
    simulator: Simulator,
    description: Mapping[str, Any],
    folder: Path,
    *,
    workers: int = 1,
    hooks: Hooks = SILENT,
) -> dict[str, SimulatedSet]:
    """Make the sets of a configuration under ``folder``, or what is missing of them, and read them."""
    sets = {}
    for name, plan in draw_plans(config).items():
        hooks.say(f"set {name}: {plan.n} draws from {plan.space.name}")
        simulate_set(
            simulator,
            plan,
            folder / name,
            description=description,
            workers=workers,
            progress=hooks.simulated,
            should_stop=hooks.should_stop,
        )
        sets[name] = read_set(folder / name, plan.n_chunks)
        if sets[name].n_failed:
            hooks.say(f"set {name}: {sets[name].n_failed} rows are not finite and are left out")
    return sets


def train_emulator(
    config: TrainingConfig,
    sets: Mapping[str, SimulatedSet],
    description: Mapping[str, Any],
    *,
    workdir: Path,
    out: Path,
    resume: bool = True,
    hooks: Hooks = SILENT,
) -> PhotometryEmulator:
    """Train on the sets, measure on the test sets, write ``out``; returns what was written, read back."""
    space = config.space.build()
    training_theta = np.concatenate([s.theta for name, s in sets.items() if name.startswith("train")])
    features = fit_features(config.features.build(), space, jnp.asarray(training_theta))
    train = _data(features, config.softening, *(s for name, s in sets.items() if name.startswith("train")))
    validation = _data(features, config.softening, sets["validation"])
    names = (*config.bands, *SPECTRAL_PROPERTIES)
    shape = Architecture(train.inputs.shape[1], len(names), **config.network.model_dump())
    run = identity_hash(
        {"config": config.model_dump(mode="json", exclude={"name"}), "simulator": dict(description)}
    )
    network = train_network(
        shape,
        train,
        validation,
        config.training,
        seed=config.seed,
        workdir=workdir,
        run_hash=run,
        output_names=names,
        resume=resume,
        report=hooks.epoch,
        should_stop=hooks.should_stop,
    )
    predict = jax.jit(network.__call__)
    accuracy = {}
    for name in ("test_prior", "test_training"):
        data = _data(features, config.softening, sets[name])
        error = np.asarray(predict(data.inputs) - data.targets)
        accuracy[name.removeprefix("test_")] = error_statistics(error, names)
    n_bands = len(config.bands)
    head = weights_of(network)
    emulator = PhotometryEmulator(
        features=features,
        network=with_outputs(network, jnp.arange(n_bands)),
        property_kernel=head["head.kernel"][:, n_bands:],
        property_bias=head["head.bias"][n_bands:],
        sigma_mag=jnp.asarray(accuracy["prior"]["std"][:n_bands], jnp.float32),
        wave_effective_aa=jnp.asarray(
            [band.wave_effective_aa for band in load_bands(config.bands)], jnp.float32
        ),
        space=space,
        bands=config.bands,
        softening=config.softening,
        observed_softening=_observed_softening(config, sets["test_prior"].theta),
    )
    header = {
        "name": config.name,
        "architecture": Architecture(shape.n_inputs, n_bands, **config.network.model_dump()).to_dict(),
        "properties": list(SPECTRAL_PROPERTIES),
        "curve_sha256": [band.sha256 for band in load_bands(config.bands)],
        "accuracy": accuracy,
        "simulator": dict(description),
        "surrogate": bool(description.get("surrogate", False)),
        "n_failed": {name: s.n_failed for name, s in sets.items()},
        "config": config.model_dump(mode="json"),
        "config_sha256": config.sha256(),
        **provenance(),
    }
    save_emulator(out, emulator, header)
    return load_emulator(out)


def provenance() -> dict[str, Any]:
    """When and with what: time, versions, and the commit where the code is a git checkout (else None)."""
    libraries = ("starling-sed", "jax", "flax", "optax", "numpy", "astro-sedpy")
    try:
        where = Path(__file__).parent
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = None
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in libraries},
        "git_commit": commit,
    }


def _data(features: Features, softening: float, *sets: SimulatedSet) -> TrainingData:
    """Inputs and targets of one or more sets, in memory."""
    theta = jnp.asarray(np.concatenate([s.theta for s in sets]))
    inputs = jax.jit(lambda f, rows: jax.lax.map(f, rows, batch_size=8192))(features, theta)
    magnitudes = [np.asarray(arsinh_magnitude(jnp.asarray(s.rest_flux), softening)) for s in sets]
    values = np.concatenate([np.hstack([m, s.properties]) for m, s in zip(magnitudes, sets, strict=True)])
    return TrainingData(inputs, jnp.asarray(values))


def _observed_softening(config: TrainingConfig, theta: Float[np.ndarray, "row param"]) -> float:
    """The softening as an observed flux, for a galaxy more massive and nearer than 99% of the draws."""
    space = config.space.build()
    scale: Array = flux_scale(theta[:, space.index(MASS)], theta[:, space.index(REDSHIFT)])
    return config.softening * float(np.quantile(np.asarray(scale), 0.99))
