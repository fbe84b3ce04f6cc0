"""Pickle files and NumPy files of other people's, read without running them."""

from pathlib import Path
from typing import Any

import numpy as np

from starling.published.pickles import RefusedPickle, load_plain

_MAGIC = b"\x93NUMPY"
_LARGEST_BYTES = 2**32


def read_bytes(path: Path) -> bytes:
    """The contents of a file; ValueError where there is none or it is too large to be an emulator."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError(f"{path} has more than 4 GiB: too large for an emulator")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def read_pickle(path: Path) -> Any:
    """The plain value in a pickle file; RefusedPickle (a ValueError) as ``load_plain``."""
    return load_plain(read_bytes(path), str(path))


def is_npy(data: bytes) -> bool:
    """Whether these bytes begin as a .npy file does."""
    return data.startswith(_MAGIC)


def read_object_npy(path: Path) -> Any:
    """The object array in a .npy file, or the one object of an array without dimensions; ValueError says what is wrong.

    Only the header is given to numpy; the objects go through ``load_plain``.
    """
    data = read_bytes(path)
    if not is_npy(data):
        raise ValueError(f"{path} is not a .npy file")
    shape, start = _header(path, data)
    array = load_plain(data[start:], str(path))
    if not isinstance(array, np.ndarray) or array.dtype.kind != "O" or array.shape != shape:
        raise RefusedPickle(f"{path} holds something else than the object array that its header announces")
    return array if shape else array[()]


def _header(path: Path, data: bytes) -> tuple[tuple[int, ...], int]:
    """Shape of the object array and where its pickle begins."""
    from io import BytesIO

    stream = BytesIO(data)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = readers[version](stream)
    except (ValueError, KeyError, TypeError, SyntaxError, EOFError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"{path} is a damaged .npy file, or of a version that is not 1 or 2 ({error})"
        ) from error
    if dtype.kind != "O":
        raise ValueError(f"{path} holds an array of {dtype}, not the objects of a Parrot emulator")
    return shape, stream.tell()
