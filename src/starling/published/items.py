"""The items of somebody else's file, checked one by one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Items:
    """The items of a file by name; every error names the file and the item."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path, self.values = path, values

    def fail(self, name: str, message: str) -> ValueError:
        return ValueError(
            f"{self.path}: item {name!r} {message}; is this file whole, and what it is taken for?"
        )

    def sequence(self, name: str, n: int, of: str = "items") -> list[Any]:
        """A list, tuple or array of ``n`` things."""
        value = self.values[name]
        if not isinstance(value, list | tuple | np.ndarray) or len(value) != n:
            raise self.fail(name, f"should be {n} {of}, not {describe(value)}")
        return list(value)

    def vector(self, name: str, n: int, value: Any) -> np.ndarray:
        """Numbers of shape (n,) from these, or from one number that stands for all."""
        flat = np.ravel(value) if isinstance(value, np.ndarray) else value
        if np.ndim(flat) == 0 or (isinstance(flat, np.ndarray) and flat.size == 1):
            flat = np.full(n, flat)
        return self.array(name, (n,), flat)

    def integer(self, name: str) -> int:
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 < value < 10**6:
            raise self.fail(name, f"should be a number from 1 to a million, not {describe(value)}")
        return int(value)

    def integers(self, name: str) -> tuple[int, ...]:
        value = self.values[name]
        if not isinstance(value, list | tuple) or not all(isinstance(n, int | np.integer) for n in value):
            raise self.fail(name, f"should be a list of whole numbers, not {describe(value)}")
        return tuple(int(n) for n in value)

    def array(self, name: str, shape: tuple[int, ...], value: Any = None) -> np.ndarray:
        """One array of this shape, finite, in double precision."""
        given = self.values[name.partition("[")[0]] if value is None else value
        array = np.asarray(given) if isinstance(given, np.ndarray | np.generic | float | int) else None
        if array is None or array.dtype.kind not in "fiu" or array.shape != shape:
            raise self.fail(name, f"should be numbers of shape {shape}, not {describe(given)}")
        if not np.all(np.isfinite(array)):
            raise self.fail(name, "holds numbers that are not finite")
        return array.astype(float)

    def scale(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """An array to divide or multiply by: no zeros."""
        array = self.array(name, shape)
        if np.any(array == 0.0):
            raise self.fail(name, "is zero somewhere, which nothing can be scaled by")
        return array

    def arrays(self, name: str, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
        values = self.values[name]
        if not isinstance(values, list | tuple) or len(values) != len(shapes):
            raise self.fail(name, f"should be a list of {len(shapes)} arrays, not {describe(values)}")
        pairs = zip(values, shapes, strict=True)
        return [self.array(f"{name}[{i}]", shape, value) for i, (value, shape) in enumerate(pairs)]


def describe(value: Any) -> str:
    """A few words on a value, for an error."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {str(value)[:40]!r}"
