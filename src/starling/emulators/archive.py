"""What all emulator files are: ``starling.archives`` of networks, in float32."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from starling.archives import Kind, read_arrays, write_arrays
from starling.emulators.branch import Branch
from starling.emulators.features import FeatureRecipe, Features
from starling.emulators.networks import Architecture, network_from_weights, weights_of
from starling.parameters import ParameterSpace


def write_archive(
    path: Path,
    kind: str,
    version: int,
    header: Mapping[str, Any],
    arrays: Mapping[str, Any],
) -> None:
    """Write ``path`` (.safetensors), in float32, and its header beside it (.json)."""
    tensors = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    write_arrays(path, _kind(kind, version), header, tensors)


def read_archive(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays; ValueError unless it is a whole file of this kind and version with finite numbers."""
    return read_arrays(path, _kind(kind, version))


def _kind(kind: str, version: int) -> Kind:
    return Kind(kind, version, "emulator file", "starling train CONFIG", "download or train it again")


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
