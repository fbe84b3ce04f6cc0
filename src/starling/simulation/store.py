"""A simulated set on disk: a folder with one JSON manifest and one safetensors file per chunk.

A chunk is written beside its place and renamed, so a file that bears a chunk's name is whole. The manifest holds the
identity of the set: whatever decides its numbers. A folder whose manifest names another identity is refused.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

FORMAT = "starling-simulated-set"
FORMAT_VERSION = 2
MANIFEST = "manifest.json"
THETA = "theta"


class SimulatedSet(NamedTuple):
    """Rows of a set whose every number is finite, in the order of the draws; float32.

    ``outputs`` are the simulator's arrays by name, see ``simulation.generate.Simulator``; ``n_failed`` rows were left
    out because a number was not finite.
    """

    theta: Float[np.ndarray, "row param"]
    outputs: dict[str, Float[np.ndarray, "row ..."]]
    n_failed: int


def identity_hash(identity: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON-able description."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def content_hash(sets: Mapping[str, SimulatedSet]) -> str:
    """SHA-256 of all numbers of some sets, with their names and shapes."""
    digest = hashlib.sha256()
    for name in sorted(sets):
        arrays = {THETA: sets[name].theta, **sets[name].outputs}
        for key in sorted(arrays):
            array = np.ascontiguousarray(arrays[key], "<f4")
            digest.update(json.dumps([name, key, array.shape]).encode())
            digest.update(array.data)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that, whatever happens, ``path`` holds the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def open_set(folder: Path, identity: Mapping[str, Any]) -> None:
    """Make the folder of a set, or check that the one there is of the same set; ValueError says what differs."""
    manifest = folder / MANIFEST
    # through JSON once, so that tuples and lists compare equal
    identity = json.loads(json.dumps(identity))
    if not manifest.exists():
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "sha256": identity_hash(identity),
            "identity": identity,
        }
        write_atomically(manifest, json.dumps(content, indent=1).encode())
        return
    check_set(folder, identity)


def check_set(folder: Path, identity: Mapping[str, Any]) -> None:
    """ValueError unless a folder holds the set of this identity; says what differs."""
    identity = json.loads(json.dumps(identity))
    found = read_manifest(folder)["identity"]
    differing = sorted(key for key in {*identity, *found} if identity.get(key) != found.get(key))
    if differing:
        raise ValueError(
            f"{folder} holds a set that was made with another {', '.join(differing)}; "
            "give another folder, or remove this one to simulate anew"
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a set; ValueError where it is not one of ours or of another version."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{folder / MANIFEST} is not a readable manifest: {error}; remove the folder"
        ) from error
    if manifest.get("format") != FORMAT or manifest.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"{folder} is not a simulated set of format version {FORMAT_VERSION}; remove the folder"
        )
    return manifest


def chunk_path(folder: Path, index: int) -> Path:
    """The file of a chunk."""
    return folder / f"chunk-{index:06d}.safetensors"


def write_chunk(
    folder: Path,
    index: int,
    theta: Float[np.ndarray, "row param"],
    outputs: Mapping[str, Float[np.ndarray, "row ..."]],
) -> None:
    """Write a chunk, whole or not at all."""
    arrays = {THETA: theta, **outputs}
    content = save({name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})
    write_atomically(chunk_path(folder, index), content)


def chunk_is_whole(folder: Path, index: int, n_rows: int) -> bool:
    """Whether a chunk is there with the expected number of rows; a damaged file counts as absent."""
    path = chunk_path(folder, index)
    if not path.exists():
        return False
    try:
        with safe_open(path, framework="numpy") as handle:
            rows = {handle.get_slice(name).get_shape()[0] for name in (THETA, *handle.offset_keys())}
    except (SafetensorError, OSError):
        return False
    return rows == {n_rows}


def read_chunk(folder: Path, index: int) -> dict[str, np.ndarray]:
    """The arrays of a chunk by name, failed rows too."""
    return load_file(chunk_path(folder, index))


def read_set(folder: Path, n_chunks: int) -> SimulatedSet:
    """The whole set in memory, without its failed rows."""
    chunks = []
    n_failed = 0
    for index in range(n_chunks):
        chunk = read_chunk(folder, index)
        finite = finite_rows(*chunk.values())
        n_failed += int(np.sum(~finite))
        chunks.append({name: array[finite] for name, array in chunk.items()} if not finite.all() else chunk)
    names = [name for name in chunks[0] if name != THETA]
    theta, *outputs = (np.concatenate([chunk[name] for chunk in chunks]) for name in (THETA, *names))
    return SimulatedSet(theta, dict(zip(names, outputs, strict=True)), n_failed)


def finite_rows(*arrays: Float[np.ndarray, "row ..."]) -> np.ndarray:
    """True for the rows in which every number of every array is finite."""
    return np.logical_and.reduce([np.isfinite(array.reshape(len(array), -1)).all(axis=1) for array in arrays])
