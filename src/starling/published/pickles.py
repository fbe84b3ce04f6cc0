"""Reads pickles that hold nothing but numbers, text, containers and numpy arrays, without running any of them.

A pickle is a program; Python's own unpickler runs it. Here the opcodes that build plain values are interpreted one by
one, a call builds a value only where its function is one of a handful of names that numpy and TensorFlow leave in such
files, and arrays are made from their bytes after these have been checked. Whatever else a file asks for is an error
that names it. Neither ``pickle`` nor any function that a file names is ever called.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from starling.published.described import Array, Budget, Dtype, Mark, Name, RefusedPickle, Resolver

__all__ = ["RefusedPickle", "load_plain"]


@dataclass
class _Machine:
    """The stack and the memo."""

    budget: Budget
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        if not self.stack or isinstance(self.stack[-1], Mark):
            raise RefusedPickle("is damaged: it takes a value where there is none")
        return self.stack.pop()

    def items(self) -> list[Any]:
        """Everything above the last mark, which goes too."""
        items: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if isinstance(value, Mark):
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


def _reconstruct(kind: Any = None, *_: Any) -> Array:
    if not (isinstance(kind, Name) and kind.path == "numpy.ndarray"):
        raise RefusedPickle("has an array of another class than numpy.ndarray")
    return Array()


def _dtype(code: Any = None, *_: Any) -> Dtype:
    if not isinstance(code, str):
        raise RefusedPickle("has an array whose type is not named by a text")
    return Dtype(code)


def _scalar(dtype: Any = None, data: Any = None) -> Array:
    return Array((), dtype, False, data)


def _from_buffer(data: Any = None, dtype: Any = None, shape: Any = None, order: Any = "C") -> Array:
    return Array(shape, dtype, order == "F", data)


def _encode(text: Any = None, encoding: Any = None) -> bytes:
    if not (isinstance(text, str) and encoding in ("latin1", "latin-1")):
        raise RefusedPickle("has bytes that are not written as latin1 text")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise RefusedPickle("has bytes that are not written as latin1 text") from error


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise RefusedPickle("makes bytes of something else than text")
    return b""


# What a file may name. Old and new homes of numpy's functions; ListWrapper is TensorFlow's list of weights.
_ALLOWED: dict[str, Callable[..., Any] | None] = {
    "numpy.ndarray": None,
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    "_codecs.encode": _encode,  # bytes in the oldest pickles; empty ones are a call of their type
    **{f"{module}.bytes": _no_bytes for module in ("builtins", "__builtin__")},
    "tensorflow.python.training.tracking.data_structures.ListWrapper": _listed,
    "tensorflow.python.trackable.data_structures.ListWrapper": _listed,
}


def _name(module: Any, attribute: Any) -> Name:
    path = f"{module}.{attribute}"
    if not (isinstance(module, str) and isinstance(attribute, str) and path in _ALLOWED):
        raise RefusedPickle(
            f"asks for {path}, which is neither a number, a text, a list nor a numpy array: it is not loaded, because "
            "a pickle can run any program. Only load files whose makers you trust, and have them saved as plain arrays"
        )
    return Name(path, _ALLOWED[path])


def _call(machine: _Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, Name) or function.call is None or not isinstance(arguments, tuple):
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
    if not machine.stack or not isinstance(machine.stack[-1], Array | Dtype):
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
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_ACTIONS: dict[str, Callable[[_Machine], Any]] = {
    "PROTO": lambda _: None,
    "FRAME": lambda _: None,
    "NONE": lambda m: m.stack.append(None),
    "NEWTRUE": lambda m: m.stack.append(True),
    "NEWFALSE": lambda m: m.stack.append(False),
    "MARK": lambda m: m.stack.append(Mark()),
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
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
}


def load_plain(data: bytes, source: str) -> Any:
    """The value that a pickle holds: None, numbers, text, bytes, lists, tuples, dictionaries and numpy arrays.

    ``source`` is the name of the file for errors. RefusedPickle for anything else and for damaged data.
    """
    # arrays and the bytes that they are made from take no more than the file each; small change for tiny files
    budget = Budget(2 * len(data) + 4096)
    try:
        return Resolver(budget).resolve(_run(data, budget), 0)
    except RefusedPickle as error:
        raise RefusedPickle(f"{source} {error}") from None


def _run(data: bytes, budget: Budget) -> Any:
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
    raise RefusedPickle(
        f"uses the pickle instruction {opcode}, which plain arrays do not need: it is not loaded"
    )
