"""The folder of a run: can it hold the results, and the parts that are finished."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from starling.runs.manifest import MANIFEST, RunError

PARTS = "parts"


def prepare_folder(folder: Path, needed_bytes: int) -> None:
    """Make the folder and see that files can be written to it and will fit; RunError before any sampling otherwise."""
    probe = folder / PARTS / ".probe"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
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


def discard(folder: Path) -> None:
    """Remove what an earlier run left: its record, its parts, and what workers found."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for pattern in ("part-*.nc", ".part-*.nc.partial", "galaxy-*.safetensors", ".galaxy-*.partial"):
        for path in (folder / PARTS).glob(pattern):
            path.unlink()


def part_path(folder: Path, part: int) -> Path:
    """Where a part is kept."""
    return folder / PARTS / f"part-{part:05d}.nc"


def save_part(tree: xr.DataTree, path: Path) -> None:
    """Write a part under another name and rename it, so that a part that exists is whole."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        tree.to_netcdf(str(partial), engine="h5netcdf")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        message = (
            f"cannot write {path}: {reason}; earlier parts are safe: mend that and run the same command again"
        )
        raise RunError(message) from error


def load_part(path: Path, ids: Sequence[str]) -> xr.DataTree | None:
    """A finished part; None where there is none, where it cannot be read, or where it holds other galaxies."""
    if not path.exists():
        return None
    try:
        with xr.open_datatree(path, engine="h5netcdf") as stored:
            # without the encoding of the file: it would cut the longer texts of other parts to the length of these
            tree = xr.map_over_datasets(lambda data: data.drop_encoding(), stored.load())
    except (OSError, ValueError, KeyError):
        return None
    return tree if galaxy_ids(tree) == tuple(ids) else None


def galaxy_ids(tree: xr.DataTree) -> tuple[str, ...]:
    """IDs of the galaxies in a tree of results."""
    for node in tree.subtree:
        if "galaxy" in node.coords:
            return tuple(str(name) for name in node.coords["galaxy"].values)
    return ()


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
