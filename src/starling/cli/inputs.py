"""What ``fit`` and ``judge`` begin with: configuration, emulator and catalogue."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from starling.catalogues import Catalogue, FitConfig, read_config
from starling.cli.fits import Place, open_fit
from starling.cli.opened import Emulator
from starling.cli.pipeline import say_catalogue, say_emulator


class Inputs(NamedTuple):
    """A configuration and what it names, and where that is."""

    config: FitConfig
    emulator: Emulator
    catalogue: Catalogue
    place: Place


def read_inputs(
    console: Console,
    path: Path,
    table: Path | None,
    data: Path | None,
    *,
    max_galaxies: int | None = None,
    ids: Sequence[str] = (),
    exact: bool = False,
    sps_home: Path | None = None,
) -> Inputs:
    """Read and say what is to be fitted: at most ``max_galaxies``, or those with these ``ids`` (empty: all).

    With ``exact`` the emulator is the exact model that it imitates.

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
    place = Place(path.parent, table, data or (path.parent if table is None else None), exact, sps_home)
    emulator, catalogue = open_fit(config, place)
    say_emulator(console, emulator)
    if exact:
        console.print(f"Model: {emulator.name}", highlight=False, soft_wrap=True)
    say_catalogue(console, catalogue)
    missing = [name for name in ids if name not in catalogue.ids]
    if missing:
        raise ValueError(
            f"no usable galaxy with id {', '.join(missing)} in the table (--check of `starling fit` says what is wrong)"
        )
    return Inputs(config, emulator, catalogue, place)
