"""The shards of ``starling simulate`` as work for other processes: what is sent to them, and how they open it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from starling.cli.source import Source, open_source
from starling.cli.spectra import open_spectral_source
from starling.configuration import BASE
from starling.emulators.simulate_config import SimulateConfig
from starling.execution import ExecutionError, Job
from starling.simulation.generate import make_shard
from starling.simulation.store import check_set, set_identity

if TYPE_CHECKING:
    from starling.simulation import Plan


def shard_job(config: SimulateConfig, base: Path, folder: Path, sps_home: Path | None) -> Job:
    """Shards of the sets of a configuration in ``folder``; name the set with ``Job.named``.

    ``base`` is the folder that the configuration's paths count from. All three are paths that the workers have too.
    """
    settings = {
        "config": config.model_dump(mode="json", exclude_unset=True),
        "base": str(base.resolve()),
        "folder": str(folder.resolve()),
        "sps_home": None if sps_home is None else str(sps_home.resolve()),
    }
    return Job.of("starling.cli.shards:open_shards", settings)


@contextmanager
def open_shards(settings: Mapping[str, Any]) -> Iterator[Callable[[str, int], tuple[int, int]]]:
    """What makes a shard, of a set by its name, from the settings of a ``shard_job``.

    Making one raises ExecutionError where the set was begun with another simulator than the one that is here.
    """
    config = SimulateConfig.model_validate(settings["config"], context={BASE: Path(settings["base"])})
    folder, home = Path(settings["folder"]), settings["sps_home"]
    plans = config.plans(lambda path: columns_of(Path(settings["base"]) / path))
    checked = set()
    with open_configured(config, None if home is None else Path(home), workers=1) as source:

        def make(name: str, index: int) -> tuple[int, int]:
            if name not in checked:
                _check_here(folder / name, plans[name], source)
                checked.add(name)
            return make_shard(source.simulate, plans[name], folder / name, index)

        yield make


def open_configured(
    config: SimulateConfig, sps_home: Path | None, workers: int
) -> AbstractContextManager[Source]:
    """The simulator of a configuration, of spectra or of photometry."""
    if config.spectra is not None:
        return open_spectral_source(config, sps_home, workers)
    return open_source(
        config.simulator,
        config.space.build(),
        config.bands,
        sps_home,
        workers=workers,
        components=config.gives == "components",
        tangents=config.tangents,
    )


def columns_of(path: Path) -> dict[str, np.ndarray]:
    """The columns of a table with one number per row."""
    from starling.catalogues.read import read_table, to_numbers

    table = read_table(path)
    return {name: to_numbers(table[name]).values for name in table.colnames if table[name].ndim == 1}


def _check_here(folder: Path, plan: "Plan", source: Source) -> None:
    try:
        check_set(folder, set_identity(plan, source.description, source.coordinates))
    except ValueError as error:
        raise ExecutionError(
            f"what is installed where the work is done is not what is here: {error}"
        ) from error
