"""Rounds of galaxies that a training draws as it goes: one safetensors file each, there whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from starling.simulation.shards import THETA, write_atomically


def round_path(folder: Path, number: int) -> Path:
    """The file of a round."""
    return folder / f"chunk-{number:06d}.safetensors"


def write_round(
    folder: Path,
    number: int,
    theta: Float[np.ndarray, "row param"],
    outputs: Mapping[str, Float[np.ndarray, "row ..."]],
) -> None:
    """Write a round, whole or not at all."""
    arrays = {THETA: theta, **outputs}
    content = save({name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})
    write_atomically(round_path(folder, number), content)


def round_is_whole(folder: Path, number: int, n_rows: int) -> bool:
    """Whether a round is there with the expected number of rows; a damaged file counts as absent."""
    path = round_path(folder, number)
    if not path.exists():
        return False
    try:
        with safe_open(path, framework="numpy") as handle:
            rows = {handle.get_slice(name).get_shape()[0] for name in (THETA, *handle.offset_keys())}
    except (SafetensorError, OSError):
        return False
    return rows == {n_rows}


def read_round(folder: Path, number: int) -> dict[str, np.ndarray]:
    """The arrays of a round by name, failed rows too."""
    return load_file(round_path(folder, number))
