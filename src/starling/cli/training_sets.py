"""The sets that ``starling train`` trains on: those of a folder, or simulated ones; and what they were made with."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from starling.cli.simulator import CONVENTIONS, TABLES_HASH, described_source, is_file_of_tables, named_tables
from starling.cli.source import Source, open_source
from starling.emulators.config import DirectConfig, MixtureConfig, TrainingConfig
from starling.emulators.pipeline import Hooks, draw_plans, simulate_sets
from starling.emulators.provenance import draws_of
from starling.emulators.spectra.config import PcaConfig, SpectralMixtureConfig, SpectrumConfig
from starling.emulators.stored import StoredSets, open_sets
from starling.execution import Threads
from starling.simulation import SimulatedSet, Simulator
from starling.simulation.store import differences

SCREEN = ("dust2", "dust_index")  # what decides the transmission of the diffuse dust


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
    if opened is not None:
        check_tables(config, opened.description)
        check_inputs(config.network, opened.description)
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
        check_inputs(config.network, source.description)
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


def check_tables(config: TrainingConfig | SpectrumConfig, description: Mapping[str, Any]) -> None:
    """ValueError where the configuration names a file of tables, and it is here, and the sets are of other tables."""
    path = config.simulator.tables_found
    if not (is_file_of_tables(path) and Path(path).is_file()):
        return
    tables = named_tables(path, config.space.build(), None)
    if described_source(config.simulator, tables)[TABLES_HASH] != description.get(TABLES_HASH):
        raise ValueError(
            f"the sets were made with other tables than those that {path} holds now: name the file that they were "
            "made with, or simulate them anew"
        )


def check_inputs(
    network: DirectConfig | MixtureConfig | PcaConfig | SpectralMixtureConfig, description: Mapping[str, Any]
) -> None:
    """ValueError where dust absorbs its own light, and the network of its emission is not told how much dust there is.

    Without these inputs errors at 3 to 5 um are ten times as large (``benchmarks/dust_inputs.py``).
    """
    dust = network.networks().get("dust")
    if dust is None or "self_absorption" not in description.get(CONVENTIONS, ()):
        return
    given = dust.features.parameters
    if lacking := [name for name in SCREEN if given is not None and name not in given]:
        raise ValueError(
            "on these tables dust absorbs its own light, as FSPS has it: network.dust.features.parameters also has to "
            f"have {', '.join(lacking)}"
        )


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
