"""What the networks of a configuration are trained on: features, tasks and rows, from simulated sets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.emulators.branch import Branch
from starling.emulators.config import DirectConfig, TrainingConfig
from starling.emulators.direct import ROLE, DirectCore, DirectTask, direct_core, direct_rows, direct_task
from starling.emulators.features import Features, fit_features
from starling.emulators.mixture import MixtureCore, MixtureTask, mixture_core, mixture_rows, mixture_task
from starling.emulators.networks import Network
from starling.emulators.sobolev import SobolevTask, WithTangents, rows_with_tangents
from starling.emulators.targets import has_components
from starling.lines import LineLight
from starling.simulation import SimulatedSet
from starling.simulation.directions import without_tangents

_PIECE = 8192

# (theta, a simulator's outputs by name) -> rows of training data
MakeRows = Callable[[Array, Mapping[str, Array]], Any]


class Prepared(NamedTuple):
    """A task with its data; ``make`` gives more rows like these, ``theta`` are the parameters of those to train on.

    ``core`` makes the core of an emulator of the model that is trained.
    """

    task: DirectTask | MixtureTask | SobolevTask
    theta: Float[np.ndarray, "row param"]
    train: Any
    validation: Any
    make: MakeRows
    core: Callable[[Any], DirectCore | MixtureCore]


def prepare(config: TrainingConfig, sets: Mapping[str, SimulatedSet], light: LineLight) -> Prepared:
    """Features, data and task of a configuration; ValueError where the sets lack what it needs."""
    train = [simulated for name, simulated in sets.items() if name.startswith("train")]
    theta = np.concatenate([simulated.theta for simulated in train])
    space, parts = config.space.build(), config.network.networks()
    features = {
        role: fit_features(part.features.build(), space, jnp.asarray(theta)) for role, part in parts.items()
    }
    sobolev = config.training.sobolev_weight > 0
    _check(config, light, sets["validation"], sobolev)
    make = _row_maker(config, features, light, sobolev)
    rows, held_out = (rows_of(make, group) for group in (train, [sets["validation"]]))
    values = rows.rows if isinstance(rows, WithTangents) else rows
    task, core = _task(config, features, light, values)
    if sobolev:
        task = SobolevTask(task, config.training.sobolev_weight)
    return Prepared(task, theta, rows, held_out, make, core)


def rows_of(make: MakeRows, sets: Sequence[SimulatedSet]) -> Any:
    """All rows of some sets, in memory; made a piece at a time."""
    pieces = [
        make(
            jnp.asarray(s.theta[start : start + _PIECE]),
            {name: jnp.asarray(array[start : start + _PIECE]) for name, array in s.outputs.items()},
        )
        for s in sets
        for start in range(0, len(s.theta), _PIECE)
    ]
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *pieces)


def _check(config: TrainingConfig, light: LineLight, example: SimulatedSet, sobolev: bool) -> None:
    """ValueError says what the simulator lacks."""
    if sobolev and without_tangents(example.outputs) == example.outputs:
        raise ValueError(
            "training.sobolev_weight needs sets with derivatives: simulate with tangents, or set it to 0"
        )
    if isinstance(config.network, DirectConfig):
        return
    if not has_components(example.outputs):
        raise ValueError(
            "this training needs the components of fluxes (stars by bin, dust, torus), which the simulated sets do not "
            "have: use a simulator that gives them, or network.kind: direct"
        )
    if not light.wave_aa.size:
        raise ValueError(
            "the simulator has no emission lines, which a mixture needs: use network.kind: direct"
        )


def _row_maker(
    config: TrainingConfig, features: Mapping[str, Features], light: LineLight, sobolev: bool
) -> MakeRows:
    """The function from parameters and a simulator's outputs to rows, compiled."""
    space, softening = config.space.build(), config.softening

    def values(theta: Array, outputs: Mapping[str, Array]) -> Any:
        if isinstance(config.network, DirectConfig):
            return direct_rows(features[ROLE], light, space, softening, theta, outputs)
        return mixture_rows(features, light, space, softening, theta, outputs)

    def make(theta: Array, outputs: Mapping[str, Array]) -> Any:
        if sobolev:
            return rows_with_tangents(values, theta, outputs)
        return values(theta, without_tangents(outputs))

    compiled: MakeRows = jax.jit(make)
    return compiled


def _task(
    config: TrainingConfig, features: Mapping[str, Features], light: LineLight, rows: Any
) -> tuple[Any, Callable[[Any], DirectCore | MixtureCore]]:
    """The task of a configuration, and what makes the core of what it trains."""
    space, softening, parts = config.space.build(), config.softening, config.network.networks()
    if isinstance(config.network, DirectConfig):
        (inputs,) = features.values()
        shape = config.network.shape(inputs, rows.targets.shape[1])
        direct = direct_task(shape, rows)

        def whole(model: Network) -> DirectCore:
            return direct_core({ROLE: Branch(inputs, direct.finish(model))}, softening)

        return direct, whole
    shapes = {role: part.shape(features[role], rows.targets[role].shape[1]) for role, part in parts.items()}
    mixture = mixture_task(shapes, rows, space, softening, config.network.term_weight)

    def core(model: dict[str, Network]) -> MixtureCore:
        finished = mixture.finish(model)
        return mixture_core({role: Branch(features[role], finished[role]) for role in finished}, light, space)

    return mixture, core
