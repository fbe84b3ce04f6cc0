"""The numbers of a simulated set: one zarr group, a shard of every array for so many rows, and a record of each shard.

``data.zarr`` has an array ``theta`` [row, parameter] and one for every output of the simulator, rows first, float32,
NaN where nothing is; any reader of zarr 3 opens it. Shard ``i`` is the file ``NAME/c/i/0...`` of every array, in
blocks of ``BLOCK`` rows, each with a CRC-32C. ``shards/000000.json`` is written last: number of rows, the
checksums, rows that failed and why. A shard without a record that fits its files is not there.
``data.zarr/coordinates`` has what all rows have in common, float64.
"""

import json
import math
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from jaxtyping import Float
from zarr.codecs import Crc32cCodec
from zarr.errors import ContainsArrayError

from starling.simulation.blocks import blocks_are_whole, write_blocks

DATA = "data.zarr"
COORDINATES = "coordinates"
RECORDS = "shards"
THETA = "theta"
BLOCK = 256

_CHANNELS = {"stars": ("bin", "channel"), "dust": ("channel",), "torus": ("channel",)}
_BINS = dict.fromkeys(("absorbed", "bolometric", "mass_fraction"), ("bin",))
_OTHERS = {"lines": ("line",), "rest_flux": ("band",), "properties": ("property",)}
_DIMENSIONS = _CHANNELS | _BINS | _OTHERS | {THETA: ("parameter",), "direction": ("parameter",)}


class Record(NamedTuple):
    """What is known of a shard: rows, checksums of every array's blocks, rows (of the set) that failed, and why."""

    rows: int
    crc32c: dict[str, list[int]]
    failed: dict[int, str]


def write_atomically(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file so that, whatever happens, ``path`` holds the old content or the new, never a part.

    Without ``sync`` that is so unless the machine itself stops.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            if sync:
                handle.flush()
                os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def prepare_shards(folder: Path, n: int, coordinates: Mapping[str, np.ndarray]) -> None:
    """Make the group where there is none; remove what a killed process left; arrays get room for ``n`` rows."""
    data = folder / DATA
    (folder / RECORDS).mkdir(parents=True, exist_ok=True)
    _clean(folder)
    if not (data / "zarr.json").exists():
        zarr.create_group(data, zarr_format=3)
    for _, array in zarr.open_group(data, mode="r+").arrays():
        if array.shape[0] < n:
            array.resize((n, *array.shape[1:]))
    if coordinates:
        group = zarr.open_group(data / COORDINATES, mode="a", zarr_format=3)
        for name, values in coordinates.items():
            found = dict(group.arrays()).get(name)
            if found is None or not np.array_equal(np.asarray(found[...]), values):
                group.create_array(
                    name, data=np.asarray(values, "<f8"), compressors=Crc32cCodec(), overwrite=True
                )


def _clean(folder: Path) -> None:
    """Remove what a killed process left half written, and arrays whose metadata are damaged: they are made again."""
    data = folder / DATA
    for pattern in (".*.part", f"{RECORDS}/.*.part", f"{DATA}/*/c/.*.part", f"{DATA}/**/*.partial"):
        for path in folder.glob(pattern):
            path.unlink()
    if not _is_json(data / "zarr.json"):
        (data / "zarr.json").unlink(missing_ok=True)
    for path in (*data.glob("*/"), *(data / COORDINATES).glob("*/")):
        if not _is_json(path / "zarr.json"):
            shutil.rmtree(path, ignore_errors=True)


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text()), dict)
    except (OSError, ValueError):
        return False


