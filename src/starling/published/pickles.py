"""Reads pickles that hold nothing but numbers, text, containers and numpy arrays, without running any of them.

A pickle is a program; Python's own unpickler runs it. Here the opcodes that build plain values are interpreted one by
one, a call builds a value only where its function is one of a handful of names that numpy and TensorFlow leave in such
files, and arrays are made from their bytes after these have been checked. Whatever else a file asks for is an error
that names it. Neither ``pickle`` nor any function that a file names is ever called.
"""

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

MAX_DEPTH = 24  # containers within containers; the formats here have 5
_LARGEST_SIDE = 2**31
_NUMBERS = re.compile(r"(b1|[iu][1248]|f[248])")
_TEXT = re.compile(r"([US])(\d{1,4})")
_OBJECT = re.compile(r"O8?")


class RefusedPickle(ValueError):
    """A pickle that is damaged, or that asks for more than plain values; the message says what and where."""


class _Mark:
    """Where on the stack a container's items begin."""


@dataclass
class _Name:
    """A function or class that the file names, and what stands in for calling it."""

    path: str
    call: Callable[..., Any] | None


@dataclass
class _Dtype:
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
class _Array:
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
class _Budget:
    """How many bytes may still be made: what refers to one value many times must not fill the memory."""

    left: int

    def spend(self, n_bytes: int) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise RefusedPickle("would take more memory than a file of its size can hold: it is not loaded")


@dataclass
class _Machine:
    """The stack and the memo."""

    budget: _Budget
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        if not self.stack or isinstance(self.stack[-1], _Mark):
            raise RefusedPickle("is damaged: it takes a value where there is none")
        return self.stack.pop()

    def items(self) -> list[Any]:
        """Everything above the last mark, which goes too."""
        items: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if isinstance(value, _Mark):
                return items[::-1]
            items.append(value)
        raise RefusedPickle("is damaged: it closes a container that it has not opened")

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise RefusedPickle(f"is damaged: no {kind.__name__} where it adds to one")
        return self.stack[-1]


def _listed(values: Any = ()) -> list[Any]:
    if not isinstance(values, list):
        raise RefusedPickle("has a ListWrapper without a list in it")
    return values


def _reconstruct(kind: Any = None, *_: Any) -> _Array:
    if not (isinstance(kind, _Name) and kind.path == "numpy.ndarray"):
        raise RefusedPickle("has an array of another class than numpy.ndarray")
    return _Array()


def _dtype(code: Any = None, *_: Any) -> _Dtype:
    if not isinstance(code, str):
        raise RefusedPickle("has an array whose type is not named by a text")
    return _Dtype(code)


def _scalar(dtype: Any = None, data: Any = None) -> _Array:
    return _Array((), dtype, False, data)


def _from_buffer(data: Any = None, dtype: Any = None, shape: Any = None, order: Any = "C") -> _Array:
    return _Array(shape, dtype, order == "F", data)


def _encode(text: Any = None, encoding: Any = None) -> bytes:
    if not (isinstance(text, str) and encoding in ("latin1", "latin-1")):
        raise RefusedPickle("has bytes that are not written as latin1 text")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise RefusedPickle("has bytes that are not written as latin1 text") from error


# What a file may name. Old and new homes of numpy's functions; ListWrapper is TensorFlow's list of weights.
_ALLOWED: dict[str, Callable[..., Any] | None] = {
    "numpy.ndarray": None,
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    "_codecs.encode": _encode,
    "tensorflow.python.training.tracking.data_structures.ListWrapper": _listed,
    "tensorflow.python.trackable.data_structures.ListWrapper": _listed,
}


def _name(module: Any, attribute: Any) -> _Name:
    path = f"{module}.{attribute}"
    if not (isinstance(module, str) and isinstance(attribute, str) and path in _ALLOWED):
        raise RefusedPickle(
            f"asks for {path}, which is neither a number, a text, a list nor a numpy array: it is not loaded, because "
            "a pickle can run any program. Only load files whose makers you trust, and have them saved as plain arrays"
        )
    return _Name(path, _ALLOWED[path])


def _call(machine: _Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, _Name) or function.call is None or not isinstance(arguments, tuple):
        raise RefusedPickle("calls something that is not a function")
    try:
        result = function.call(*arguments)
    except TypeError as error:
        raise RefusedPickle(f"calls {function.path} with arguments that do not fit") from error
    if isinstance(result, bytes):
        machine.budget.spend(len(result))
    machine.stack.append(result)


def _build(machine: _Machine) -> None:
    state = machine.pop()
    if not machine.stack or not isinstance(machine.stack[-1], _Array | _Dtype):
        raise RefusedPickle("sets the state of something that is not an array")
    machine.stack[-1].build(state)


def _put(machine: _Machine, key: int) -> None:
    machine.memo[key] = machine.top(object)


def _get(machine: _Machine, key: int) -> None:
    if key not in machine.memo:
        raise RefusedPickle("is damaged: it refers to a value that it has not stored")
    machine.stack.append(machine.memo[key])


