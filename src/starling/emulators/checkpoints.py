"""Checkpoints of a training run: one safetensors file, replaced atomically, that continues the run exactly."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from starling.simulation.store import write_atomically


def save_checkpoint(path: Path, state: Any, info: dict[str, Any]) -> None:
    """Write the arrays of a pytree and a JSON-able ``info``."""
    leaves = {f"{i:04d}": jax.device_get(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    write_atomically(path, save(leaves, metadata={"info": json.dumps(info)}))


def load_checkpoint(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """The pytree (of the structure of ``like``) and the ``info`` of a checkpoint.

    Raises ValueError where the file is damaged or of another structure.
    """
    mend = "; remove it, or train with --fresh"
    try:
        with safe_open(path, framework="numpy") as handle:
            info: dict[str, Any] = json.loads((handle.metadata() or {})["info"])
            leaves = [handle.get_tensor(name) for name in sorted(handle.offset_keys())]
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a readable checkpoint ({error}){mend}") from error
    expected, structure = jax.tree.flatten(like)
    if [(jnp.shape(a), jnp.result_type(a)) for a in expected] != [(a.shape, a.dtype) for a in leaves]:
        raise ValueError(f"{path} is a checkpoint of another network or optimizer{mend}")
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves]), info
