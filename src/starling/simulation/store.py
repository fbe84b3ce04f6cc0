"""A simulated set on disk: a folder with a manifest, which says what the numbers are, and the numbers in shards.

The manifest holds the identity of the set: whatever decides its numbers. A folder whose manifest names another identity
is refused. The numbers are those of ``starling.simulation.shards``.
"""

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from starling.simulation.draws import Plan
from starling.simulation.shards import (
    THETA,
    Record,
    n_rows_of,
    prepare_shards,
    read_record,
    read_rows,
    write_atomically,
)

FORMAT = "starling-simulated-set"
FORMAT_VERSION = 3
MANIFEST = "manifest.json"
FAILED = "failed.ecsv"
_LIBRARIES = ("starling-sed", "jax", "jaxlib", "numpy", "scipy", "astro-sedpy", "zarr")


class StorageError(RuntimeError):
    """The disk does not take a set; the message says why and what to do, and what is finished is safe."""


class SimulatedSet(NamedTuple):
    """Rows of a set whose every number is finite, in the order of the draws; float32.

    ``outputs`` are the simulator's arrays by name, see ``simulation.generate.Simulator``; ``n_failed`` rows were left
    out because they failed.
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


def library_versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of the distributions that are installed, by name."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def storage(folder: Path) -> Iterator[None]:
    """Turn what the disk says while the context lasts into a StorageError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        mend = "make room there" if full else "see to it"
        raise StorageError(
            f"cannot write to {folder}: {error.strerror or error}; what is finished is safe: {mend} and run the same "
            "command again, or choose another folder with --out"
        ) from error


def set_identity(
    plan: Plan, description: Mapping[str, Any], coordinates: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What decides the numbers of a set, JSON-able: its points, the simulator, what all rows have in common."""
    common = {name: _array_hash(array) for name, array in sorted(coordinates.items())}
    identity = {"draws": plan.to_dict(), "simulator": dict(description)}
    return identity | ({"coordinates": common} if common else {})


def open_set(
    folder: Path, identity: Mapping[str, Any], n: int, coordinates: Mapping[str, np.ndarray] | None = None
) -> None:
    """Make the folder of a set of ``n`` rows, or check that the one there is of the same set (``set_identity``).

    ``coordinates`` are arrays that all rows have in common.

    ValueError says what differs, StorageError why the folder cannot be written.
    """
    manifest = folder / MANIFEST
    identity = json.loads(json.dumps(dict(identity)))  # so that tuples and lists compare equal
    versions = library_versions(_LIBRARIES)
    found = None
    if manifest.exists():
        check_set(folder, identity)
        found = read_manifest(folder)
    with storage(folder):
        if found is None or versions not in found["versions"]:
            content = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "sha256": identity_hash(identity),
                "identity": identity,
                "versions": [*(found["versions"] if found else []), versions],
            }
            write_atomically(manifest, json.dumps(content, indent=1).encode())
        prepare_shards(folder, n, coordinates or {})


def _array_hash(array: np.ndarray) -> str:
    content = np.ascontiguousarray(array, "<f8")
    return hashlib.sha256(json.dumps(content.shape).encode() + content.tobytes()).hexdigest()


def check_set(folder: Path, identity: Mapping[str, Any]) -> None:
    """ValueError unless a folder holds the set of this identity; says what differs."""
    identity = json.loads(json.dumps(identity))
    differing = differences(read_manifest(folder)["identity"], identity)
    if differing:
        raise ValueError(
            f"{folder} holds a set that was made with another {', '.join(differing)}; "
            "give another folder, or remove this one to simulate anew"
        )


def differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Where two JSON-able descriptions differ, as dotted keys."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return [] if found == wanted else [path]
    return [
        place
        for key in sorted({*found, *wanted})
        for place in differences(found.get(key), wanted.get(key), f"{path}.{key}" if path else key)
    ]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a set; ValueError where it is not one of ours or of another version."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{folder / MANIFEST} is not a readable manifest: {error}; remove the folder"
        ) from error
    if manifest.get("format") != FORMAT or manifest.get("version") != FORMAT_VERSION:
        found = f"version {manifest['version']}" if manifest.get("format") == FORMAT else "something else"
        raise ValueError(
            f"{folder} is not a simulated set of format version {FORMAT_VERSION} but {found}; remove the folder, and "
            "simulate anew"
        )
    return manifest


def read_records(folder: Path, n: int) -> list[Record]:
    """The records of the shards that hold the first ``n`` rows; ValueError where one is not there."""
    chunk = read_manifest(folder)["identity"]["draws"]["chunk"]
    found = [read_record(folder, index) for index in range(-(-n // chunk))]
    records = [record for record in found if record is not None]
    have = sum(record.rows for record in records)
    if len(records) < len(found) or have < n:
        raise ValueError(
            f"{folder} has {have} of {n} rows: run the `starling simulate` that makes it again, which goes on where it "
            "stopped"
        )
    return records


def read_set(folder: Path, n: int | None = None) -> SimulatedSet:
    """The first ``n`` rows of a set (all without it) in memory, without those that failed.

    ValueError where the set is not finished or damaged, or where every row failed.
    """
    n = n_rows_of(folder) if n is None else n
    failed = failures(folder, n)
    arrays = read_rows(folder, 0, n)
    if failed:
        if len(failed) == n:
            raise ValueError(f"all {n} galaxies of {folder} failed, the first one: {failed[min(failed)]}")
        good = np.ones(n, bool)
        good[list(failed)] = False
        arrays = {name: array[good] for name, array in arrays.items()}
    theta = arrays.pop(THETA)
    return SimulatedSet(theta, arrays, len(failed))


def failures(folder: Path, n: int | None = None) -> dict[int, str]:
    """The rows that failed, of the first ``n`` or of all, and why; ValueError where the set is not finished."""
    n = n_rows_of(folder) if n is None else n
    return {row: why for record in read_records(folder, n) for row, why in record.failed.items() if row < n}


def write_failed(folder: Path, names: Sequence[str], n: int) -> None:
    """Write what failed of the first ``n`` rows into a table of the folder: row, reason, parameters."""
    failed = failures(folder, n)
    path = folder / FAILED
    if not failed:
        path.unlink(missing_ok=True)
        return
    chunk = read_manifest(folder)["identity"]["draws"]["chunk"]
    theta = []
    for shard in sorted({row // chunk for row in failed}):
        rows = read_rows(folder, shard * chunk, (shard + 1) * chunk, [THETA])[THETA]
        theta += [rows[row % chunk] for row in sorted(failed) if row // chunk == shard]
    table = Table({"row": sorted(failed), "reason": [failed[row] for row in sorted(failed)]})
    for column, name in enumerate(names):
        table[name] = np.array([point[column] for point in theta], np.float32)
    text = StringIO()
    table.write(text, format="ascii.ecsv")
    write_atomically(path, text.getvalue().encode())


def finite_rows(*arrays: Float[np.ndarray, "row ..."]) -> np.ndarray:
    """True for the rows in which every number of every array is finite."""
    return np.logical_and.reduce([_finite(array.reshape(len(array), -1)) for array in arrays])


def _finite(rows: Float[np.ndarray, "row number"]) -> np.ndarray:
    """The same for one array: a sum is finite, or (it may have overflown) its terms are looked at."""
    with np.errstate(over="ignore", invalid="ignore"):
        good = np.isfinite(rows.sum(axis=1))
    good[~good] = np.isfinite(rows[~good]).all(axis=1)
    return good