def _fill(target: dict[Any, Any], flat: list[Any]) -> dict[Any, Any]:
    keys, values = flat[::2], flat[1::2]
    if len(keys) != len(values) or not all(isinstance(key, str | int) for key in keys):
        raise RefusedPickle("has a dictionary whose keys are not texts or integers")
    target.update(zip(keys, values, strict=True))
    return target


def _append(machine: _Machine) -> None:
    value = machine.pop()
    machine.top(list).append(value)


def _appends(machine: _Machine) -> None:
    items = machine.items()
    machine.top(list).extend(items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _fill(machine.top(dict), [key, value])


def _set_items(machine: _Machine) -> None:
    flat = machine.items()
    _fill(machine.top(dict), flat)


def _tuple_of(n: int) -> Callable[[_Machine], None]:
    def make(machine: _Machine) -> None:
        items = [machine.pop() for _ in range(n)]
        machine.stack.append(tuple(items[::-1]))

    return make


def _stack_global(machine: _Machine) -> None:
    attribute, module = machine.pop(), machine.pop()
    machine.stack.append(_name(module, attribute))


# Opcodes that push their argument, as pickletools decodes it.
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_ACTIONS: dict[str, Callable[[_Machine], Any]] = {
    "PROTO": lambda m: None,
    "FRAME": lambda m: None,
    "NONE": lambda m: m.stack.append(None),
    "NEWTRUE": lambda m: m.stack.append(True),
    "NEWFALSE": lambda m: m.stack.append(False),
    "MARK": lambda m: m.stack.append(_Mark()),
    "POP": lambda m: m.stack.pop() if m.stack else None,
    "POP_MARK": lambda m: m.items(),
    "EMPTY_LIST": lambda m: m.stack.append([]),
    "EMPTY_TUPLE": lambda m: m.stack.append(()),
    "EMPTY_DICT": lambda m: m.stack.append({}),
    "LIST": lambda m: m.stack.append(m.items()),
    "TUPLE": lambda m: m.stack.append(tuple(m.items())),
    "DICT": lambda m: m.stack.append(_fill({}, m.items())),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "BUILD": _build,
    "MEMOIZE": lambda m: _put(m, len(m.memo)),
}
_WITH_ARGUMENT: dict[str, Callable[[_Machine, Any], Any]] = {
    "GLOBAL": lambda m, path: m.stack.append(_name(*path.split(" ", 1))),
    **{name: _put for name in ("PUT", "BINPUT", "LONG_BINPUT")},
    **{name: _get for name in ("GET", "BINGET", "LONG_BINGET")},
}


def load_plain(data: bytes, source: str) -> Any:
    """The value that a pickle holds: None, numbers, text, bytes, lists, tuples, dictionaries and numpy arrays.

    ``source`` is the name of the file for errors. RefusedPickle for anything else and for damaged data.
    """
    # arrays and the bytes that they are made from take no more than the file each; small change for tiny files
    budget = _Budget(2 * len(data) + 4096)
    try:
        return _Resolver(budget).resolve(_run(data, budget), 0)
    except RefusedPickle as error:
        raise RefusedPickle(f"{source} {error}") from None


def _run(data: bytes, budget: _Budget) -> Any:
    machine = _Machine(budget)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                break
            _step(machine, opcode.name, argument)
    except RefusedPickle:
        raise
    except (ValueError, KeyError, IndexError, OverflowError, EOFError) as error:
        raise RefusedPickle(f"is damaged or not a pickle ({error})") from error
    if len(machine.stack) != 1:
        raise RefusedPickle("is damaged: it does not end with one value")
    return machine.stack[0]


def _step(machine: _Machine, opcode: str, argument: Any) -> None:
    if opcode in _LITERALS:
        machine.stack.append(argument)
    elif opcode in _ACTIONS:
        _ACTIONS[opcode](machine)
    elif opcode in _WITH_ARGUMENT:
        _WITH_ARGUMENT[opcode](machine, argument)
    else:
        _refuse_opcode(opcode)


def _refuse_opcode(opcode: str) -> NoReturn:
    raise RefusedPickle(f"uses the pickle instruction {opcode}, which plain arrays do not need: it is not loaded")


@dataclass
class _Resolver:
    """Puts real arrays in the place of described ones; what is shared in the file stays shared."""

    budget: _Budget
    # the original is kept with the result: the identity of a freed object could be given to another
    done: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def resolve(self, value: Any, depth: int) -> Any:
        if isinstance(value, _Dtype | _Name | _Mark):
            raise RefusedPickle("holds a function or a type where a value should be")
        if not isinstance(value, list | tuple | dict | _Array):
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
        shape, order = _checked_shape(value), "F" if value.fortran else "C"
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


def _checked_shape(array: _Array) -> tuple[int, ...]:
    shape = array.shape
    sides = isinstance(shape, tuple) and len(shape) <= 8 and all(isinstance(n, int) for n in shape)
    if not sides or not all(0 <= n < _LARGEST_SIDE for n in shape) or not isinstance(array.dtype, _Dtype):
        raise RefusedPickle("has an array without a shape and a type")
    return tuple(shape)
