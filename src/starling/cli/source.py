"""The simulator that a configuration names, ready to run: the exact model, or FSPS in its processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from starling.cli.simulator import describe_model, described_source, make_simulator, named_tables
from starling.emulators.config import SimulatorConfig
from starling.emulators.stored import ASKED, asked_of
from starling.parameters import ParameterSpace
from starling.simulation import Simulator
from starling.sps import exact_model
from starling.sps.fsps import Fsps, describe_fsps, photometry_simulator


class Source(NamedTuple):
    """A simulator and what belongs to it.

    ``description`` (JSON-able) decides its numbers, ``coordinates`` are arrays that all galaxies have in common,
    ``exact`` is the model behind it, if that has derivatives. ``threads``: how many may call it at the same time to use
    what it was opened with.
    """

    simulate: Simulator
    description: dict[str, Any]
    exact: Any
    coordinates: dict[str, np.ndarray]
    threads: int


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
    """The simulator of photometry that a configuration names.

    ``workers`` threads call the exact model; FSPS runs in ``workers`` processes, which end with the context.
    ``components`` and ``tangents`` are what the exact model gives beyond whole galaxies; FSPS has neither.
    """
    if config.code == "fsps":
        with Fsps(space, sps_home, workers=workers) as fsps:
            description = describe_fsps(fsps, bands) | {ASKED: asked_of(config)}
            yield Source(photometry_simulator(fsps, bands), description, None, {}, 1)
        return
    tables = named_tables(config.tables_found, space, sps_home)
    model = exact_model(tables, bands, space)
    simulate = make_simulator(model, config.batch, components=components, tangents=tangents)
    description = describe_model(model) | described_source(config, tables)
    description |= {"tangents": True} if tangents else {}
    description |= {} if components else {"gives": "fluxes"}
    yield Source(simulate, description, model, {}, workers)
