"""The networks of a study: train each one, measure its errors, keep both.

Every network has a folder of its own with its checkpoint, its emulator and what was measured on it, so that a study
that was cut goes on where it stopped, and can be reported on at any time (``starling.validation.study_report``).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.special import ndtr

from starling.emulators import PhotometryEmulator, read_header, stored
from starling.emulators.checkpoints import remove_checkpoint
from starling.emulators.config import TrainingConfig
from starling.emulators.networks import weights_of
from starling.emulators.pipeline import SILENT, Hooks, draw_plans, train_emulator
from starling.emulators.schedule import n_epochs
from starling.emulators.targets import Totals, totals
from starling.emulators.training import CHECKPOINT, EpochReport
from starling.lines import line_light
from starling.photometry import arsinh_magnitude, load_bands
from starling.simulation import SimulatedSet, StoppedError
from starling.simulation.shards import write_atomically
from starling.validation.study_config import StudyConfig, Variation

EMULATOR = "emulator.safetensors"
LIMIT_MAG = 0.02
_RESULT = "result.json"
_FEWEST_BEYOND = 5
_BATCH = 2048


class Joint(NamedTuple):
    """What the errors of a network are over bands, on held-out draws from the prior.

    ``correlation`` [band, band]. ``tails``: quantiles of ``|error| / sigma`` that a Gaussian has at ``gaussian``, their
    median and extremes over bands. ``within``: share of galaxies within ``LIMIT_MAG`` in every band.
    """

    correlation: list[list[float]]
    tails: dict[str, list[float]]
    within: float


class Result(NamedTuple):
    """A trained network; ``minutes`` of training at the speed of its last session, None where that is not known."""

    config_sha256: str
    simulator: dict[str, Any]
    minutes: float | None
    n_weights: int
    accuracy: dict[str, Any]
    joint: dict[str, Any]


def open_sets(config: TrainingConfig, folder: Path) -> tuple[dict[str, SimulatedSet], dict[str, Any]]:
    """The first rows of simulated sets that are there, as many as a configuration asks for, and their simulator.

    Nothing is written. Raises ValueError where a set does not fit (``starling.emulators.stored``) or is of other draws.
    """
    found = stored.open_sets(config, folder)
    for name, plan in draw_plans(config).items():
        expected = json.loads(json.dumps(plan.to_dict()))
        differing = sorted(key for key in expected if found.draws[name].get(key) != expected[key])
        if differing:
            raise ValueError(
                f"{folder / name} has draws of another {', '.join(differing)} than the base of the study"
            )
    return found.sets, found.description


def _first_rows(simulated: SimulatedSet, n: int) -> SimulatedSet:
    outputs = {name: array[:n] for name, array in simulated.outputs.items()}
    return SimulatedSet(simulated.theta[:n], outputs, simulated.n_failed)


def train_all(
    study: StudyConfig,
    sets: Mapping[str, SimulatedSet],
    description: Mapping[str, Any],
    workdir: Path,
    *,
    resume: bool = True,
    hooks: Hooks = SILENT,
) -> None:
    """Train and measure every network of a study that is not finished; StoppedError when ``hooks`` say so.

    Without ``resume`` what is there is removed first. Raises ValueError where a folder holds a network of another
    configuration.
    """
    variations = study.variations()
    if not resume:
        for variation in variations:
            _remove(folder_of(workdir, variation))
    exact: Totals | None = None
    for number, variation in enumerate(variations, 1):
        folder = folder_of(workdir, variation)
        heading = f"{number}/{len(variations)} {variation.name}"
        if _is_finished(workdir, variation, description):
            hooks.say(f"{heading}: finished before")
            continue
        if hooks.should_stop():
            raise StoppedError(f"stopped before {variation.name}")
        hooks.say(f"{heading}: training")
        exact = exact or _exact(study.base, sets["test_prior"], description)
        _train_one(variation, sets, description, folder, exact, hooks)


def _train_one(
    variation: Variation,
    sets: Mapping[str, SimulatedSet],
    description: Mapping[str, Any],
    folder: Path,
    exact: Totals,
    hooks: Hooks,
) -> None:
    config, reports = variation.config, list[EpochReport]()

    def listen(report: EpochReport) -> None:
        reports.append(report)
        hooks.epoch(report)

    emulator = train_emulator(
        config,
        _cut(sets, config),
        description,
        workdir=folder,
        out=folder / EMULATOR,
        hooks=hooks._replace(epoch=listen),
    )
    rows = n_epochs(config.training) * config.sets.n_train
    result = Result(
        config_sha256=config.sha256(),
        simulator=dict(description),
        minutes=rows / reports[-1].rows_per_second / 60.0 if reports else None,
        n_weights=sum(
            int(array.size)
            for branch in emulator.core.branches().values()
            for array in weights_of(branch.network).values()
        ),
        accuracy=read_header(folder / EMULATOR)["accuracy"],
        joint=joint_errors(magnitude_errors(emulator, exact))._asdict(),
    )
    write_atomically(folder / _RESULT, json.dumps(result._asdict()).encode())


def _remove(folder: Path) -> None:
    """Take a network away; the result first, which is what makes it finished."""
    for name in (_RESULT, EMULATOR):
        (folder / name).unlink(missing_ok=True)
    remove_checkpoint(folder / CHECKPOINT)


def folder_of(workdir: Path, variation: Variation) -> Path:
    """Where everything of a network is."""
    return workdir / "networks" / variation.name


def read_result(workdir: Path, variation: Variation) -> Result | None:
    """What was measured on a network, None where it is not finished; ValueError where it has another configuration."""
    folder = folder_of(workdir, variation)
    if not (folder / _RESULT).exists():
        return None
    try:
        result = Result(**json.loads((folder / _RESULT).read_text()))
    except (OSError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder / _RESULT} is damaged ({error}); remove {folder}") from error
    if result.config_sha256 != variation.config.sha256():
        raise _other(folder, "configuration")
    return result


def _is_finished(workdir: Path, variation: Variation, description: Mapping[str, Any]) -> bool:
    result = read_result(workdir, variation)
    if result is not None and result.simulator != json.loads(json.dumps(dict(description))):
        raise _other(folder_of(workdir, variation), "simulator")
    return result is not None


def _other(folder: Path, what: str) -> ValueError:
    return ValueError(
        f"{folder} has a network of another {what}: train anew with --fresh, or give another --workdir"
    )


def _cut(sets: Mapping[str, SimulatedSet], config: TrainingConfig) -> dict[str, SimulatedSet]:
    """The sets with as many training draws as a configuration asks for, the first ones."""
    plans = draw_plans(config)
    return {name: _first_rows(found, plans[name].n) for name, found in sets.items() if name in plans}


def _exact(config: TrainingConfig, test: SimulatedSet, description: Mapping[str, Any]) -> Totals:
    waves = np.asarray(description.get("line_wave_aa", []), float)
    light = line_light(waves, load_bands(config.bands), config.space.zred[1])
    return totals(config.space.build(), config.softening, light, test)


def magnitude_errors(emulator: PhotometryEmulator, exact: Totals) -> Float[np.ndarray, "galaxy band"]:
    """Emulated minus exact arsinh magnitudes."""

    @jax.jit
    def predict(emulator: PhotometryEmulator, theta: Array) -> Array:
        return jax.lax.map(emulator.rest_flux, theta, batch_size=_BATCH)

    magnitudes = arsinh_magnitude(predict(emulator, exact.theta), exact.softening)
    return np.asarray(magnitudes - exact.magnitudes, np.float64)


def joint_errors(error: Float[np.ndarray, "galaxy band"]) -> Joint:
    """Correlations and tails of errors; quantiles go as far as a few galaxies lie beyond them."""
    sigma = np.maximum(error.std(axis=0), np.finfo(float).tiny)
    levels = np.arange(0.5, 5.01, 0.5)
    shares = 2.0 * ndtr(levels) - 1.0
    kept = (1.0 - shares) * len(error) >= _FEWEST_BEYOND
    in_sigma = np.quantile(np.abs(error) / sigma, shares[kept], axis=0)
    correlation = np.atleast_2d(np.corrcoef(error, rowvar=False))
    return Joint(
        correlation=np.round(correlation, 4).tolist(),
        tails={
            "gaussian": levels[kept].tolist(),
            "median": np.median(in_sigma, axis=1).tolist(),
            "low": in_sigma.min(axis=1).tolist(),
            "high": in_sigma.max(axis=1).tolist(),
        },
        within=float(np.mean(np.all(np.abs(error) <= LIMIT_MAG, axis=1))),
    )
