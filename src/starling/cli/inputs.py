"""What ``fit`` and ``judge`` begin with: configuration, emulator and catalogue."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from starling.catalogues import Catalogue, FitConfig, load_catalogue, read_config
from starling.cli.pipeline import Emulator, bounds_of, open_emulator, say_catalogue, say_emulator


class Inputs(NamedTuple):
    """A configuration and what it names."""

    config: FitConfig
    emulator: Emulator
    catalogue: Catalogue


def read_inputs(
    console: Console,
    path: Path,
    table: Path | None,
    data: Path | None,
    *,
    max_galaxies: int | None = None,
    ids: Sequence[str] = (),
) -> Inputs:
    """Read and say what is to be fitted: at most ``max_galaxies``, or those with these ``ids`` (empty: all).

    Raises ValueError with the reason where a file, a column or an id is not there.
    """
    config = read_config(path)
    chosen: dict[str, object] = {}
    if max_galaxies is not None:
        chosen["max_rows"] = max_galaxies
    if ids:
        chosen["ids"] = tuple(ids)
    if chosen:
        select = config.table.select.model_copy(update=chosen)
        config = config.model_copy(update={"table": config.table.model_copy(update={"select": select})})
    emulator = open_emulator(config.model.emulator, path.parent, tuple(config.photometry.bands))
    say_emulator(console, emulator)
    catalogue = load_catalogue(
        config,
        available_bands=emulator.model.bands,
        bounds=bounds_of(emulator.model),
        table=table,
        folder=data if data is not None or table is not None else path.parent,
        model=emulator.name,
    )
    say_catalogue(console, catalogue)
    missing = [name for name in ids if name not in catalogue.ids]
    if missing:
        raise ValueError(
            f"no usable galaxy with id {', '.join(missing)} in the table (--check of `starling fit` says what is wrong)"
        )
    return Inputs(config, emulator, catalogue)
