"""``starling train`` with FSPS as the simulator: one command from a configuration to an emulator file."""

from pathlib import Path

import numpy as np
import pytest
from fsps_training import FSPS_TRAINING
from typer.testing import CliRunner

from starling.cli import app
from starling.emulators.files import load_emulator, read_header
from starling.emulators.spectra.files import read_quantiles

pytestmark = [
    pytest.mark.fsps,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::starling.sps.fsps.FspsWarning"),
]


def _run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_an_emulator_of_fsps(fsps_home: Path, tmp_path: Path) -> None:
    config, out = tmp_path / "fsps.yaml", tmp_path / "fsps.safetensors"
    config.write_text(FSPS_TRAINING)
    words = ("--out", out, "--workdir", tmp_path / "run", "--sps-home", fsps_home, "--workers", 2)
    _run("train", config, *words)
    header, emulator = read_header(out), load_emulator(out)
    assert header["surrogate"] is True
    assert header["simulator"]["code"] == "fsps"
    assert header["config"]["simulator"]["code"] == "fsps"
    assert header["n_failed"] == dict.fromkeys(header["n_failed"], 0)
    assert "gradient" not in header["accuracy"]  # FSPS has none
    assert np.all(np.isfinite(emulator(emulator.space.pack(_galaxy()))))
    said = _run("validate", out, "--simulate", 16, "--sps-home", fsps_home)
    assert "SURROGATE" in said
    assert "16 new draws" in said


def _galaxy() -> dict[str, float]:
    ratios = {f"logsfr_ratios_{i}": 0.1 for i in range(1, 7)}
    dust = {"dust2": 0.3, "dust_index": -0.2, "dust1_fraction": 1.0}
    infrared = {"duste_qpah": 2.0, "duste_umin": 1.0, "log_duste_gamma": -2.0}
    return {"logmass": 10.0, "logzsol": -0.5, "gas_logz": -0.2, "zred": 0.7, **ratios, **dust, **infrared}


SPECTRA = """
name: spectra
space: {model: desi_bgs, zred: [0.01, 0.4]}
simulator: {code: fsps}
spectra: {low_aa: 3600, high_aa: 9800, segments: [[3500, 0.005], [7500, 0.01]]}
components: {n_basis: 64, most: 4}
sets: {n_train: 96, n_validation: 32, n_test: 32, chunk: 32}
network: {kind: pca, width: 8, depth: 1}
training: {stages: [{epochs: 2, batch_size: 32}]}
"""


def test_an_emulator_of_spectra_of_fsps(fsps_home: Path, tmp_path: Path) -> None:
    config, out = tmp_path / "spectra.yaml", tmp_path / "spectra.safetensors"
    config.write_text(SPECTRA)
    _run(
        "train", config, "--out", out, "--workdir", tmp_path / "run", "--sps-home", fsps_home, "--workers", 2
    )
    header, _ = read_quantiles(out)
    assert header["surrogate"] is True
    assert header["simulator"]["code"] == "fsps"
    said = _run("validate", out, "--simulate", 16, "--sps-home", fsps_home)
    assert "SURROGATE" in said


def test_what_is_missing_is_one_clear_message(surrogate_home: Path, tmp_path: Path) -> None:
    config = tmp_path / "fsps.yaml"
    config.write_text(FSPS_TRAINING)
    words = ["train", str(config), "--workdir", str(tmp_path / "run"), "--sps-home", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "is no FSPS data directory" in result.output
    assert "Traceback" not in result.output
