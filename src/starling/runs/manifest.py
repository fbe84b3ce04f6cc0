"""What a run was made from, so that only the same run is resumed."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

MANIFEST = "run.json"


class RunError(RuntimeError):
    """A run cannot start or go on as it is; the message is meant for the user."""


def hash_arrays(values: Any) -> str:
    """A hash of the arrays and of the structure of a pytree (an Observation, a forward model, names, numbers)."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(values):
        digest.update(jax.tree_util.keystr(path).encode())
        array = np.asarray(leaf)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes() if array.dtype.kind != "O" else repr(array.tolist()).encode())
    return digest.hexdigest()[:16]


def check_manifest(folder: Path, inputs: Mapping[str, Any]) -> bool:
    """True where the folder holds an earlier run of the same inputs, False where it holds none.

    Raises RunError where they differ: it names what changed and the mend.
    """
    path = folder / MANIFEST
    if not path.exists():
        return False
    try:
        before = json.loads(path.read_text())["inputs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read as the record of a run; use --fresh or another --out"
        ) from error
    now = json.loads(json.dumps(dict(inputs)))
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if changed:
        said = "; ".join(
            f"{name} ({_short(before.get(name))} -> {_short(now.get(name))})" for name in changed
        )
        raise RunError(
            f"{folder} holds a run of other inputs; changed: {said}. Use --fresh to discard it, or another --out"
        )
    return True


def kind_of(folder: Path) -> str | None:
    """The ``kind`` of the run that a folder holds; None where it has none, or where there is no run."""
    try:
        kind = dict(read_manifest(folder)["inputs"]).get("kind")
    except RunError:
        return None
    return kind if isinstance(kind, str) else None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The record of a run: ``created``, ``inputs``, perhaps ``command``; RunError where it cannot be read."""
    path = folder / MANIFEST
    if not path.is_file():
        raise RunError(f"{folder} holds no run: it has no {MANIFEST}")
    try:
        record = json.loads(path.read_text())
        dict(record["inputs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read as the record of a run") from error
    return dict(record)


def write_manifest(folder: Path, inputs: Mapping[str, Any], command: str = "") -> None:
    """Record what a run is made from, when it was begun, and with which command where there was one."""
    record: dict[str, Any] = {"created": datetime.now(UTC).isoformat(timespec="seconds")}
    if command:
        record["command"] = command
    record["inputs"] = dict(inputs)
    write_text(folder / MANIFEST, json.dumps(record, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old or the new content, never a part of it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "..."
