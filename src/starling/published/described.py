"""What a pickle describes, before there is an array: stand-ins that hold descriptions, checked and then made real."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

MAX_DEPTH = 24  # containers within containers; the formats here have 5
_LARGEST_SIDE = 2**31
_NUMBERS = re.compile(r"(b1|[iu][1248]|f[248])")
_TEXT = re.compile(r"([US])(\d{1,4})")
_OBJECT = re.compile(r"O8?")


class RefusedPickle(ValueError):
    """A pickle that is damaged, or that asks for more than plain values; the message says what and where."""


class Mark:
    """Where on the stack a container's items begin."""


@dataclass
class Name:
    """A function or class that the file names, and what stands in for calling it."""

    path: str
    call: Callable[..., Any] | None


@dataclass
class Dtype:
    """The element type of an array."""

    code: str
    order: str = "<"

    def build(self, state: Any) -> None:
        # (version, byte order, subdtype, names, fields, item size, alignment, flags)
        plain = isinstance(state, tuple) and len(state) >= 5 and state[1] in ("<", ">", "|", "=")
        if not plain or any(part is not None for part in state[2:5]):
            raise RefusedPickle("has an array of structures, which is no part of an emulator")
        self.order = state[1]

    @property
    def is_object(self) -> bool:
        return _OBJECT.fullmatch(self.code) is not None

    def to_numpy(self) -> np.dtype:
        if _NUMBERS.fullmatch(self.code) or _TEXT.fullmatch(self.code):
            return np.dtype((self.order if self.order in "<>" else "<") + self.code)
        raise RefusedPickle(f"has an array of type {self.code!r}; numbers, text and plain objects are read")


@dataclass
class Array:
    """An array before its contents are known."""

    shape: Any = None
    dtype: Any = None
    fortran: bool = False
    data: Any = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedPickle("has an array whose description is not that of numpy")
        _, self.shape, self.dtype, self.fortran, self.data = state


@dataclass
class Budget:
    """How many bytes may still be made: what refers to one value many times must not fill the memory."""

    left: int

    def spend(self, n_bytes: int) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise RefusedPickle("would take more memory than a file of its size can hold: it is not loaded")


@dataclass
class Resolver:
    """Puts real arrays in the place of described ones; what is shared in the file stays shared."""

    budget: Budget
    # the original is kept with the result: the identity of a freed object could be given to another
    done: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def resolve(self, value: Any, depth: int) -> Any:
        if isinstance(value, Dtype | Name | Mark):
            raise RefusedPickle("holds a function or a type where a value should be")
        if not isinstance(value, list | tuple | dict | Array):
            return value
        if depth > MAX_DEPTH:
            raise RefusedPickle(f"is nested deeper than {MAX_DEPTH} levels, or contains itself")
        if id(value) not in self.done:
            self.done[id(value)] = value, self._resolved(value, depth + 1)
        return self.done[id(value)][1]

    def _resolved(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return {key: self.resolve(item, depth) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.resolve(item, depth) for item in value)
        shape = _checked_shape(value)
        order: Literal["C", "F"] = "F" if value.fortran else "C"
        size = math.prod(shape)
        if value.dtype.is_object:
            return self._objects(value.data, size, depth).reshape(shape, order=order)
        kind = value.dtype.to_numpy()
        if not isinstance(value.data, bytes | bytearray) or len(value.data) != size * kind.itemsize:
            raise RefusedPickle(f"has an array of shape {shape} and type {kind} whose bytes are not as many")
        self.budget.spend(len(value.data))
        numbers = np.frombuffer(bytes(value.data), kind).reshape(shape, order=order)
        native = numbers.astype(kind.newbyteorder("="), order="C")
        return native if shape else native[()]

    def _objects(self, items: Any, size: int, depth: int) -> np.ndarray:
        if not isinstance(items, list) or len(items) != size:
            raise RefusedPickle(f"has an array of {size} objects without as many objects")
        self.budget.spend(size)
        objects = np.empty(size, object)
        for i, item in enumerate(items):
            objects[i] = self.resolve(item, depth)
        return objects


def _checked_shape(array: Array) -> tuple[int, ...]:
    shape = array.shape
    sides = isinstance(shape, tuple) and len(shape) <= 8 and all(isinstance(n, int) for n in shape)
    if not sides or not all(0 <= n < _LARGEST_SIDE for n in shape) or not isinstance(array.dtype, Dtype):
        raise RefusedPickle("has an array without a shape and a type")
    return tuple(shape)
