"""Forward models of fits: emulators from files, and the exact model that one imitates, in its place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from starling.cli.emulators import find_emulator
from starling.cli.simulator import describe_model, named_tables
from starling.configuration import BASE
from starling.emulators import load_emulator, read_header
from starling.emulators.config import SimulatorConfig
from starling.forward import ForwardModel
from starling.published import is_published, open_published
from starling.sps import exact_model

HEADER_KEYS = ("name", "created", "simulator", "surrogate", "git_commit", "config_sha256")


class Emulator(NamedTuple):
    """A forward model from a file, what the file says about it, and what its users have to know of it."""

    model: ForwardModel
    name: str
    header: dict[str, Any]
    note: str = ""


def open_emulator(name: str, folder: Path, bands: Sequence[str] = ()) -> Emulator:
    """The default emulator of the package (``default``), another of its own by name, or one from a file.

    A path counts from ``folder``. A folder, a pickle or a .npy file is taken for an emulator of somebody else's;
    ``bands`` are those that it is made for where it is one for any filter.
    """
    path = find_emulator(name, folder)
    if is_published(path):
        published = open_published(path, bands)
        return Emulator(published.model, f"{path} ({published.kind})", published.header, published.note)
    return Emulator(load_emulator(path), "the emulator " + path.name, read_header(path))


def exact_of(
    emulator: Emulator, bands: tuple[str, ...], sps_home: Path | None, folder: Path = Path()
) -> Emulator:
    """The exact model that an emulator imitates, for these bands, in its place.

    A relative path of its tables counts from ``folder``, if it is there, and else from where the command is run.
    Raises ValueError where its file does not name a model that runs in this package.
    """
    config = emulator.header.get("config", {}).get("simulator")
    if config is None:
        raise ValueError(f"{emulator.name} does not say which simulator it imitates: leave out --exact")
    settings = SimulatorConfig.model_validate(config, context={BASE: folder})
    if settings.code == "fsps":
        raise ValueError(
            f"{emulator.name} imitates FSPS, which has no model in JAX: fit with its tables "
            "(`starling ssp export`) or leave out --exact"
        )
    space = emulator.model.space
    model = exact_model(named_tables(settings.tables_found, space, sps_home), bands, space)
    header = {"name": "exact model", "surrogate": model.surrogate, "simulator": describe_model(model)}
    return Emulator(model, f"the exact model of {emulator.name}", header)
