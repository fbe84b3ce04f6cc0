"""The model card of a trained toy: what it says, what it warns of, and that its configuration can be used again."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from starling.cli.card import write_card
from starling.emulators import load_emulator, read_header
from starling.emulators.config import load_config
from starling.emulators.files import add_accuracy
from starling.simulation import SimulatedSet
from starling.simulation.store import content_hash
from starling.validation.card import table
from starling.validation.emulator import NewErrors, errors_on_new_draws
from tests.emulators.conftest import BANDS, SPACE, jax_simulator, toy_totals


@pytest.fixture(scope="module")
def errors(toy_file: Path) -> NewErrors:
    return errors_on_new_draws(load_emulator(toy_file), jax_simulator(toy_totals), 300, seed=5)


@pytest.fixture
def gradient() -> dict[str, Any]:
    """As ``gradient_errors`` gives it, for the bands and parameters of the toy: 20% off along dust2."""
    shape = (len(SPACE), len(BANDS))
    error = np.full(shape, 0.01)
    error[SPACE.index("dust2"), 2] = 0.5
    felt = {"n": 9, "quantiles": [0.05, 0.16, 0.5, 0.84, 0.95], "eigenvalues": [0.01, 0.02]}
    felt |= {name: [0.1] * 5 for name in ("cosine", "relative", "preconditioned", "lowest", "highest")}
    row = [0.1] * len(BANDS)
    return {
        "n": 9,
        "bands": list(BANDS),
        "parameters": list(SPACE.names),
        "rms_error": error.tolist(),
        "rms_exact": np.ones(shape).tolist(),
        "abs_68": error.tolist(),
        "redshift": {
            "step": 0.004,
            "n": 9,
            **dict.fromkeys(("rms_error", "rms_rough", "rms_exact", "abs_68"), row),
        },
        "likelihood": {"free": felt, "fixed": felt},
    }


def test_the_card_says_what_there_is(
    toy_file: Path, errors: NewErrors, gradient: dict[str, Any], tmp_path: Path
) -> None:
    path = write_card(tmp_path / "card", toy_file, "--simulate 300", errors, gradient)
    text, header = path.read_text(), read_header(toy_file)
    for heading in ("What it is", "Parameters", "How it was made", "How accurate it is", "Its gradient",
                    "What it is not for", "What it costs", "Every band"):  # fmt: skip
        assert f"\n## {heading}\n" in text
    bands = text.partition("## Every band")[2]
    for name, sha256, sigma in zip(
        BANDS, header["curve_sha256"], header["accuracy"]["prior"]["std"], strict=False
    ):
        assert re.search(rf"\| `{name}` \|.*`{sha256[:10]}`.*\| {sigma:.4f} \|", bands), name
    for name in SPACE.names:
        assert f"| `{name}` |" in text
    assert "SURROGATE: NOT ASTROPHYSICS" in text
    assert header["licence"] == "MIT"
    assert "| licence | MIT |" in text
    assert header["training_set"]["sha256"] in text
    assert "new draws from the prior, for this card | 300 |" in text
    # 0.5 in one of five bands, 0.01 in the others, of 1
    assert "Derivatives along these parameters, whose error is above 10%: `dust2` 22%" in text
    assert "--card card --simulate 300 --sps-home DIR" in text
    assert str(tmp_path) not in text
    for figure in ("bands", "tails", "parameters", "correlation", "gradient"):
        assert f"({figure}.png)" in text
        assert (path.parent / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert load_config(path.parent / "training.yaml").sha256() == header["config_sha256"]


def test_a_real_model_is_not_called_a_surrogate(
    toy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = read_header(toy_file) | {"surrogate": False}
    monkeypatch.setattr("starling.cli.card.read_header", lambda _: header)
    text = write_card(tmp_path, toy_file, "", None, None).read_text()
    assert "NOT ASTROPHYSICS" not in text
    assert "Not measured: `starling validate" in text
    assert not (tmp_path / "correlation.png").exists()


def test_weak_bands_and_places_are_named(
    toy_file: Path, errors: NewErrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = json.loads(json.dumps(read_header(toy_file)))
    header["accuracy"]["prior"]["std"] = [0.001, 0.03, 0.02, 0.001, 0.001, 9.0, 9.0, 9.0, 9.0]
    monkeypatch.setattr("starling.cli.card.read_header", lambda _: header)
    dusty = errors.theta[:, SPACE.index("dust2")] > np.quantile(errors.theta[:, SPACE.index("dust2")], 0.9)
    worse = errors._replace(error=np.where(dusty[:, None], 20.0, 1.0) * errors.error)
    text = write_card(tmp_path, toy_file, "", worse, None).read_text()
    assert f"standard deviation on the prior is larger: `{BANDS[1]}` 0.030, `{BANDS[2]}` 0.020." in text
    assert "larger than" in text
    assert re.search(r"Blind trust .*: `dust2` from", text)


def test_measurements_are_added_to_a_file(toy_file: Path, tmp_path: Path, gradient: dict[str, Any]) -> None:
    path = tmp_path / "copy.safetensors"
    shutil.copy(toy_file, path)
    before = read_header(path)
    add_accuracy(path, "gradient", gradient)
    after = read_header(path)
    assert after["accuracy"].pop("gradient") == gradient
    assert after == before


def test_the_hash_is_of_the_numbers_of_the_set() -> None:
    rows = {"a": np.arange(6.0, dtype=np.float32).reshape(3, 2)}
    one = SimulatedSet(np.ones((3, 2), np.float32), rows, 0)
    same = SimulatedSet(one.theta.copy(), {"a": rows["a"].copy()}, 1)
    assert content_hash({"train": one}) == content_hash({"train": same})
    other = SimulatedSet(one.theta, {"a": rows["a"].reshape(2, 3)[:, :]}, 0)
    changed = SimulatedSet(one.theta, {"a": np.nextafter(rows["a"], np.float32(9.0))}, 0)
    assert (
        len({content_hash({"train": s}) for s in (one, other, changed)} | {content_hash({"prior": one})}) == 4
    )


def test_tables_keep_their_columns() -> None:
    assert table(("a", "b"), [("|x|", "1")]) == "| a | b |\n| --- | --- |\n| \\|x\\| | 1 |"
