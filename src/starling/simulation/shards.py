"""The numbers of a simulated set: one zarr group, a shard of every array for so many rows, and a record of each shard.

``data.zarr`` has an array ``theta`` [row, parameter] and one for every output of the simulator, rows first, float32,
NaN where nothing is; any reader of zarr 3 opens it. Shard ``i`` is the file ``NAME/c/i/0...`` of every array, in
blocks of ``BLOCK`` rows, each with a CRC-32C. ``shards/000000.json`` is written last: number of rows, the CRC-32 of
every file, rows that failed and why. A shard without a record that fits its files is not there.
``data.zarr/coordinates`` has what all rows have in common, float64.
"""

import json
import os
import shutil
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from jaxtyping import Float
from zarr.codecs import Crc32cCodec
from zarr.errors import ContainsArrayError

DATA = "data.zarr"
COORDINATES = "coordinates"
RECORDS = "shards"
THETA = "theta"
BLOCK = 256
_PIECE = 1 << 24  # bytes of a file that are in memory while its checksum is computed

_CHANNELS = {"stars": ("bin", "channel"), "dust": ("channel",), "torus": ("channel",)}
_BINS = dict.fromkeys(("absorbed", "bolometric", "mass_fraction"), ("bin",))
_OTHERS = {"lines": ("line",), "rest_flux": ("band",), "properties": ("property",)}
_DIMENSIONS = _CHANNELS | _BINS | _OTHERS | {THETA: ("parameter",), "direction": ("parameter",)}


class Record(NamedTuple):
    """What is known of a shard: rows, CRC-32 of the file of every array, rows (of the set) that failed, and why."""

    rows: int
    crc32: dict[str, int]
    failed: dict[int, str]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that, whatever happens, ``path`` holds the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def prepare_shards(folder: Path, n: int, coordinates: Mapping[str, np.ndarray]) -> None:
    """Make the group where there is none; remove what a killed process left; arrays get room for ``n`` rows."""
    data = folder / DATA
    (folder / RECORDS).mkdir(parents=True, exist_ok=True)
    for pattern in (".*.part", f"{RECORDS}/.*.part", f"{DATA}/*.partial", f"{DATA}/*/*.partial"):
        for path in folder.glob(pattern):
            path.unlink()
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
    group = zarr.open_group(folder / DATA, mode="r+")
    rows = {len(array) for array in arrays.values()}
    (n_rows,) = rows
    start = index * chunk
    for name, values in arrays.items():
        shutil.rmtree(folder / DATA / name / "c" / str(index), ignore_errors=True)
        array = _array(group, name, (n, *values.shape[1:]), chunk)
        if values.size:
            array[start : start + n_rows] = values
    crc = {name: _crc32(_shard_path(folder, name, values.ndim, index)) for name, values in arrays.items()}
    content = {
        "rows": n_rows,
        "crc32": crc,
        "failed": [[int(row), reason] for row, reason in sorted(failed.items())],
    }
    write_atomically(record_path(folder, index), json.dumps(content, indent=1).encode())


def record_path(folder: Path, index: int) -> Path:
    """The file of a shard's record."""
    return folder / RECORDS / f"{index:06d}.json"


def read_record(folder: Path, index: int) -> Record | None:
    """The record of a shard; None where there is none that can be read."""
    try:
        content = json.loads(record_path(folder, index).read_text())
        return Record(content["rows"], content["crc32"], {int(row): why for row, why in content["failed"]})
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
    if record is None or record.rows < n_rows or arrays.keys() != record.crc32.keys():
        return False
    try:
        return all(
            _crc32(_shard_path(folder, name, arrays[name].ndim, index)) == crc
            for name, crc in record.crc32.items()
        )
    except OSError:
        return False


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


def _array(group: Any, name: str, shape: tuple[int, ...], chunk: int) -> Any:
    """The array of an output, made where there is none; every process that makes it writes the same."""
    if name not in group:
        inside = tuple(max(1, size) for size in shape[1:])
        own = tuple(f"{name}_{axis}" for axis in range(1, len(shape)))
        known = _DIMENSIONS.get(name.removeprefix("tangent_"), own)
        try:
            return group.create_array(
                name,
                shape=shape,
                dtype="<f4",
                chunks=(min(BLOCK, chunk), *inside),
                shards=(chunk, *inside),
                compressors=Crc32cCodec(),
                fill_value=float("nan"),
                dimension_names=("row", *(known if len(known) == len(own) else own)),
            )
        except ContainsArrayError:
            pass
    array = group[name]
    if array.shape[1:] != shape[1:]:
        raise ValueError(
            f"the simulator gave {name} of shape {shape[1:]} per galaxy, and {array.shape[1:]} before"
        )
    return array


def _shard_path(folder: Path, name: str, ndim: int, index: int) -> Path:
    return folder / DATA / name / "c" / "/".join([str(index), *["0"] * (ndim - 1)])


def _crc32(path: Path) -> int:
    """CRC-32 of a file; 0 where there is none, as zarr keeps no file of a shard without numbers."""
    if not path.exists():
        return 0
    crc = 0
    with path.open("rb") as handle:
        while piece := handle.read(_PIECE):
            crc = zlib.crc32(piece, crc)
    return crc
