"""From a configuration and a simulator to an emulator file: simulate, train, measure, calibrate, write."""

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.components import SPECTRAL_PROPERTIES
from starling.cosmology import flux_scale
from starling.emulators.calibrate import NEEDED, calibrate
from starling.emulators.config import SetsConfig, TrainingConfig
from starling.emulators.direct import DirectCore
from starling.emulators.errors import Residuals
from starling.emulators.features import MASS, REDSHIFT
from starling.emulators.files import load_emulator, save_emulator
from starling.emulators.fresh import FreshRows
from starling.emulators.mixture import MixtureCore
from starling.emulators.photometry import PhotometryEmulator
from starling.emulators.prepare import Prepared, prepare
from starling.emulators.proposals import Proposal
from starling.emulators.provenance import describe_training_set, draws_of, provenance
from starling.emulators.rows import FixedRows, RowSource
from starling.emulators.schedule import n_epochs
from starling.emulators.statistics import error_statistics
from starling.emulators.stitched import StitchedCore
from starling.emulators.stitching import train_stitched
from starling.emulators.targets import Totals, totals
from starling.emulators.training import EpochReport, predict_errors, train_model
from starling.execution import Executor, Job
from starling.lines import LineLight, line_light
from starling.parameters import ParameterSpace
from starling.photometry import arsinh_magnitude, load_bands
from starling.simulation import DrawPlan, Plan, Progress, SimulatedSet, Simulator, read_set, simulate_set
from starling.simulation.store import FAILED, identity_hash
from starling.spaces import training_space


