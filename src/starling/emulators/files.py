"""Emulators on disk: one safetensors file whose metadata hold a JSON header, which is also written beside it.

A stitched emulator is one file too: its networks' arrays have a leading axis, the member, and the header has
``domains``, the redshift range of each.
Loading runs no code of the file: it checks format, version, names, shapes and that every number is finite.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from starling.emulators.branch import Branch
from starling.emulators.direct import DirectCore, direct_core
from starling.emulators.features import REDSHIFT, FeatureRecipe, Features
from starling.emulators.mixture import MixtureCore, mixture_core
from starling.emulators.networks import Architecture, network_from_weights, weights_of
from starling.emulators.photometry import PhotometryEmulator
from starling.emulators.stitched import StitchedCore, stitched_core
from starling.lines import LineLight, line_light
from starling.parameters import ParameterSpace
from starling.photometry import load_band, load_bands
from starling.simulation.store import write_atomically

FORMAT = "starling-photometry-emulator"
FORMAT_VERSION = 2
DEFAULT = "prospector_alpha.safetensors"
_KEY = "starling"
_PER_BAND = ("sigma_mag", "wave_effective_aa")
_LINES = "line_wave_aa"


def save_emulator(path: Path, emulator: PhotometryEmulator, header: dict[str, Any]) -> None:
    """Write ``path`` (.safetensors) and the header beside it (.json).

    ``header`` is what cannot be read off the emulator: curve hashes, provenance, accuracy.
    """
    branches = emulator.core.branches()
    core = emulator.core
    domains: dict[str, Any] = {}
    if isinstance(core, StitchedCore):
        domains["domains"] = np.asarray(core.domains, float).tolist()
        core = core.members
    content = {
        **header,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": "direct" if isinstance(core, DirectCore) else "mixture",
        **domains,
        "networks": {
            role: {
                "architecture": branch.network.shape.to_dict(),
                "features": branch.features.recipe.to_dict(),
            }
            for role, branch in branches.items()
        },
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
    for role, branch in branches.items():
        arrays |= {f"{role}.network.{name}": array for name, array in weights_of(branch.network).items()}
        arrays |= {
            f"{role}.feature_shift": branch.features.shift,
            f"{role}.feature_scale": branch.features.scale,
        }
    text = json.dumps(content)
    tensors = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    write_atomically(path, save(tensors, metadata={_KEY: text}))
    write_atomically(path.with_suffix(".json"), json.dumps(content, indent=1).encode())


def load_emulator(path: Path | str) -> PhotometryEmulator:
    """Read an emulator; ValueError says what is wrong with a file and what to do."""
    header, arrays = _read(Path(path))
    broken = sorted(name for name, array in arrays.items() if not np.all(np.isfinite(array)))
    if broken:
        raise ValueError(
            f"{path}: {', '.join(broken)} hold numbers that are not finite; download or train it again"
        )
    try:
        return _build(header, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: header and weights do not fit ({error}); download or train it again"
        ) from error


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of an emulator file: how it was made and how accurate it is; ValueError as ``load_emulator``."""
    return _read(Path(path))[0]


def default_path() -> Path:
    """The file of the emulator that the package ships: Prospector-alpha, 0.5 < z < 3."""
    return Path(str(resources.files("starling") / "data" / DEFAULT))


def load_default() -> PhotometryEmulator:
    """The emulator that the package ships."""
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


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file; ValueError unless it is a whole emulator file of our version."""
    if not path.is_file():
        raise ValueError(f"there is no emulator file {path}; `starling train CONFIG` makes one")
    try:
        with safe_open(path, framework="numpy") as handle:
            text = (handle.metadata() or {}).get(_KEY)
            arrays = {name: handle.get_tensor(name) for name in handle.offset_keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is damaged or not a safetensors file ({error}); download or train it again"
        ) from error
    return _check_header(path, text), arrays


def _check_header(path: Path, text: str | None) -> dict[str, Any]:
    try:
        header: Any = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: the header is not JSON ({error}); download or train it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file but not a starling photometry emulator")
    if header.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {header.get('format_version')}, this starling reads {FORMAT_VERSION}: "
            "use the starling that wrote it, or train it again"
        )
    return header


def _build(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> PhotometryEmulator:
    space = ParameterSpace.from_dict(header["space"])
    n_bands, softening = len(header["bands"]), float(header["softening_maggies"])
    roles = header["networks"]
    left = sorted(n for n in arrays if n not in (*_PER_BAND, _LINES) and n.partition(".")[0] not in roles)
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
    )


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
                name: _of_member(array, number, len(domains)) for name, array in arrays.items() if "." in name
            }
            members.append(
                {role: _build_branch(space, role, content, own) for role, content in roles.items()}
            )
        return stitched_core(members, domains, space, softening, light)
    branches = {role: _build_branch(space, role, content, arrays) for role, content in roles.items()}
    return direct_core(branches, softening) if light is None else mixture_core(branches, light, space)


def _of_member(array: np.ndarray, number: int, n_members: int) -> np.ndarray:
    if array.shape[0] != n_members:
        raise ValueError(f"{n_members} domains, but arrays of {array.shape[0]} members")
    return array[number]


def _build_branch(
    space: ParameterSpace, role: str, content: dict[str, Any], arrays: dict[str, np.ndarray]
) -> Branch:
    shape = Architecture(**content["architecture"])
    recipe = FeatureRecipe.from_dict(content["features"])
    recipe.check(space)
    shift, scale = (arrays[f"{role}.feature_{name}"] for name in ("shift", "scale"))
    if (shift.shape, scale.shape) != ((shape.n_inputs,),) * 2:
        raise ValueError(f"{shape.n_inputs} inputs of {role}, but features {shift.shape} and {scale.shape}")
    prefix = f"{role}.network."
    weights = {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)}
    features = Features(jnp.asarray(shift), jnp.asarray(scale), recipe, space)
    return Branch(features, network_from_weights(shape, weights))
