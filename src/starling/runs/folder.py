"""The folder of a run: can it hold the results, and the parts that are finished."""

import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import xarray as xr

from starling.runs.manifest import MANIFEST, RunError

PARTS = "parts"
_ABANDONED = 600.0  # seconds since a file was written to


def prepare_folder(folder: Path, needed_bytes: int) -> None:
    """Make the folder and see that files can be written to it and will fit; RunError before any sampling otherwise."""
    probe = folder / PARTS / ".probe"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0" * 4096)
        now = probe.stat().st_mtime  # by the clock of the disk
        probe.unlink()
        _remove_left(probe.parent, now)
    except OSError as error:
        raise RunError(
            f"cannot write to {folder}: {error.strerror}; choose another folder with --out"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise RunError(
            f"{folder} has {_gigabytes(free)} left, the results need about {_gigabytes(needed_bytes)}; free some "
            "space, choose another folder with --out, or fit fewer galaxies at a time"
        )


def _remove_left(folder: Path, now: float) -> None:
    """Remove what processes that were killed left half written, and nothing that one is writing now."""
    for left in folder.glob(".part-*.partial"):
        with suppress(FileNotFoundError):  # finished meanwhile
            if now - left.stat().st_mtime > _ABANDONED:
                left.unlink()


def discard(folder: Path) -> None:
    """Remove what an earlier run left: its record, its parts, and what workers found."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for pattern in (
        "part-*.nc",
        "part-*.parquet",
        ".part-*.partial",
        "galaxy-*.safetensors",
        ".galaxy-*.partial",
    ):
        for path in (folder / PARTS).glob(pattern):
            path.unlink()


def part_path(folder: Path, part: int) -> Path:
    """Where a part is kept."""
    return folder / PARTS / f"part-{part:05d}.nc"


def galaxy_path(parts: Path, row: int) -> Path:
    """Where the record of one galaxy is kept, the ``row``-th of the run, in the folder of its parts."""
    return parts / f"galaxy-{row:05d}.safetensors"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it, so that a file that exists is whole; RunError with the mend."""
    # two processes, on two machines perhaps, may make the same part
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> RunError:
    """What is said where the disk takes no more."""
    reason = error.strerror or str(error)
    return RunError(
        f"cannot write {path}: {reason}; earlier parts are safe: mend that and run the same command again"
    )


def merge(trees: Sequence[xr.DataTree]) -> xr.DataTree:
    """One tree from parts: variables with a galaxy axis one after another, the others from the first part."""
    if len(trees) == 1:
        return trees[0]
    nodes = {}
    for node in trees[0].subtree:
        pieces = [_node(tree, node.path).to_dataset(inherit=False) for tree in trees]
        if "galaxy" in pieces[0].dims:
            joined = xr.concat(
                pieces,
                dim="galaxy",
                data_vars="minimal",
                coords="minimal",
                compat="override",
                join="exact",
                combine_attrs="override",
            )
        else:
            joined = pieces[0]
        nodes[node.path] = joined
    return xr.DataTree.from_dict(nodes)


def _node(tree: xr.DataTree, path: str) -> xr.DataTree:
    node = tree[path]
    assert isinstance(node, xr.DataTree)
    return node


def _gigabytes(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
