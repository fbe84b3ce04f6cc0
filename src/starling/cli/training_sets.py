"""The sets that ``starling train`` trains on: those of a folder, or simulated ones; and what they were made with."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from starling.cli.source import Source, open_source
from starling.emulators.config import TrainingConfig
from starling.emulators.pipeline import Hooks, draw_plans, simulate_sets
from starling.emulators.provenance import draws_of
from starling.emulators.stored import StoredSets, open_sets
from starling.execution import Threads
from starling.simulation import SimulatedSet, Simulator
from starling.simulation.store import differences


class FoundSets(NamedTuple):
    """Sets by name, what they are of, what decided their points; their simulator and exact model where wanted."""

    sets: dict[str, SimulatedSet]
    description: dict[str, Any]
    draws: dict[str, dict[str, Any]]
    simulate: Simulator | None
    exact: Any


@contextmanager
def find_sets(
    config: TrainingConfig,
    folder: Path | None,
    workdir: Path,
    sps_home: Path | None,
    workers: int,
    hooks: Hooks,
    *,
    gradients: bool,
) -> Iterator[FoundSets]:
    """The sets of a configuration: those in ``folder``, or simulated under ``workdir``.

    With a folder the simulator is opened only where new galaxies are drawn in the training or ``gradients``, which FSPS
    has not, are measured. ValueError where the sets do not fit.
    """
    opened = None if folder is None else open_sets(config, folder)
    measured = gradients and config.simulator.code == "exact"
    if opened is not None and not (config.training.fresh or measured):
        yield FoundSets(*opened, None, None)
        return
    with open_source(
        config.simulator,
        config.space.build(),
        config.bands,
        sps_home,
        workers=workers,
        components=opened is None or "gives" not in opened.description,
        tangents=config.training.sobolev_weight > 0,
    ) as source:
        if opened is not None:
            yield _with_simulator(config, opened, source, hooks)
            return
        sets = simulate_sets(
            config,
            source.simulate,
            source.description,
            workdir / "sets",
            executor=Threads(source.threads),
            hooks=hooks,
        )
        draws = draws_of(draw_plans(config))
        yield FoundSets(sets, source.description, draws, source.simulate, source.exact)


def other_than(source: Source, description: Mapping[str, Any]) -> str:
    """In what a simulator differs from the one of some sets; tangents do not count."""
    now = json.loads(json.dumps(source.description)) | {"tangents": None}
    return ", ".join(differences(dict(description) | {"tangents": None}, now))


def _with_simulator(config: TrainingConfig, opened: StoredSets, source: Source, hooks: Hooks) -> FoundSets:
    """Sets that are there, with the simulator that is here if it is theirs; ValueError if it is needed and is not."""
    differing = other_than(source, opened.description)
    if not differing:
        return FoundSets(*opened, source.simulate, source.exact)
    if config.training.fresh is not None:
        raise ValueError(
            "training.fresh draws new galaxies from the simulator, and the sets are of another one than the one here "
            f"({differing})"
        )
    hooks.say(
        f"gradients are not measured: the sets are of another model than the exact one here ({differing})"
    )
    return FoundSets(*opened, None, None)
