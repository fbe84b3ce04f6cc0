"""What the judge and its processes share: the forward model, galaxies in a file, and how one is sampled."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from starling.cli.compiled import keep_compiled
from starling.cli.emulators import find_emulator
from starling.cli.opened import exact_of, open_emulator
from starling.forward import ForwardModel
from starling.inference import ErrorModel, Observation, observe
from starling.inference.nested import NestedSettings, sample_galaxy, save_record
from starling.runs import hash_arrays
from starling.runs.folder import galaxy_path

GALAXIES = "galaxies.safetensors"
_FIXED = "fixed."
_BEGUN = ".galaxy-{:05d}.begun.partial"  # as many characters as there were attempts
_ATTEMPTS = 2  # a galaxy that ended so many processes is given up


def describe_judged(
    name: str,
    folder: Path,
    asked: tuple[str, ...],
    bands: tuple[str, ...],
    sps_home: Path | None,
    exact: bool,
) -> dict[str, Any]:
    """What ``open_judged`` needs, JSON-able: ``asked`` are the bands of the configuration, ``bands`` those in use.

    Paths of emulators and tables count from ``folder``.
    """
    return {
        "emulator": str(find_emulator(name, folder).absolute()),
        "folder": str(folder.absolute()),
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
    if what["exact"]:
        model: ForwardModel = exact_of(emulator, bands, home, Path(what["folder"])).model
    else:
        model = emulator.model.select(bands)
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


def forget_attempts(folder: Path) -> None:
    """Begin anew with counting: what an earlier run was stopped at did not end its process."""
    for path in folder.glob(_BEGUN.replace("{:05d}", "*")):
        path.unlink()


def seed_of(seed: int, identifier: str) -> int:
    """The seed of a galaxy: of the run and of its id, wherever it stands."""
    return int(np.random.SeedSequence([seed, zlib.crc32(identifier.encode())]).generate_state(1)[0])


@contextmanager
def open_galaxies(settings: Mapping[str, Any]) -> Iterator[Callable[[int], str]]:
    """What samples a galaxy by its row and leaves its record in ``folder``: why it failed, or nothing.

    A galaxy that ended ``_ATTEMPTS`` processes is not tried again: it says so, and the others go on.
    """
    keep_compiled()
    folder, about = Path(settings["folder"]), settings["about"]
    given = settings["settings"]
    how = NestedSettings(**{**given, "errors": ErrorModel.from_dict(given["errors"])})
    model = open_judged(settings["model"])

    def sample(row: int) -> str:
        begun = folder / _BEGUN.format(row)
        attempts = begun.stat().st_size if begun.exists() else 0
        if attempts >= _ATTEMPTS:
            begun.unlink()
            return (
                f"its process ended {attempts} times: most often there is no memory left, use fewer --workers"
            )
        with begun.open("a") as file:
            file.write("x")
        try:
            seed = seed_of(about[row]["seed"], about[row]["galaxy"])
            record = sample_galaxy(read_galaxy(folder / GALAXIES, row), model, how, seed)
            save_record(record, galaxy_path(folder, row), about[row])
        except (ValueError, RuntimeError, ArithmeticError) as error:
            begun.unlink()
            return f"{type(error).__name__}: {error}"
        begun.unlink()
        return ""

    yield sample
