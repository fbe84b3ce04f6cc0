"""Training of emulators for redshift domains that overlap, on the same simulated galaxies."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from starling.emulators.config import DirectConfig, TrainingConfig
from starling.emulators.direct import DirectCore
from starling.emulators.features import REDSHIFT
from starling.emulators.mixture import MixtureCore
from starling.emulators.stitched import StitchedCore, stitched_core
from starling.lines import LineLight
from starling.parameters import ParameterSpace
from starling.simulation import SimulatedSet


@runtime_checkable
class TrainOne(Protocol):
    """What trains the networks of one redshift range."""

    def __call__(
        self, config: TrainingConfig, sets: Mapping[str, SimulatedSet], *, workdir: Path
    ) -> DirectCore | MixtureCore: ...


def train_stitched(
    config: TrainingConfig,
    sets: Mapping[str, SimulatedSet],
    light: LineLight,
    workdir: Path,
    train_one: TrainOne,
    say: Callable[[str], None],
) -> StitchedCore:
    """Train the networks of every domain, one after the other in a folder each, and stitch them.

    ``light`` is that of the lines over the whole range. A galaxy in an overlap is seen by both of its domains.
    """
    members, space, cores = config.members(), config.space.build(), []
    for number, member in enumerate(members, 1):
        low, high = member.space.zred
        own = {
            name: within(one, space, low, high) for name, one in sets.items() if not name.startswith("test")
        }
        n_train = sum(len(one.theta) for name, one in own.items() if name.startswith("train"))
        say(f"domain {number} of {len(members)}: {n_train} galaxies of {low:g} < z < {high:g}")
        cores.append(train_one(member, own, workdir=workdir / f"domain_{number}"))
    return stitched_core(
        [core.branches() for core in cores],
        [member.space.zred for member in members],
        space,
        config.softening,
        None if isinstance(config.network, DirectConfig) else light,
    )


def within(simulated: SimulatedSet, space: ParameterSpace, low: float, high: float) -> SimulatedSet:
    """The galaxies of a set between two redshifts; ValueError where there are none."""
    zred = simulated.theta[:, space.index(REDSHIFT)]
    rows = np.flatnonzero((zred >= low) & (zred <= high))
    if not rows.size:
        raise ValueError(f"no simulated galaxy lies in {low:g} < z < {high:g}: ask for more in `sets`")
    outputs = {name: array[rows] for name, array in simulated.outputs.items()}
    return SimulatedSet(simulated.theta[rows], outputs, simulated.n_failed)
