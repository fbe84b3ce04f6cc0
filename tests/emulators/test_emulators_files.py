"""Emulator files: exact round trip, and errors for whatever is not one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from starling.emulators import load_emulator, read_header, save_emulator
from starling.emulators.files import changed_curves
from tests.emulators.conftest import BANDS


def read_raw(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with safe_open(path, framework="numpy") as handle:
        return {name: handle.get_tensor(name) for name in handle.offset_keys()}, json.loads(
            handle.metadata()["starling"]
        )


def write_raw(path: Path, arrays: dict[str, np.ndarray], header: dict[str, Any]) -> Path:
    save_file(arrays, path, metadata={"starling": json.dumps(header)})
    return path


def test_round_trip_is_bitwise(toy_file: Path, tmp_path: Path) -> None:
    emulator, header = load_emulator(toy_file), read_header(toy_file)
    again = tmp_path / "again.safetensors"
    save_emulator(again, emulator, header)
    assert read_header(again) == header == json.loads(again.with_suffix(".json").read_text())
    copy = load_emulator(again)
    assert jax.tree.structure(copy) == jax.tree.structure(emulator)
    for one, other in zip(jax.tree.leaves(emulator), jax.tree.leaves(copy), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_header_tells_how_it_was_made(toy_file: Path) -> None:
    header = read_header(toy_file)
    assert header["bands"] == list(BANDS)
    assert header["surrogate"] is True
    assert header["simulator"]["tables"] == "a made-up galaxy"
    assert header["config"]["seed"] == 3
    assert {"jax", "flax", "starling-sed"} <= set(header["versions"])
    for statistics in header["accuracy"].values():
        assert len(statistics["std"]) == len(BANDS) + 4
        assert len(statistics["quantiles"]) == 9
        assert set(statistics["within"]) == {"0.01", "0.02", "0.05"}


def test_changed_filter_curves_are_found(toy_file: Path) -> None:
    header = read_header(toy_file)
    assert changed_curves(header) == []
    header["curve_sha256"][1] = "0" * 64
    assert changed_curves(header) == [BANDS[1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no emulator file .*starling train"),
        (b"not a safetensors file at all", "damaged or not a safetensors file"),
        (b"", "damaged or not a safetensors file"),
    ],
)
def test_no_file_or_no_safetensors(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_emulator(path)


def test_a_cut_file(toy_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(toy_file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"damaged.*download or train it again"):
        load_emulator(path)


def test_a_foreign_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not a starling photometry emulator"):
        load_emulator(path)


def first(arrays: dict[str, np.ndarray]) -> str:
    """Where the weights of the first network are: names of arrays begin so."""
    role = next(name for name in sorted(arrays) if ".network." in name).partition(".")[0]
    return f"{role}.network."


def spare_array(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    arrays["gas.network.head.bias"] = np.zeros(2, np.float32)


def shorten_features(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    name = next(name for name in sorted(arrays) if name.endswith(".feature_shift"))
    arrays[name] = arrays[name][1:]


def drop_weight(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    del arrays[first(arrays) + "head.bias"]


def reshape_weight(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    arrays[first(arrays) + "head.bias"] = np.zeros(2, np.float32)


def spoil_weight(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    arrays[first(arrays) + "hidden.0.linear.kernel"][0, 0] = np.nan


def shorten_sigma(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    arrays["sigma_mag"] = arrays["sigma_mag"][:2]


def future_version(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    header["format_version"] = 99


def drop_parameter(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    header["space"]["parameters"] = [p for p in header["space"]["parameters"] if p["name"] != "zred"]


def drop_band(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    header["bands"] = header["bands"][1:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_weight, "head.bias .*found none"),
        (reshape_weight, r"head.bias \(expected \(\d+,\), found \(2,\)\)"),
        (spoil_weight, "hidden.0.linear.kernel hold numbers that are not finite"),
        (shorten_sigma, "sigma_mag"),
        (future_version, "format version 99"),
        (drop_parameter, "zred"),
        (drop_band, "4 bands, but 5 in the networks"),
        (spare_array, "nothing uses: gas.network"),
        (shorten_features, r"inputs of \w+, but features"),
    ],
)
def test_damaged_content(
    damage: Callable[[dict[str, np.ndarray], dict[str, Any]], None],
    message: str,
    toy_file: Path,
    tmp_path: Path,
) -> None:
    arrays, header = read_raw(toy_file)
    damage(arrays, header)
    with pytest.raises(ValueError, match=message):
        load_emulator(write_raw(tmp_path / "damaged.safetensors", arrays, header))
