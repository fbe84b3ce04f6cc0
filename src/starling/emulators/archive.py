"""What all emulator files are: safetensors with a JSON header in the metadata, which is also written beside it.

Loading runs no code of the file: it checks format, version, names, shapes and that every number is finite.
"""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from starling.emulators.branch import Branch
from starling.emulators.features import FeatureRecipe, Features
from starling.emulators.networks import Architecture, network_from_weights, weights_of
from starling.parameters import ParameterSpace
from starling.simulation.shards import write_atomically

_KEY = "starling"


def write_archive(
    path: Path,
    kind: str,
    version: int,
    header: Mapping[str, Any],
    arrays: Mapping[str, Any],
) -> None:
    """Write ``path`` (.safetensors), in float32, and its header beside it (.json)."""
    content = {**header, "format": kind, "format_version": version}
    tensors = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    write_atomically(path, save(tensors, metadata={_KEY: json.dumps(content)}))
    write_atomically(path.with_suffix(".json"), json.dumps(content, indent=1).encode())


def read_archive(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays; ValueError unless it is a whole file of this kind and version with finite numbers."""
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
    header = _header(path, text, kind, version)
    broken = sorted(name for name, array in arrays.items() if not np.all(np.isfinite(array)))
    if broken:
        raise ValueError(
            f"{path}: {', '.join(broken)} hold numbers that are not finite; download or train it again"
        )
    return header, arrays


def format_of(path: Path) -> str | None:
    """The format that a file says it has; None for what is not one of our files."""
    try:
        with safe_open(path, framework="numpy") as handle:
            found = json.loads((handle.metadata() or {}).get(_KEY, "{}")).get("format")
    except (SafetensorError, OSError, json.JSONDecodeError, AttributeError):
        return None
    return str(found) if found else None


def _header(path: Path, text: str | None, kind: str, version: int) -> dict[str, Any]:
    try:
        header: Any = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: the header is not JSON ({error}); download or train it again") from error
    if not isinstance(header, dict) or header.get("format") != kind:
        raise ValueError(f"{path} is a safetensors file but not a {kind.replace('-', ' ')}")
    if header.get("format_version") != version:
        raise ValueError(
            f"{path} has format version {header.get('format_version')}, this starling reads {version}: "
            "use the starling that wrote it, or train it again"
        )
    return header


def shipped_names() -> tuple[str, ...]:
    """Names of the emulators in the package."""
    return tuple(sorted(path.stem for path in _data().glob("*.safetensors")))


def shipped(name: str) -> Path:
    """The file of an emulator in the package; ValueError with the known names where there is none."""
    if name not in shipped_names():
        raise ValueError(f"the package has no emulator {name!r}; it has {', '.join(shipped_names())}")
    return _data() / f"{name}.safetensors"


def _data() -> Path:
    return Path(str(resources.files("starling") / "data"))


def branch_header(branch: Branch) -> dict[str, Any]:
    """What a header says of a network."""
    return {"architecture": branch.network.shape.to_dict(), "features": branch.features.recipe.to_dict()}


def branch_arrays(role: str, branch: Branch) -> dict[str, Any]:
    """The arrays of a network, by names that begin with its role."""
    weights = {f"{role}.network.{name}": array for name, array in weights_of(branch.network).items()}
    shift, scale = branch.features.shift, branch.features.scale
    return weights | {f"{role}.feature_shift": shift, f"{role}.feature_scale": scale}


def build_branch(
    space: ParameterSpace, role: str, content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Branch:
    """The inverse of ``branch_header`` and ``branch_arrays``; ValueError where they do not fit."""
    shape = Architecture.from_dict(content["architecture"])
    recipe = FeatureRecipe.from_dict(content["features"])
    recipe.check(space)
    shift, scale = (arrays[f"{role}.feature_{name}"] for name in ("shift", "scale"))
    if (shift.shape, scale.shape) != ((shape.n_inputs,),) * 2:
        raise ValueError(f"{shape.n_inputs} inputs of {role}, but features {shift.shape} and {scale.shape}")
    prefix = f"{role}.network."
    weights = {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)}
    features = Features(jnp.asarray(shift), jnp.asarray(scale), recipe, space)
    return Branch(features, network_from_weights(shape, weights))
