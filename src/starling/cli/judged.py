"""What the judge and its processes share: the forward model that is judged with, and galaxies in a file."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from starling.cli.emulators import find_emulator
from starling.cli.pipeline import Emulator, open_emulator
from starling.cli.simulator import describe_model, named_tables
from starling.emulators.config import SimulatorConfig
from starling.execution import hash_arrays
from starling.forward import ForwardModel
from starling.inference import Observation, observe
from starling.sps import exact_model

_FIXED = "fixed."


def exact_of(emulator: Emulator, bands: tuple[str, ...], sps_home: Path | None) -> Emulator:
    """The exact model that an emulator imitates, for these bands, in its place.

    Raises ValueError where its file does not name a model that runs in this package.
    """
    config = emulator.header.get("config", {}).get("simulator")
    if config is None:
        raise ValueError(f"{emulator.name} does not say which simulator it imitates: leave out --exact")
    settings = SimulatorConfig.model_validate(config)
    if settings.code == "fsps":
        raise ValueError(
            f"{emulator.name} imitates FSPS, which has no model in JAX: judge with its tables "
            "(`starling ssp export`) or leave out --exact"
        )
    space = emulator.model.space
    model = exact_model(named_tables(settings.tables, space, sps_home), bands, space)
    header = {"name": "exact model", "surrogate": model.surrogate, "simulator": describe_model(model)}
    return Emulator(model, f"the exact model of {emulator.name}", header)


def describe_judged(
    name: str,
    folder: Path,
    asked: tuple[str, ...],
    bands: tuple[str, ...],
    sps_home: Path | None,
    exact: bool,
) -> dict[str, Any]:
    """What ``open_judged`` needs, JSON-able: ``asked`` are the bands of the configuration, ``bands`` those in use."""
    return {
        "emulator": str(find_emulator(name, folder).absolute()),
        "asked": list(asked),
        "bands": list(bands),
        "sps_home": None if sps_home is None else str(sps_home.absolute()),
        "exact": exact,
    }


def open_judged(what: dict[str, Any]) -> ForwardModel:
    """The forward model of ``describe_judged``; ValueError where it is not the one with the ``sha256`` in it."""
    emulator = open_emulator(what["emulator"], Path(), tuple(what["asked"]))
    bands = tuple(what["bands"])
    home = None if what["sps_home"] is None else Path(what["sps_home"])
    model = exact_of(emulator, bands, home).model if what["exact"] else emulator.model.select(bands)
    if what.get("sha256") not in (None, hash_arrays((model, bands))):
        raise ValueError(f"{what['emulator']} has changed since the run was started: start it again")
    return model


def write_galaxies(observations: Observation, path: Path) -> None:
    """The photometry of galaxies, for the processes."""
    known = {_FIXED + name: value for name, value in observations.fixed.items()}
    arrays = {
        name: np.ascontiguousarray(value)
        for name, value in ({**observations._asdict(), **known}).items()
        if name != "fixed"
    }
    save_file(arrays, path)


def read_galaxy(path: Path, row: int) -> Observation:
    """One galaxy of a file that ``write_galaxies`` wrote."""
    arrays = {name: value[row] for name, value in load_file(path).items()}
    fixed = {n.removeprefix(_FIXED): arrays.pop(n) for n in [*arrays] if n.startswith(_FIXED)}
    return observe(**arrays, fixed=fixed)
