"""Checkpoints of a training run, written by Orbax: a folder with one step, from which the run goes on exactly.

A step is written beside its place and renamed, and the older one is removed only then: whatever happens, the folder
holds the one or the other, whole. Orbax is imported where it is used, since that takes as long as all the rest of a
command; it saves in the thread that asks for it, and leaves none behind.
"""

import gc
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager

_MEND = "; remove it, or train with --fresh"


def save_checkpoint(folder: Path, state: Any, info: dict[str, Any]) -> None:
    """Write the arrays of a pytree and a JSON-able ``info``, of which ``epoch`` has to grow from one to the next."""
    leaves = _named(jax.device_get(state))
    about = {"info": info, "leaves": _shapes(leaves)}
    with _manager(folder) as (manager, args):
        items = args.Composite(state=args.StandardSave(leaves), about=args.JsonSave(about))
        manager.save(int(info["epoch"]), args=items, force=True)


def load_checkpoint(folder: Path, like: Any) -> tuple[Any, dict[str, Any]] | None:
    """The pytree (of the structure of ``like``) and the ``info`` of the checkpoint; None where there is none.

    Raises ValueError where it is damaged or of another structure.
    """
    if not folder.exists():
        return None
    leaves, structure = jax.tree.flatten(like)
    expected = _named(leaves)
    found, damage = _read(folder, expected)
    if damage:
        raise ValueError(f"{folder} is not a readable checkpoint ({damage}){_MEND}")
    if found is None:
        return None
    state, about = found
    if state is None:
        raise ValueError(f"{folder} is a checkpoint of another network or optimizer{_MEND}")
    return jax.tree.unflatten(structure, [jnp.asarray(state[name]) for name in expected]), about["info"]


def _read(
    folder: Path, expected: dict[str, Any]
) -> tuple[tuple[dict[str, Any] | None, dict[str, Any]] | None, str]:
    """Arrays (None where they have other shapes) and what is said of them, None without any; and what is damaged."""
    with _one_error(), _manager(folder) as (manager, args):
        step = manager.latest_step()
        if step is None:
            return None, ""
        try:
            about: dict[str, Any] = manager.restore(step, args=args.Composite(about=args.JsonRestore())).about
            # Orbax itself would cast and cut without a word
            if about["leaves"] != _shapes(expected):
                return (None, about), ""
            item = args.StandardRestore({name: np.asarray(leaf) for name, leaf in expected.items()})
            return (manager.restore(step, args=args.Composite(state=item)).state, about), ""
        except (OSError, KeyError, ValueError) as error:  # json's errors are ValueErrors
            return None, str(error).splitlines()[0]


@contextmanager
def _one_error() -> Iterator[None]:
    """Of a damaged checkpoint Orbax raises one error; those of its other reads would come up as nobody's."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        gc.collect()
        sys.unraisablehook = hook


def remove_checkpoint(folder: Path) -> None:
    """Make room for another run."""
    shutil.rmtree(folder, ignore_errors=True)


def _named(tree: Any) -> dict[str, Any]:
    """Leaves by number: what a file says of them does not depend on the classes that hold them."""
    return {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _shapes(leaves: dict[str, Any]) -> list[list[Any]]:
    return [[list(jnp.shape(leaf)), str(jnp.result_type(leaf))] for leaf in leaves.values()]


@contextmanager
def _manager(folder: Path) -> Iterator[tuple["CheckpointManager", Any]]:
    """Orbax at work on a folder, which keeps the newest step, and the names of its arguments.

    absl, by which Orbax logs, gives the root logger a handler unless it has one: so it has one meanwhile.
    """
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        import orbax.checkpoint as orbax

        options = orbax.CheckpointManagerOptions(
            max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True, create=True
        )
        with orbax.CheckpointManager(folder.resolve(), options=options) as manager:
            yield manager, orbax.args
    finally:
        root.removeHandler(silent)
