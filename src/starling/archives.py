"""Arrays with a header in one file: safetensors, a JSON header in the metadata, which is also written beside it.

Loading runs no code of the file: it checks format, version and that every number is finite.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from starling.simulation.shards import write_atomically

_KEY = "starling"


class Kind(NamedTuple):
    """A kind of file: format and version, as headers have them, and how errors speak of it.

    ``noun`` is what it is, ``maker`` the command that makes one, ``again`` what to do where one is broken.
    """

    format: str
    version: int
    noun: str
    maker: str
    again: str


def write_arrays(path: Path, kind: Kind, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``path`` (.safetensors) and its header beside it (.json)."""
    content = {**header, "format": kind.format, "format_version": kind.version}
    write_atomically(path, save(dict(arrays), metadata={_KEY: json.dumps(content)}))
    write_atomically(path.with_suffix(".json"), json.dumps(content, indent=1).encode())


def read_arrays(path: Path, kind: Kind) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays; ValueError unless it is a whole file of this kind with finite numbers."""
    header, arrays = _read(path, kind, with_arrays=True)
    broken = sorted(name for name, array in arrays.items() if not np.all(np.isfinite(array)))
    if broken:
        raise ValueError(f"{path}: {', '.join(broken)} hold numbers that are not finite; {kind.again}")
    return header, arrays


def read_header_of(path: Path, kind: Kind) -> dict[str, Any]:
    """The header alone; ValueError unless it is a file of this kind."""
    return _read(path, kind, with_arrays=False)[0]


def format_of(path: Path) -> str | None:
    """The format that a file says it has; None for what is not one of our files."""
    try:
        with safe_open(path, framework="numpy") as handle:
            found = json.loads((handle.metadata() or {}).get(_KEY, "{}")).get("format")
    except (SafetensorError, OSError, json.JSONDecodeError, AttributeError):
        return None
    return str(found) if found else None


def _read(path: Path, kind: Kind, *, with_arrays: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not path.is_file():
        raise ValueError(f"there is no {kind.noun} {path}; `{kind.maker}` makes one")
    try:
        with safe_open(path, framework="numpy") as handle:
            text = (handle.metadata() or {}).get(_KEY)
            names = handle.offset_keys() if with_arrays else []
            arrays = {name: handle.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}); {kind.again}") from error
    return _header(path, text, kind), arrays


def _header(path: Path, text: str | None, kind: Kind) -> dict[str, Any]:
    try:
        header: Any = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: the header is not JSON ({error}); {kind.again}") from error
    if not isinstance(header, dict) or header.get("format") != kind.format:
        raise ValueError(f"{path} is a safetensors file but not a {kind.format.replace('-', ' ')}")
    if header.get("format_version") != kind.version:
        raise ValueError(
            f"{path} has format version {header.get('format_version')}, this starling reads {kind.version}: "
            f"use the starling that wrote it, or {kind.again}"
        )
    return header