def write_shard(
    folder: Path,
    index: int,
    arrays: Mapping[str, Float[np.ndarray, "row ..."]],
    failed: Mapping[int, str],
    *,
    n: int,
    chunk: int,
) -> None:
    """Write a shard, whole or not at all, of a set with ``n`` rows, ``chunk`` in a shard; ``failed`` by row of the set.

    Any number of threads or processes may write shards of a set at the same time. OSError where the disk refuses.
    """
    record_path(folder, index).unlink(missing_ok=True)
    (n_rows,) = {len(array) for array in arrays.values()}
    block = min(BLOCK, chunk)
    crc = {}
    for name, values in arrays.items():
        shutil.rmtree(folder / DATA / name / "c" / str(index), ignore_errors=True)
        _ensure_array(folder / DATA, name, (n, *values.shape[1:]), chunk)
        path = _shard_path(folder, name, values.ndim, index)
        crc[name] = write_blocks(path, values, block, chunk // block) if values.size else []
    content = {"rows": n_rows, "crc32c": crc, "failed": [[int(row), failed[row]] for row in sorted(failed)]}
    # not synchronised with the disk: what a loss of power mixes up the checksums tell
    write_atomically(record_path(folder, index), json.dumps(content).encode(), sync=False)


def record_path(folder: Path, index: int) -> Path:
    """The file of a shard's record."""
    return folder / RECORDS / f"{index:06d}.json"


def read_record(folder: Path, index: int) -> Record | None:
    """The record of a shard; None where there is none that can be read."""
    try:
        content = json.loads(record_path(folder, index).read_text())
        return Record(content["rows"], content["crc32c"], {int(row): why for row, why in content["failed"]})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def missing_shards(folder: Path, rows: Sequence[int]) -> list[int]:
    """The shards that are not there with at least so many rows each, or of which a file is not as it was written."""
    try:
        arrays = dict(zarr.open_group(folder / DATA, mode="r").arrays())
    except (OSError, ValueError, KeyError):
        return list(range(len(rows)))
    return [index for index, n_rows in enumerate(rows) if not _is_whole(folder, arrays, index, n_rows)]


def _is_whole(folder: Path, arrays: Mapping[str, Any], index: int, n_rows: int) -> bool:
    record = read_record(folder, index)
    if record is None or record.rows < n_rows or arrays.keys() != record.crc32c.keys():
        return False
    try:
        return all(
            _array_is_whole(folder, arrays[name], name, index, crcs) for name, crcs in record.crc32c.items()
        )
    except OSError:
        return False


def _array_is_whole(folder: Path, array: Any, name: str, index: int, crcs: Sequence[int]) -> bool:
    block_bytes = 4 * math.prod(array.chunks) if array.size else 0
    path = _shard_path(folder, name, array.ndim, index)
    return blocks_are_whole(path, crcs, block_bytes, array.shards[0] // array.chunks[0])


def read_rows(
    folder: Path, start: int, stop: int, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Rows of the arrays by name, failed ones too; ValueError where a checksum does not fit."""
    try:
        arrays = dict(zarr.open_group(folder / DATA, mode="r").arrays())
        return {name: np.asarray(arrays[name][start:stop]) for name in names or sorted(arrays)}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"rows {start} to {stop} of {folder} are damaged ({' '.join(str(error).split())}): run the "
            "`starling simulate` that made them again, which makes anew what is damaged and nothing else"
        ) from error


def batches(folder: Path, n: int, rows: int) -> Iterator[dict[str, np.ndarray]]:
    """The first ``n`` rows of a set, ``rows`` at a time, failed ones too."""
    for start in range(0, n, rows):
        yield read_rows(folder, start, min(start + rows, n))


def read_coordinates(folder: Path) -> dict[str, np.ndarray]:
    """What all rows of a set have in common, by name; ValueError where it is damaged."""
    if not (folder / DATA / COORDINATES).exists():
        return {}
    try:
        group = zarr.open_group(folder / DATA / COORDINATES, mode="r")
        return {name: np.asarray(array[...]) for name, array in group.arrays()}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"the coordinates of {folder} are damaged: simulate the set again") from error


def n_rows_of(folder: Path) -> int:
    """How many rows a set is to have; 0 before its first shard."""
    arrays = dict(zarr.open_group(folder / DATA, mode="r").arrays())
    return int(arrays[THETA].shape[0]) if THETA in arrays else 0


def _ensure_array(data: Path, name: str, shape: tuple[int, ...], chunk: int) -> None:
    """Make the array of an output where there is none; every thread and process that makes it writes the same."""
    metadata = data / name / "zarr.json"
    if metadata.exists():
        before = tuple(json.loads(metadata.read_text())["shape"][1:])
        if before != shape[1:]:
            raise ValueError(
                f"the simulator gave {name} of shape {shape[1:]} per galaxy, and {before} before"
            )
        return
    inside = tuple(max(1, size) for size in shape[1:])
    own = tuple(f"{name}_{axis}" for axis in range(1, len(shape)))
    known = _DIMENSIONS.get(name.removeprefix("tangent_"), own)
    with suppress(ContainsArrayError):
        zarr.open_group(data, mode="r+").create_array(
            name,
            shape=shape,
            dtype="<f4",
            chunks=(min(BLOCK, chunk), *inside),
            shards=(chunk, *inside),
            compressors=Crc32cCodec(),
            fill_value=float("nan"),
            dimension_names=("row", *(known if len(known) == len(own) else own)),
        )


def _shard_path(folder: Path, name: str, ndim: int, index: int) -> Path:
    return folder / DATA / name / "c" / "/".join([str(index), *["0"] * (ndim - 1)])
