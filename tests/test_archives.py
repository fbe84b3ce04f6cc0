"""Arrays with a header: what is written is read, and what is not ours is told."""

import json
from pathlib import Path

import numpy as np
import pytest

from starling.archives import Kind, format_of, read_arrays, read_header_of, write_arrays

KIND = Kind("toy-arrays", 3, "toy file", "make toys", "make it again")


def test_a_round_trip(tmp_path: Path) -> None:
    path, arrays = tmp_path / "a.safetensors", {"x": np.arange(6.0).reshape(2, 3), "n": np.array([1, 2])}
    write_arrays(path, KIND, {"name": "toy"}, arrays)
    header, found = read_arrays(path, KIND)
    assert header == {"name": "toy", "format": "toy-arrays", "format_version": 3}
    assert header == read_header_of(path, KIND) == json.loads(path.with_suffix(".json").read_text())
    assert format_of(path) == "toy-arrays"
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_what_is_not_of_the_kind_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match=r"there is no toy file .*`make toys` makes one"):
        read_arrays(path, KIND)
    write_arrays(path, KIND._replace(version=2), {}, {"x": np.ones(2)})
    with pytest.raises(ValueError, match=r"version 2, this starling reads 3: .* or make it again"):
        read_header_of(path, KIND)
    write_arrays(path, KIND._replace(format="other"), {}, {"x": np.ones(2)})
    with pytest.raises(ValueError, match="is a safetensors file but not a toy arrays"):
        read_arrays(path, KIND)
    write_arrays(path, KIND, {}, {"x": np.array([1.0, np.nan]), "y": np.ones(1)})
    with pytest.raises(ValueError, match="x hold numbers that are not finite; make it again"):
        read_arrays(path, KIND)
    path.write_bytes(b"nothing")
    assert format_of(path) is None
    with pytest.raises(ValueError, match="damaged"):
        read_header_of(path, KIND)
