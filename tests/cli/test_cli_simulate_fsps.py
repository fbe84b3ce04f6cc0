"""`starling simulate` with FSPS in the place of the exact model: made up, and FSPS itself on made-up tables."""

import json
import time
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import numpy as np
import pytest
from astropy.table import Table
from fsps_training import FSPS_TRAINING
from typer.testing import CliRunner

from starling.cli import app, source, spectra
from starling.emulators.files import read_header
from starling.emulators.simulate_config import SimulateConfig
from starling.parameters import ParameterSpace
from starling.simulation import failures, read_set
from starling.simulation.store import read_manifest
from starling.sps.fsps import Fsps, FspsSpectra

PHOTOMETRY = """
name: sets
space: {agn: false, zred: [0.5, 1.0]}
simulator: {code: fsps}
bands: [sdss_r0, wfc3_ir_f160w]
draws: {mine: {n: 48, chunk: 16}}
"""
SPECTRA = """
name: sets
space: {model: desi_bgs, zred: [0.01, 0.4]}
simulator: {code: fsps}
spectra: {low_aa: 3600, high_aa: 9800, segments: [[3500, 0.005], [7500, 0.01]]}
draws: {mine: {n: 48, chunk: 16}}
"""


class MadeUp(Fsps):
    """FSPS without its processes: fails where dust2 is large, and says how it was opened, called and closed."""

    opened: ClassVar[list[Any]] = []
    wave_aa = np.geomspace(90.0, 1e7, 200)
    line_wave_aa = np.array([5006.84, 6562.8])

    def __init__(self, space: ParameterSpace, _home: object, *, workers: int) -> None:
        self.space, self.workers = space, workers
        self.closed, self.met = False, False
        self._running = Lock()
        self.opened.append(self)

    def close(self) -> None:
        self.closed = True

    def spectra(self, theta: np.ndarray) -> FspsSpectra:
        self.met |= not self._running.acquire(blocking=False)
        time.sleep(0.02)
        bad = theta[:, self.space.index("dust2")] > 2.0
        dust = np.where(bad, np.nan, theta[:, self.space.index("dust2")].astype(float))
        smooth = 1e-4 * np.exp(-dust)[:, None] * (self.wave_aa / 5500.0) ** -2
        self._running.release()
        return FspsSpectra(
            smooth=smooth,
            lines=np.full((len(theta), 2), 0.1),
            mass_fraction=np.full(len(theta), 0.7),
            log_lir_per_msun=dust,
            failure=np.where(bad, "FSPS process ended by SIGSEGV", ""),
        )


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(_: MadeUp, bands: Any = ()) -> dict[str, Any]:
        return {"code": "fsps", "surrogate": True, "bands": list(bands)}

    MadeUp.opened.clear()
    for module in (source, spectra):
        monkeypatch.setattr(module, "Fsps", MadeUp)
        monkeypatch.setattr(module, "describe_fsps", describe)


def simulate(config: Path, out: Path, *words: object) -> str:
    words = ("simulate", config, "--out", out, *words)
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(("content", "output"), [(PHOTOMETRY, "rest_flux"), (SPECTRA, "stars")])
def test_fsps_runs_in_processes_and_says_why_galaxies_failed(
    content: str, output: str, tmp_path: Path
) -> None:
    (tmp_path / "sets.yaml").write_text(content)
    said = simulate(tmp_path / "sets.yaml", tmp_path / "sets", "--workers", 3)
    (fsps,) = MadeUp.opened
    assert (fsps.workers, fsps.closed, fsps.met) == (3, True, False)  # one thread calls three processes
    assert "SURROGATE" in said
    folder = tmp_path / "sets" / "mine"
    found, kept = failures(folder), read_set(folder)
    assert set(found.values()) == {"FSPS process ended by SIGSEGV"}
    assert 0 < len(found) == kept.n_failed == 48 - len(kept.theta)
    assert kept.theta[:, fsps.space.index("dust2")].max() <= 2.0
    assert set(Table.read(folder / "failed.ecsv")["reason"]) == set(found.values())
    assert len(kept.outputs[output]) == len(kept.theta)
    asked = read_manifest(folder)["identity"]["simulator"]["asked"]
    assert asked["simulator"]["code"] == "fsps"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("shards/*")}
    simulate(tmp_path / "sets.yaml", tmp_path / "sets", "--workers", 1)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("shards/*")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"gives": "components"}, "leave out gives"), ({"tangents": True}, "leave tangents out")],
)
def test_what_fsps_has_not_is_refused(changes: dict[str, Any], message: str) -> None:
    content = {
        "name": "sets",
        "bands": ["sdss_r0"],
        "draws": {"mine": {"n": 4}},
        "simulator": {"code": "fsps"},
    }
    assert SimulateConfig.model_validate(content | {"gives": "fluxes"}).gives == "fluxes"
    with pytest.raises(ValueError, match=message):
        SimulateConfig.model_validate(content | changes)


@pytest.mark.fsps
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::starling.sps.fsps.FspsWarning")
def test_sets_of_fsps_are_trained_on_where_there_is_no_fsps(fsps_home: Path, tmp_path: Path) -> None:
    config, sets = tmp_path / "train.yaml", tmp_path / "sets"
    config.write_text(FSPS_TRAINING)
    said = simulate(config, sets, "--sps-home", fsps_home, "--workers", 2)
    assert f"wrote {sets / 'train'}: 72 galaxies" in said
    words = ["train", str(config), "--sets", str(sets), "--workdir", str(tmp_path / "run")]
    result = CliRunner().invoke(app, words, env={"SPS_HOME": ""})
    assert result.exit_code == 0, result.output
    header = read_header(tmp_path / "run" / "fsps.safetensors")
    assert header["surrogate"] is True
    assert header["simulator"] == json.loads(
        json.dumps(read_manifest(sets / "train")["identity"]["simulator"])
    )
    assert "gradient" not in header["accuracy"]
