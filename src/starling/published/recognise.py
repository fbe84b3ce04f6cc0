"""Tells what somebody else's file is, and opens it as a forward model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from starling.forward import ForwardModel
from starling.published.parrot_model import parrot_model
from starling.published.speculator import SpeculatorPhotometry, read_speculator
from starling.published.speculator_model import FILE, RANGES, is_speculator_folder, speculator_model


class Published(NamedTuple):
    """A forward model of somebody else's, what it was recognised as, and what its users have to know."""

    model: ForwardModel
    kind: str
    note: str
    header: dict[str, Any]


def is_published(path: Path) -> bool:
    """Whether a path is somebody else's emulator by its looks: a folder, a pickle or a .npy file."""
    return path.is_dir() or path.suffix in (".pkl", ".pickle", ".npy")


def open_published(path: Path, bands: Sequence[str]) -> Published:
    """The forward model at a path, for these bands where it can be made for any.

    ValueError says what the path is where it is none, and what to do.
    """
    if path.suffix == ".npy":
        parrot = parrot_model(path)
        return _published(parrot, "Parrot emulator", parrot.description)
    folder = path.parent.parent if path.name == FILE and is_speculator_folder(path.parent.parent) else path
    if folder.is_dir():
        if not is_speculator_folder(folder):
            ranges = ", ".join(f"{name}/{FILE}" for name in RANGES)
            raise ValueError(
                f"{folder} is a folder without an emulator: Speculator's networks are {ranges} in it"
            )
        speculator = speculator_model(folder, bands)
        return _published(speculator, "Speculator, Prospector-alpha spectra", speculator.description)
    content = read_speculator(path)
    if isinstance(content, SpeculatorPhotometry):
        raise ValueError(
            f"{path} is a Speculator photometry file for {', '.join(content.filters[:4])}, ...: it does not name its "
            "inputs, so it cannot be fitted with from here; starling.published.read_speculator gives it as a function"
        )
    raise ValueError(
        f"{path} is one Speculator spectrum network, {content.wave_aa[0]:.0f} to {content.wave_aa[-1]:.0f} Angstrom: "
        f"name the folder that has all three of {', '.join(RANGES)}"
    )


def _published(model: ForwardModel, kind: str, note: str) -> Published:
    return Published(model, kind, note, {"name": kind, "simulator": note, "surrogate": False})
