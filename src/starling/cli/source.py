"""The simulator that a configuration names, ready to run: the exact model, or FSPS in its processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from starling.cli.simulator import build_model, describe_model, make_simulator
from starling.emulators.config import SimulatorConfig
from starling.parameters import ParameterSpace
from starling.simulation.generate import Simulator
from starling.sps import ExactModel
from starling.sps.fsps import Fsps, describe_fsps, photometry_simulator


class Source(NamedTuple):
    """A simulator of photometry, what decides its numbers, and the model behind it if that has derivatives."""

    simulate: Simulator
    description: dict[str, Any]
    exact: ExactModel | None


@contextmanager
def open_source(
    config: SimulatorConfig,
    space: ParameterSpace,
    bands: Sequence[str],
    sps_home: Path | None,
    *,
    workers: int = 1,
    components: bool = False,
    tangents: bool = False,
) -> Iterator[Source]:
    """The simulator of a configuration; FSPS runs in ``workers`` processes, which end with the context.

    ``components`` and ``tangents`` are what the exact model gives beyond whole galaxies; FSPS has neither.
    """
    if config.code == "fsps":
        with Fsps(space, sps_home, workers=workers) as fsps:
            yield Source(photometry_simulator(fsps, bands), describe_fsps(fsps, bands), None)
        return
    model = build_model(config.tables, space, bands, sps_home)
    simulate = make_simulator(model, config.batch, components=components, tangents=tangents)
    yield Source(simulate, describe_model(model) | ({"tangents": True} if tangents else {}), model)