class Hooks(NamedTuple):
    """What a caller hears from a run, and how it stops one."""

    say: Callable[[str], None] = lambda _: None
    simulated: Callable[[Progress], None] = lambda _: None
    epoch: Callable[[EpochReport], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False


SILENT = Hooks()
FRESH = "fresh"  # folder of the galaxies that are drawn as the training goes


def plans_of(space: ParameterSpace, sets: SetsConfig, seed: int) -> dict[str, DrawPlan]:
    """The simulated sets that are asked for, by name."""
    wide = training_space(space)
    n_prior = round(sets.n_train * sets.prior_fraction)
    wanted = {
        "train": (wide, sets.n_train - n_prior),
        "train_prior": (space, n_prior),
        "validation": (space, sets.n_validation),
        "test_training": (wide, sets.n_test),
        "test_prior": (space, sets.n_test),
    }
    return {
        name: DrawPlan(where, n, 1000 * seed + number, sets.method, sets.chunk)
        for number, (name, (where, n)) in enumerate(wanted.items())
        if n > 0
    }


def draw_plans(config: TrainingConfig) -> dict[str, DrawPlan]:
    """The simulated sets of a configuration by name."""
    return plans_of(config.space.build(), config.sets, config.seed)


def simulate_sets(
    config: TrainingConfig,
    simulator: Simulator,
    description: Mapping[str, Any],
    folder: Path,
    *,
    executor: Executor | None = None,
    hooks: Hooks = SILENT,
) -> dict[str, SimulatedSet]:
    """Make the sets of a configuration under ``folder``, or what is missing of them, and read them."""
    return simulate_plans(draw_plans(config), simulator, description, folder, executor=executor, hooks=hooks)


def simulate_plans(
    plans: Mapping[str, Plan],
    simulator: Simulator,
    description: Mapping[str, Any],
    folder: Path,
    *,
    executor: Executor | None = None,
    hooks: Hooks = SILENT,
) -> dict[str, SimulatedSet]:
    """Make sets under ``folder``, or what is missing of them, and read them."""
    sets = {}
    make_sets(plans, simulator, description, folder, executor=executor, hooks=hooks)
    for name, plan in plans.items():
        sets[name] = read_set(folder / name, plan.n)
        if sets[name].n_failed:
            hooks.say(
                f"set {name}: {sets[name].n_failed} galaxies failed and are left out, see {folder / name / FAILED}"
            )
    return sets


def make_sets(
    plans: Mapping[str, Plan],
    simulator: Simulator,
    description: Mapping[str, Any],
    folder: Path,
    *,
    coordinates: Mapping[str, np.ndarray] | None = None,
    executor: Executor | None = None,
    job: Job | None = None,
    hooks: Hooks = SILENT,
) -> dict[str, int]:
    """Make sets under ``folder``, or what is missing of them; how many galaxies failed, by the name of the set.

    ``executor`` and ``job`` are those of ``simulate_set``; the job is named with the name of each set.
    """
    failed = {}
    for name, plan in plans.items():
        hooks.say(f"set {name}: {plan.n} galaxies from {plan.space.name}")
        failed[name] = simulate_set(
            simulator,
            plan,
            folder / name,
            description=description,
            coordinates=coordinates,
            executor=executor,
            job=None if job is None else job.named(name),
            progress=hooks.simulated,
            should_stop=hooks.should_stop,
        )
    return failed


def train_emulator(
    config: TrainingConfig,
    sets: Mapping[str, SimulatedSet],
    description: Mapping[str, Any],
    *,
    workdir: Path,
    out: Path,
    resume: bool = True,
    hooks: Hooks = SILENT,
    simulator: Simulator | None = None,
    draws: Mapping[str, Mapping[str, Any]] | None = None,
) -> PhotometryEmulator:
    """Train on the sets, measure and calibrate on the others, write ``out``; returns what was written, read back.

    ``draws`` are those of the sets by name where they are not the configuration's own (``emulators.stored``).
    ``simulator`` is wanted where new galaxies are drawn as the training goes (``training.fresh``). With
    ``config.stitch`` every domain is trained on the galaxies of the sets that lie in it, in a folder of its own, and
    what is measured and written is all of them, stitched.
    """
    space, n_bands = config.space.build(), len(config.bands)
    light = lines_of(config, description)
    names = (*config.bands, *SPECTRAL_PROPERTIES)
    train_one = partial(_train_core, description=description, resume=resume, hooks=hooks, simulator=simulator)
    core: DirectCore | MixtureCore | StitchedCore
    if config.stitch is None:
        core = train_one(config, sets, workdir=workdir)
    else:
        core = train_stitched(config, sets, light, workdir, train_one, hooks.say)
    exact = {name: totals(space, config.softening, light, sets[name]) for name in NEEDED}
    errors = {name: _errors(core, exact[name]) for name in NEEDED}
    accuracy = {name: error_statistics(errors[f"test_{name}"], names) for name in ("prior", "training")}
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
    trained_on = np.concatenate([s.theta for name, s in sets.items() if name.startswith("train")])
    found = {name: Residuals(sets[name].theta, errors[name][:, :n_bands]) for name in NEEDED}
    emulator, calibration = calibrate(emulator, found, trained_on, seed=config.seed)
    header = {
        "name": config.name,
        "properties": list(SPECTRAL_PROPERTIES),
        "curve_sha256": [band.sha256 for band in bands],
        "accuracy": accuracy,
        "calibration": calibration,
        "simulator": dict(description),
        "surrogate": bool(description.get("surrogate", False)),
        "n_failed": {name: s.n_failed for name, s in sets.items()},
        "licence": config.licence,
        "training_set": describe_training_set(draws or draws_of(draw_plans(config)), sets, description),
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
    simulator: Simulator | None,
) -> DirectCore | MixtureCore:
    """Train the networks of one redshift range."""
    light = lines_of(config, description)
    run = identity_hash(
        {
            "config": config.model_dump(mode="json", exclude={"name", "licence"}),
            "simulator": dict(description),
        }
    )
    prepared = prepare(config, sets, light)
    model = train_model(
        prepared.task,
        _row_source(config, prepared, simulator, workdir / FRESH, hooks),
        prepared.validation,
        config.training,
        seed=config.seed,
        workdir=workdir,
        run_hash=run,
        output_names=(
            *config.bands,
            *SPECTRAL_PROPERTIES,
            *(f"line at {wave:.0f} A" for wave in light.wave_aa),
        ),
        n_wanted=len(config.bands),
        resume=resume,
        report=hooks.epoch,
        should_stop=hooks.should_stop,
    )
    shutil.rmtree(workdir / FRESH, ignore_errors=True)  # a finished run needs its pool no more
    return prepared.core(model)


def _row_source(
    config: TrainingConfig, prepared: Prepared, simulator: Simulator | None, folder: Path, hooks: Hooks
) -> RowSource:
    """The rows of a configuration: those that are there, or new ones as the training goes."""
    fresh, task, n_bands = config.training.fresh, prepared.task, len(config.bands)
    if fresh is None:
        return FixedRows(prepared.train)
    if simulator is None:
        raise ValueError("training.fresh draws new galaxies as the training goes, which takes the simulator")

    @jax.jit
    def error(model: Any, rows: Any) -> Float[Array, " row"]:
        return jnp.sqrt(jnp.mean(predict_errors(model, task, rows)[:, :n_bands] ** 2, axis=1))

    prior = config.space.build()
    proposal = Proposal(
        prior, training_space(prior), config.sets.prior_fraction, fresh.rows, fresh.focus, 1000 * config.seed
    )
    return FreshRows(
        prepared.train,
        prepared.theta,
        fresh,
        n_epochs=n_epochs(config.training),
        folder=folder,
        chunk=config.sets.chunk,
        simulate=simulator,
        make=prepared.make,
        error=error,
        propose=proposal.draw,
        say=hooks.say,
    )


def lines_of(config: TrainingConfig, description: Mapping[str, Any]) -> LineLight:
    """The lines of a simulator in the bands of a configuration."""
    waves = np.asarray(description.get("line_wave_aa", []), float)
    return line_light(waves, load_bands(config.bands), config.space.zred[1])


def _errors(core: DirectCore | MixtureCore | StitchedCore, exact: Totals) -> Float[np.ndarray, "row output"]:
    """Emulated minus exact magnitudes and properties."""

    @jax.jit
    def predict(core: DirectCore | MixtureCore | StitchedCore, theta: Array) -> tuple[Array, Array]:
        return jax.lax.map(lambda t: (core.rest_flux(t), core.spectral_properties(t)), theta, batch_size=2048)

    flux, properties = predict(core, exact.theta)
    magnitudes = arsinh_magnitude(flux, exact.softening)
    return np.hstack([magnitudes - exact.magnitudes, properties - exact.properties])


def _observed_softening(config: TrainingConfig, theta: Float[np.ndarray, "row param"]) -> float:
    """The softening as an observed flux, for a galaxy more massive and nearer than 99% of the draws."""
    space = config.space.build()
    scale: Array = flux_scale(theta[:, space.index(MASS)], theta[:, space.index(REDSHIFT)])
    return config.softening * float(np.quantile(np.asarray(scale), 0.99))
