"""Checkpoints of a training run: one safetensors file, replaced atomically, that continues the run exactly.

Orbax was tried: of a damaged checkpoint its readers go on in threads of their own after the error is raised, which can
end the interpreter. This is 60 lines, flushes to the disk before the name changes, and finds a single flipped bit.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from starling.simulation.shards import write_atomically

_MEND = "; remove it, or train with --fresh"


def save_checkpoint(path: Path, state: Any, info: dict[str, Any]) -> None:
    """Write the arrays of a pytree and a JSON-able ``info``."""
    leaves = {f"{i:04d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(jax.device_get(state)))}
    about = json.dumps(info)
    write_atomically(path, save(leaves, metadata={"info": about, "sha256": _hash(about, leaves)}))


def load_checkpoint(path: Path, like: Any) -> tuple[Any, dict[str, Any]] | None:
    """The pytree (of the structure of ``like``) and the ``info`` of the checkpoint; None where there is none.

    Raises ValueError where it is damaged or of another structure.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as handle:
            about = handle.metadata() or {}
            found = {name: handle.get_tensor(name) for name in sorted(handle.offset_keys())}
        if about["sha256"] != _hash(about["info"], found):
            raise ValueError("its content is not what was written")
        info: dict[str, Any] = json.loads(about["info"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:  # json's errors are ValueErrors
        raise ValueError(f"{path} is not a readable checkpoint ({error}){_MEND}") from error
    expected, structure = jax.tree.flatten(like)
    leaves = list(found.values())
    if [(jnp.shape(a), jnp.result_type(a)) for a in expected] != [(a.shape, a.dtype) for a in leaves]:
        raise ValueError(f"{path} is a checkpoint of another network or optimizer{_MEND}")
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves]), info


def remove_checkpoint(path: Path) -> None:
    """Make room for another run."""
    path.unlink(missing_ok=True)


def _hash(about: str, leaves: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(about.encode())
    for name, leaf in leaves.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
