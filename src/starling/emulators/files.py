"""Emulators on disk: one safetensors file whose metadata hold a JSON header, which is also written beside it.

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

from starling.emulators.features import FeatureRecipe, Features
from starling.emulators.networks import Architecture, network_from_weights, weights_of
from starling.emulators.photometry import PhotometryEmulator
from starling.parameters import ParameterSpace
from starling.photometry import load_band
from starling.simulation.store import write_atomically

FORMAT = "starling-photometry-emulator"
FORMAT_VERSION = 1
DEFAULT = "prospector_alpha.safetensors"
_KEY = "starling"
_NETWORK = "network."
_OTHER = (
    "feature_shift",
    "feature_scale",
    "property_kernel",
    "property_bias",
    "sigma_mag",
    "wave_effective_aa",
)


def save_emulator(path: Path, emulator: PhotometryEmulator, header: dict[str, Any]) -> None:
    """Write ``path`` (.safetensors) and the header beside it (.json).

    ``header`` is what cannot be read off the emulator: architecture, curve hashes, provenance, accuracy.
    """
    content = {
        **header,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "space": emulator.space.to_dict(),
        "features": emulator.features.recipe.to_dict(),
        "bands": list(emulator.bands),
        "softening_maggies": emulator.softening,
        "observed_softening_maggies": emulator.observed_softening,
        "units": {
            "flux": "maggies (f_nu / 3631 Jy)",
            "network_output": "arsinh magnitude of the flux at 10 pc per Msun formed",
            "wavelength": "Angstrom",
        },
    }
    arrays = {_NETWORK + name: array for name, array in weights_of(emulator.network).items()}
    arrays |= {
        "feature_shift": emulator.features.shift,
        "feature_scale": emulator.features.scale,
        **{name: getattr(emulator, name) for name in _OTHER[2:]},
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
    weights = {
        name.removeprefix(_NETWORK): array for name, array in arrays.items() if name.startswith(_NETWORK)
    }
    other = {name: jnp.asarray(array) for name, array in arrays.items() if not name.startswith(_NETWORK)}
    shape = Architecture(**header["architecture"])
    expected = {
        "feature_shift": (shape.n_inputs,),
        "feature_scale": (shape.n_inputs,),
        "property_kernel": (shape.width, len(header["properties"])),
        "property_bias": (len(header["properties"]),),
        "sigma_mag": (shape.n_outputs,),
        "wave_effective_aa": (shape.n_outputs,),
    }
    if {name: array.shape for name, array in other.items()} != expected:
        raise ValueError(f"expected arrays {expected}, found { {n: a.shape for n, a in other.items()} }")
    if len(header["bands"]) != shape.n_outputs:
        raise ValueError(f"{len(header['bands'])} bands for {shape.n_outputs} outputs")
    space = ParameterSpace.from_dict(header["space"])
    recipe = FeatureRecipe.from_dict(header["features"])
    recipe.check(space)
    return PhotometryEmulator(
        features=Features(other["feature_shift"], other["feature_scale"], recipe, space),
        network=network_from_weights(shape, weights),
        property_kernel=other["property_kernel"],
        property_bias=other["property_bias"],
        sigma_mag=other["sigma_mag"],
        wave_effective_aa=other["wave_effective_aa"],
        space=space,
        bands=tuple(header["bands"]),
        softening=float(header["softening_maggies"]),
        observed_softening=float(header["observed_softening_maggies"]),
    )
