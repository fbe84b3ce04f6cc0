"""The file of a shard of an array: blocks of rows with checksums, in zarr 3 ``sharding_indexed`` and ``crc32c``.

Written here, in one pass over the numbers: zarr's encoder, which gives the same bytes, takes several, a good part of
the time of a fast simulator. Reading is zarr's.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numpy as np
from jaxtyping import Float

_CRC_BYTES = 4
_ABSENT = np.uint64(2**64 - 1)


def write_blocks(path: Path, values: Float[np.ndarray, "row ..."], block: int, n_blocks: int) -> list[int]:
    """Write rows in blocks of ``block``, whole or not at all; the CRC-32C of every block.

    The last block is filled up with NaN; blocks up to ``n_blocks`` that have no rows are absent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    crcs = []
    index = np.full((n_blocks, 2), _ABSENT, "<u8")
    try:
        with temporary.open("wb") as handle:
            for number, start in enumerate(range(0, len(values), block)):
                content = _block(values[start : start + block], block)
                crcs.append(google_crc32c.value(content))
                index[number] = handle.tell(), content.nbytes + _CRC_BYTES
                handle.write(content)
                handle.write(crcs[-1].to_bytes(_CRC_BYTES, "little"))
            handle.write(index)
            handle.write(google_crc32c.value(index.view(np.uint8).ravel()).to_bytes(_CRC_BYTES, "little"))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return crcs


def blocks_are_whole(path: Path, crcs: Sequence[int], block_bytes: int, n_blocks: int) -> bool:
    """Whether a file has these checksums and every block fits its own; OSError where it cannot be read."""
    if not path.exists():
        return not crcs
    index_bytes = 16 * n_blocks + _CRC_BYTES
    if path.stat().st_size != len(crcs) * (block_bytes + _CRC_BYTES) + index_bytes:
        return False
    with path.open("rb") as handle:
        for crc in crcs:
            content = handle.read(block_bytes)
            stated = int.from_bytes(handle.read(_CRC_BYTES), "little")
            if not stated == crc == google_crc32c.value(content):
                return False
        index = handle.read(index_bytes)
    return google_crc32c.value(index[:-_CRC_BYTES]) == int.from_bytes(index[-_CRC_BYTES:], "little")


def _block(rows: Float[np.ndarray, "row ..."], block: int) -> np.ndarray:
    """The bytes of a block."""
    if len(rows) < block:
        whole = np.full((block, *rows.shape[1:]), np.nan, "<f4")
        whole[: len(rows)] = rows
        rows = whole
    return np.ascontiguousarray(rows, "<f4").reshape(-1).view(np.uint8)
