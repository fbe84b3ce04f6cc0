"""Photometry emulators on disk (``starling.emulators.archive``).

A stitched emulator is one file too: its networks' arrays have a leading axis, the member, and the header has
``domains``, the redshift range of each.
"""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from starling.emulators.archive import (
    branch_arrays,
    branch_header,
    build_branch,
    read_archive,
    shipped,
    write_archive,
)
from starling.emulators.direct import DirectCore, direct_core
from starling.emulators.domain import Domain
from starling.emulators.errors import ErrorModel
from starling.emulators.features import REDSHIFT
from starling.emulators.mixture import MixtureCore, mixture_core
from starling.emulators.photometry import PhotometryEmulator
from starling.emulators.stitched import StitchedCore, stitched_core
from starling.lines import LineLight, line_light
from starling.parameters import ParameterSpace
from starling.photometry import load_band, load_bands

FORMAT = "starling-photometry-emulator"
FORMAT_VERSION = 2
DEFAULT = "prospector_alpha"
_PER_BAND = ("sigma_mag", "wave_effective_aa")
_LINES = "line_wave_aa"
# A file may have these two or not: what ``starling calibrate`` adds.
_COVARIANCE = "error_covariance"
_ERROR = "error"


def save_emulator(path: Path, emulator: PhotometryEmulator, header: dict[str, Any]) -> None:
    """Write ``path`` (.safetensors) and the header beside it (.json).

    ``header`` is what cannot be read off the emulator: curve hashes, provenance, accuracy.
    """
    branches = emulator.core.branches()
    errors = {} if emulator.errors is None else {_ERROR: emulator.errors.local}
    core, stitched = emulator.core, {}
    if isinstance(core, StitchedCore):
        stitched["domains"] = np.asarray(core.domains, float).tolist()
        core = core.members
    content = {
        **header,
        "kind": "direct" if isinstance(core, DirectCore) else "mixture",
        **stitched,
        "networks": {role: branch_header(branch) for role, branch in branches.items()},
        **({"error_model": {_ERROR: branch_header(errors[_ERROR])}} if errors else {}),
        **({} if emulator.domain is None else {"domain": emulator.domain.to_dict()}),
        "space": emulator.space.to_dict(),
        "bands": list(emulator.bands),
        "softening_maggies": emulator.softening,
        "observed_softening_maggies": emulator.observed_softening,
        "units": {
            "flux": "maggies (f_nu / 3631 Jy)",
            "direct": "arsinh magnitude of the flux at 10 pc per Msun formed",
            "mixture": "ln of the components of starling.components",
            "wavelength": "Angstrom",
        },
    }
    arrays = {name: getattr(emulator, name) for name in _PER_BAND}
    if isinstance(core, MixtureCore):
        arrays[_LINES] = core.line_wave_aa
    if emulator.errors is not None:
        arrays[_COVARIANCE] = emulator.errors.covariance
    for role, branch in (branches | errors).items():
        arrays |= branch_arrays(role, branch)
    write_archive(path, FORMAT, FORMAT_VERSION, content, arrays)


def load_emulator(path: Path | str) -> PhotometryEmulator:
    """Read an emulator; ValueError says what is wrong with a file and what to do."""
    header, arrays = read_archive(Path(path), FORMAT, FORMAT_VERSION)
    try:
        return _build(header, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: header and weights do not fit ({error}); download or train it again"
        ) from error


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of an emulator file: how it was made and how accurate it is; ValueError as ``load_emulator``."""
    return read_archive(Path(path), FORMAT, FORMAT_VERSION)[0]


def add_accuracy(path: Path, kind: str, statistics: dict[str, Any]) -> None:
    """Write further measurements into the header of an emulator file, under ``accuracy``."""
    header = read_header(path)
    header["accuracy"][kind] = statistics
    save_emulator(path, load_emulator(path), header)


def default_path() -> Path:
    """The file of the default emulator of the package: Prospector-alpha, 0.5 < z < 3."""
    return shipped(DEFAULT)


def load_default() -> PhotometryEmulator:
    """The default emulator of the package."""
    return load_emulator(default_path())


def changed_curves(header: dict[str, Any]) -> list[str]:
    """Bands whose curve in the installed sedpy differs from the one that the emulator was trained on, or is gone."""
    changed = []
    for name, sha256 in zip(header["bands"], header["curve_sha256"], strict=True):
        try:
            same = load_band(name).sha256 == sha256
        except ValueError:
            same = False
        if not same:
            changed.append(name)
    return changed


def _build(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> PhotometryEmulator:
    space = ParameterSpace.from_dict(header["space"])
    n_bands, softening = len(header["bands"]), float(header["softening_maggies"])
    roles = header["networks"]
    known = {*_PER_BAND, _LINES, _COVARIANCE, *roles, *header.get("error_model", {})}
    left = sorted(n for n in arrays if n not in known and n.partition(".")[0] not in known)
    if left:
        raise ValueError(f"arrays that nothing uses: {', '.join(left)}")
    light = None
    if header["kind"] != "direct":
        max_zred = space.parameters[space.index(REDSHIFT)].high
        light = line_light(arrays[_LINES].astype(float), load_bands(header["bands"]), max_zred)
    core = _build_core(header, space, arrays, softening, light)
    shapes = {name: arrays[name].shape for name in _PER_BAND}
    if set(shapes.values()) != {(n_bands,)} or core.n_bands != n_bands:
        raise ValueError(f"{n_bands} bands, but {core.n_bands} in the networks and arrays {shapes}")
    return PhotometryEmulator(
        core=core,
        **{name: jnp.asarray(arrays[name]) for name in _PER_BAND},
        space=space,
        bands=tuple(header["bands"]),
        softening=softening,
        observed_softening=float(header["observed_softening_maggies"]),
        errors=_build_errors(space, n_bands, header, arrays),
        domain=Domain.from_dict(header["domain"]) if "domain" in header else None,
    )


def _build_errors(
    space: ParameterSpace, n_bands: int, header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> ErrorModel | None:
    if "error_model" not in header:
        return None
    covariance = arrays[_COVARIANCE]
    local = build_branch(space, _ERROR, header["error_model"][_ERROR], arrays)
    if covariance.shape != (n_bands, n_bands) or local.n_outputs != n_bands:
        raise ValueError(f"{n_bands} bands, but errors of {covariance.shape} and {local.n_outputs}")
    return ErrorModel(jnp.asarray(covariance), local)


def _build_core(
    header: dict[str, Any],
    space: ParameterSpace,
    arrays: dict[str, np.ndarray],
    softening: float,
    light: LineLight | None,
) -> DirectCore | MixtureCore | StitchedCore:
    roles = header["networks"]
    if "domains" in header:
        domains = [(float(low), float(high)) for low, high in header["domains"]]
        members = []
        for number in range(len(domains)):
            own = {
                name: _of_member(array, number, len(domains))
                for name, array in arrays.items()
                if name.partition(".")[0] in roles
            }
            members.append({role: build_branch(space, role, content, own) for role, content in roles.items()})
        return stitched_core(members, domains, space, softening, light)
    branches = {role: build_branch(space, role, content, arrays) for role, content in roles.items()}
    return direct_core(branches, softening) if light is None else mixture_core(branches, light, space)


def _of_member(array: np.ndarray, number: int, n_members: int) -> np.ndarray:
    if array.shape[0] != n_members:
        raise ValueError(f"{n_members} domains, but arrays of {array.shape[0]} members")
    return array[number]
