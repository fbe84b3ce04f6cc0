"""From a configuration and a simulator to an emulator file: simulate what is missing, train, measure, write."""

import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.components import SPECTRAL_PROPERTIES
from starling.cosmology import flux_scale
from starling.emulators.branch import Branch
from starling.emulators.config import DirectConfig, TrainingConfig
from starling.emulators.direct import (
    ROLE,
    DirectCore,
    DirectRows,
    DirectTask,
    direct_core,
    direct_rows,
    direct_task,
)
from starling.emulators.domains import train_stitched
from starling.emulators.features import MASS, REDSHIFT, fit_features
from starling.emulators.files import load_emulator, save_emulator
from starling.emulators.mixture import (
    MixtureCore,
    MixtureRows,
    MixtureTask,
    mixture_core,
    mixture_rows,
    mixture_task,
)
from starling.emulators.networks import Network
from starling.emulators.photometry import PhotometryEmulator
from starling.emulators.statistics import error_statistics
from starling.emulators.stitched import StitchedCore
from starling.emulators.targets import Totals, totals
from starling.emulators.training import EpochReport, train_model
from starling.lines import LineLight, line_light
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
    """Train on the sets, measure on the test sets, write ``out``; returns what was written, read back.

    With ``config.stitch`` every domain is trained on the galaxies of the sets that lie in it, in a folder of its own,
    and what is measured and written is all of them, stitched.
    """
    space, n_bands = config.space.build(), len(config.bands)
    light = _line_light(config, description)
    names = (*config.bands, *SPECTRAL_PROPERTIES)
    train_one = partial(_train_core, description=description, resume=resume, hooks=hooks)
    core: DirectCore | MixtureCore | StitchedCore
    if config.stitch is None:
        core = train_one(config, sets, workdir=workdir)
    else:
        core = train_stitched(config, sets, light, workdir, train_one, hooks.say)
    accuracy = {
        name: error_statistics(
            _errors(core, totals(space, config.softening, light, sets[f"test_{name}"])), names
        )
        for name in ("prior", "training")
    }
    bands = load_bands(config.bands)
    emulator = PhotometryEmulator(
        core=core,
        sigma_mag=jnp.asarray(accuracy["prior"]["std"][:n_bands], jnp.float32),
        wave_effective_aa=jnp.asarray([band.wave_effective_aa for band in bands], jnp.float32),
        space=space,
        bands=config.bands,
        softening=config.softening,
        observed_softening=_observed_softening(config, sets["test_prior"].theta),
    )
    header = {
        "name": config.name,
        "properties": list(SPECTRAL_PROPERTIES),
        "curve_sha256": [band.sha256 for band in bands],
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


def _train_core(
    config: TrainingConfig,
    sets: Mapping[str, SimulatedSet],
    *,
    description: Mapping[str, Any],
    workdir: Path,
    resume: bool,
    hooks: Hooks,
) -> DirectCore | MixtureCore:
    """Train the networks of one redshift range."""
    light = _line_light(config, description)
    names = (*config.bands, *SPECTRAL_PROPERTIES)
    run = identity_hash(
        {"config": config.model_dump(mode="json", exclude={"name"}), "simulator": dict(description)}
    )
    prepared = _prepare(config, sets, light)
    model = train_model(
        prepared.task,
        prepared.train,
        prepared.validation,
        config.training,
        seed=config.seed,
        workdir=workdir,
        run_hash=run,
        output_names=(*names, *(f"line at {wave:.0f} A" for wave in light.wave_aa)),
        resume=resume,
        report=hooks.epoch,
        should_stop=hooks.should_stop,
    )
    return prepared.core(model)


def _line_light(config: TrainingConfig, description: Mapping[str, Any]) -> LineLight:
    """The lines of a simulator in the bands of a configuration."""
    waves = np.asarray(description.get("line_wave_aa", []), float)
    return line_light(waves, load_bands(config.bands), config.space.zred[1])


class _Prepared(NamedTuple):
    """A task with its data, and what makes the core of an emulator of the model that it trains."""

    task: DirectTask | MixtureTask
    train: DirectRows | MixtureRows
    validation: DirectRows | MixtureRows
    core: Callable[[Any], DirectCore | MixtureCore]


def _prepare(config: TrainingConfig, sets: Mapping[str, SimulatedSet], light: LineLight) -> _Prepared:
    """Features, data and task of a configuration."""
    space, softening = config.space.build(), config.softening
    parts = config.network.networks()
    train = [simulated for name, simulated in sets.items() if name.startswith("train")]
    theta = jnp.asarray(np.concatenate([simulated.theta for simulated in train]))
    features = {role: fit_features(part.features.build(), space, theta) for role, part in parts.items()}
    if isinstance(config.network, DirectConfig):
        (inputs,) = features.values()
        rows, held_out = (
            direct_rows(inputs, *(totals(space, softening, light, s) for s in group))
            for group in (train, [sets["validation"]])
        )
        shape = config.network.shape(rows.inputs.shape[1], rows.targets.shape[1])
        direct = direct_task(shape, rows)
        return _Prepared(
            direct,
            rows,
            held_out,
            lambda model: direct_core({ROLE: Branch(inputs, direct.finish(model))}, softening),
        )
    mixed, mixed_out = (
        mixture_rows(features, light, space, softening, *group) for group in (train, [sets["validation"]])
    )
    shapes = {
        role: part.shape(mixed.inputs[role].shape[1], mixed.targets[role].shape[1])
        for role, part in parts.items()
    }
    mixture = mixture_task(shapes, mixed, space, softening, config.network.term_weight)

    def core(model: dict[str, Network]) -> MixtureCore:
        finished = mixture.finish(model)
        return mixture_core({role: Branch(features[role], finished[role]) for role in finished}, light, space)

    return _Prepared(mixture, mixed, mixed_out, core)


def _errors(core: DirectCore | MixtureCore | StitchedCore, exact: Totals) -> Float[np.ndarray, "row output"]:
    """Emulated minus exact magnitudes and properties."""

    @jax.jit
    def predict(core: DirectCore | MixtureCore | StitchedCore, theta: Array) -> tuple[Array, Array]:
        return jax.lax.map(lambda t: (core.rest_flux(t), core.spectral_properties(t)), theta, batch_size=2048)

    flux, properties = predict(core, exact.theta)
    magnitudes = arsinh_magnitude(flux, exact.softening)
    return np.hstack([magnitudes - exact.magnitudes, properties - exact.properties])


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


def _observed_softening(config: TrainingConfig, theta: Float[np.ndarray, "row param"]) -> float:
    """The softening as an observed flux, for a galaxy more massive and nearer than 99% of the draws."""
    space = config.space.build()
    scale: Array = flux_scale(theta[:, space.index(MASS)], theta[:, space.index(REDSHIFT)])
    return config.softening * float(np.quantile(np.asarray(scale), 0.99))
