"""A pickle is read without being run: plain values come out as they went in, everything else is refused by name."""

import contextlib
import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parrot_files import save_object

from starling.published.files import read_object_npy, read_pickle
from starling.published.pickles import RefusedPickle, load_plain

VALUES = [
    [None, True, False, 0, 255, -3, 10**30, 2.5, "text é", b"bytes", (), (1,), (1, 2, 3, 4), {}],
    {"a": [1, {"b": (2.0, None)}], 3: "three"},
    [np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.zeros((0, 3), "f4")],
    [np.array(["u", "griz"]), np.array([1.5], ">f8"), np.array([True, False])],
    [np.float32(1.5), np.int64(-2)],
    np.array([[1, "a"], [None, np.ones(3)]], dtype=object),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert repr(load_plain(pickle.dumps(value, protocol), "file")) == repr(value).replace(", dtype='>f8'", "")


def test_what_is_shared_stays_shared() -> None:
    array = np.ones(3)
    first, second = load_plain(pickle.dumps([array, array]), "file")
    assert first is second


class Bomb:
    """Pickles as a call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


def named(module: str, name: str, argument: str = "touched") -> bytes:
    """A pickle that calls a function by name with a text."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


HOSTILE = {
    "os.system": (pickle.dumps(Bomb(os.system, "touch touched")), r"(posix|nt)\.system"),
    "eval": (pickle.dumps(Bomb(eval, "open('touched', 'w')")), "builtins.eval"),
    "open": (pickle.dumps([np.ones(2), Bomb(open, "touched", "w")]), "io.open"),
    "numpy.load": (named("numpy", "load"), "numpy.load"),
    "numpy.save": (named("numpy", "save"), "numpy.save"),
    "numpy.f2py": (named("numpy.f2py", "compile"), "numpy.f2py.compile"),
    "distutils": (named("numpy.distutils.exec_command", "exec_command"), "exec_command"),
    "fromfile": (named("numpy", "fromfile"), "numpy.fromfile"),
    "memmap": (named("numpy", "memmap"), "numpy.memmap"),
    "attribute of an allowed module": (b"\x80\x04\x8c\x05numpy\x8c\x0ectypeslib.load\x93.", "ctypeslib.load"),
    "builtins.getattr": (named("builtins", "getattr"), "builtins.getattr"),
    "another TensorFlow class": (named("tensorflow.python.trackable.data_structures", "Mapping"), "Mapping"),
    "instance": (b"(ios\nsystem\n.", "INST"),
    "persistent": (b"Pkey\n.", "PERSID"),
    "extension": (b"\x82\x01.", "damaged|EXT1"),
    "new object": (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles_are_refused_and_not_run(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, message = HOSTILE[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pkl").write_bytes(data)
    with pytest.raises(RefusedPickle, match=rf"evil\.pkl .*({message})"):
        read_pickle(tmp_path / "evil.pkl")
    assert not (tmp_path / "touched").exists()


def test_the_same_pickles_do_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would pass on harmless files too."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["os.system"][0])  # noqa: S301
    assert (tmp_path / "touched").exists()


def test_hostile_objects_in_a_npy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save_object(tmp_path / "evil.npy", [Bomb(os.system, "touch touched")])
    with pytest.raises(RefusedPickle, match="system"):
        read_object_npy(path)
    assert not (tmp_path / "touched").exists()


def array_pickle(shape: Any, code: str, state: Any, data: Any) -> bytes:
    """A pickle of an array with any description, honest or not."""

    class Described:
        def __reduce__(self) -> tuple[Any, ...]:
            empty = np.empty(0).__reduce__()
            return empty[0], empty[1], (1, shape, Type(), False, data)

    class Type:
        def __reduce__(self) -> tuple[Any, ...]:
            return np.dtype, (code, False, True), state

    return pickle.dumps(Described())


PLAIN = (3, "<", None, None, None, -1, -1, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array_pickle((10**12,), "f8", PLAIN, b"12345678"), "shape and a type"),
        (array_pickle((2,), "f8", PLAIN, b"12345678"), "bytes are not as many"),
        (array_pickle((-1,), "f8", PLAIN, b"12345678"), "shape and a type"),
        (array_pickle((1,), "V8", PLAIN, b"12345678"), "V8"),
        (array_pickle((1,), "f8", (3, "<", None, ("a",), {"a": 1}, 8, 1, 0), b"12345678"), "structures"),
        (array_pickle((3,), "O8", PLAIN, [1]), "without as many objects"),
        (array_pickle("shape", "f8", PLAIN, b""), "shape and a type"),
    ],
)
def test_arrays_that_are_not_what_they_say(data: bytes, message: str) -> None:
    with pytest.raises(RefusedPickle, match=message):
        load_plain(data, "file")


def test_deep_nesting_is_refused() -> None:
    for opener, closer in ((b"]", b"a"), (b"", b"\x85")):
        deep = b"\x80\x02" + (opener * 10_000 + b"N" + closer * 10_000) + b"."
        with pytest.raises(RefusedPickle, match="nested deeper"):
            load_plain(deep, "file")


def test_a_container_in_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(RefusedPickle, match="contains itself"):
        load_plain(pickle.dumps(loop), "file")


def test_many_references_do_not_fill_the_memory() -> None:
    """An array of a megabyte, described a hundred times over the same bytes."""
    whole = pickle.dumps([np.ones(1), "x"], 4)
    assert load_plain(whole, "file")[0] == 1.0
    block = b"B" + struct.pack("<I", 1_000_000) + bytes(1_000_000) + b"q\x01"
    one = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
        b"(K\x01(J" + struct.pack("<i", 1_000_000) + b"tcnumpy\ndtype\n(X\x02\x00\x00\x00u1tRI00\nh\x01tb"
    )
    with pytest.raises(RefusedPickle, match="more memory"):
        load_plain(b"\x80\x03(" + block + one * 100 + b"l.", "file")


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 700), flip=st.integers(0, 700), value=st.integers(0, 255))
def test_damaged_files_are_errors_or_values(cut: int, flip: int, value: int) -> None:
    """Whatever the damage: a refusal or a plain value, and nothing else."""
    data = bytearray(pickle.dumps([np.arange(5.0), {"a": [1, 2]}, ("x", b"y"), np.float32(1)], 3))
    data[flip % len(data)] = value
    for damaged in (bytes(data), bytes(data[: cut % len(data)])):
        with contextlib.suppress(RefusedPickle):
            load_plain(damaged, "file")


def test_truncated_files_are_errors(tmp_path: Path) -> None:
    whole = pickle.dumps([np.arange(100.0)])
    for size in range(0, len(whole) - 1, 7):
        with pytest.raises(RefusedPickle):
            load_plain(whole[:size], "file")
    path = save_object(tmp_path / "a.npy", [np.arange(10), "x"])
    content = path.read_bytes()
    for size in (3, 20, 90, len(content) - 5):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"a\.npy"):
            read_object_npy(path)


def test_npy_headers(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.arange(3.0))
    (tmp_path / "numbers.npy").write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match=r"numbers\.npy holds an array of float64"):
        read_object_npy(tmp_path / "numbers.npy")
    # a header that announces another shape than the pickle has
    path = save_object(tmp_path / "six.npy", [1, 2])
    path.write_bytes(path.read_bytes().replace(b"(2,)", b"(3,)"))
    with pytest.raises(RefusedPickle, match="announces"):
        read_object_npy(path)
    with pytest.raises(ValueError, match="cannot read"):
        read_pickle(tmp_path / "none.pkl")
