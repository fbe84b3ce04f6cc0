"""The sets that ``starling train`` trains on: those of a folder, or simulated ones; and the model that they are of."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from starling.cli.simulator import photometry_simulator
from starling.emulators.config import TrainingConfig
from starling.emulators.pipeline import Hooks, draw_plans, simulate_sets
from starling.emulators.provenance import draws_of
from starling.emulators.stored import open_sets
from starling.simulation import SimulatedSet, Simulator
from starling.simulation.store import differences


class FoundSets(NamedTuple):
    """Sets by name, what they are of, what decided their points; the exact model, where it is wanted."""

    sets: dict[str, SimulatedSet]
    description: dict[str, Any]
    draws: dict[str, dict[str, Any]]
    simulator: Simulator | None
    model: Any


def find_sets(
    config: TrainingConfig,
    folder: Path | None,
    workdir: Path,
    sps_home: Path | None,
    workers: int,
    hooks: Hooks,
    *,
    gradients: bool,
) -> FoundSets:
    """The sets of a configuration: those in ``folder``, or simulated under ``workdir``.

    With a folder the exact model is built only where new galaxies are drawn in the training or ``gradients`` are
    measured. ValueError where the sets do not fit.
    """
    opened = None if folder is None else open_sets(config, folder)
    fresh = config.training.fresh is not None
    if opened is not None and not (fresh or gradients):
        return FoundSets(*opened, None, None)
    exact = photometry_simulator(
        config.simulator,
        config.space.build(),
        config.bands,
        sps_home,
        tangents=config.training.sobolev_weight > 0,
    )
    if opened is None:
        sets = simulate_sets(
            config, exact.simulator, exact.description, workdir / "sets", workers=workers, hooks=hooks
        )
        draws = draws_of(draw_plans(config))
        return FoundSets(sets, exact.description, draws, exact.simulator, exact.model)
    now = json.loads(json.dumps(exact.description)) | {"tangents": opened.description.get("tangents")}
    differing = ", ".join(differences(opened.description | {"tangents": now["tangents"]}, now))
    if not differing:
        return FoundSets(*opened, exact.simulator, exact.model)
    if fresh:
        raise ValueError(
            f"training.fresh draws new galaxies from the exact model, and the sets in {folder} are of another one "
            f"({differing})"
        )
    hooks.say(
        f"gradients are not measured: the sets are of another model than the exact one here ({differing})"
    )
    return FoundSets(*opened, None, None)
