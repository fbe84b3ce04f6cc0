"""`starling ssp export`, and `starling simulate` and `starling train` on the file that it writes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from commands import call, gone
from fsps_training import FSPS_TRAINING
from toy_tables import make_toy_tables

from starling.cli.training_sets import check_inputs
from starling.emulators.files import load_emulator, read_header
from starling.emulators.spectra.config import load_any_config
from starling.simulation import read_set
from starling.simulation.store import read_manifest
from starling.sps.files import read_ssp_header, save_ssp_tables

pytestmark = [
    pytest.mark.filterwarnings("ignore::starling.sps.fsps.FspsWarning"),
    pytest.mark.filterwarnings("ignore::starling.sps.files.SurrogateWarning"),
]
ROOT = Path(__file__).parents[2]
TRAINING: dict[str, Any] = {
    "name": "tables",
    "space": {"agn": False, "zred": [0.5, 1.0]},
    "bands": ["sdss_r0"],
    "sets": {"n_train": 32, "n_validation": 16, "n_test": 32, "chunk": 16},
    "network": {"kind": "direct", "width": 8, "depth": 1},
    "training": {"stages": [{"epochs": 1, "batch_size": 16}]},
}


def write(path: Path, tables: Path) -> Path:
    path.write_text(yaml.safe_dump(TRAINING | {"simulator": {"tables": str(tables), "batch": 16}}))
    return path


@pytest.fixture(scope="module")
def exported(fsps_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "new folder" / "tables.safetensors"
    code, text = call("ssp", "export", "--out", out, "--sps-home", fsps_home, "--log-u", -2.5)
    assert code == 0, text
    assert "wrote mist + c3k_lr, Chabrier (FSPS) + CLOUDY for mist, log U = -2.5 (FSPS) + DL07 MW3.1" in text
    assert "13 metallicities, 107 ages, 1936 wavelengths (SURROGATE)" in text
    return out


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A file of toy tables."""
    path = tmp_path / "toy.safetensors"
    save_ssp_tables(path, make_toy_tables(), {})
    return path


@pytest.mark.fsps
@pytest.mark.slow
def test_from_fsps_to_an_emulator(exported: Path, tmp_path: Path) -> None:
    """FSPS writes the tables; sets and emulator are made of the file, without FSPS."""
    config, sets = write(tmp_path / "train.yaml", exported), tmp_path / "sets"
    code, text = call("simulate", config, "--out", sets, "--workers", 1)
    assert code == 0, text
    assert "SURROGATE" in text
    simulator = read_manifest(sets / "train")["identity"]["simulator"]
    assert simulator["surrogate"] is True
    assert "log U = -2.5" in simulator["tables"]
    assert len(simulator["tables_sha256"]) == 16
    assert np.all(read_set(sets / "train").outputs["stars"] >= 0.0)
    words = ("--sets", sets, "--workdir", tmp_path / "run", "--gradients", 0)
    code, text = call("train", config, *words)
    assert code == 0, text
    out = tmp_path / "run" / "tables.safetensors"
    assert read_header(out)["simulator"]["tables_sha256"] == simulator["tables_sha256"]
    emulator = load_emulator(out)
    assert np.all(np.isfinite(emulator(jnp.asarray(read_set(sets / "train").theta[0]))))


@pytest.mark.fsps
def test_a_file_that_is_there_is_replaced_only_where_it_is_asked_for(exported: Path, fsps_home: Path) -> None:
    before = exported.read_bytes()
    code, text = call("ssp", "export", "--out", exported, "--sps-home", fsps_home)
    assert code == 1
    assert "is there already: --overwrite replaces it" in text
    assert exported.read_bytes() == before
    copy = exported.with_name("copy.safetensors")
    shutil.copy(exported, copy)
    words = ("--imf", "kroupa", "--imf-parameter", "imf3=2.7", "--overwrite")
    code, text = call("ssp", "export", "--out", copy, "--sps-home", fsps_home, *words)
    assert code == 0, text
    assert read_ssp_header(copy)["imf"]["imf3"] == 2.7
    assert read_ssp_header(copy)["tables"]["nebular"]["log_u"] == -2.0
    assert "Kroupa, imf3 = 2.7" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sps-home", "nowhere"), "there is no FSPS data directory"),
        (("--sps-home", "."), "is no FSPS data directory"),
        (("--imf", "krupa"), "no initial mass function 'krupa'"),
        (("--imf-parameter", "imf3"), "write NAME=VALUE"),
        (("--imf", "kroupa", "--imf-parameter", "alpha=2"), "has no alpha; it has imf1, imf2, imf3"),
        (("--imf", "tabulated"), "is not there"),
    ],
)
def test_what_is_wrong_is_one_clear_message(
    words: tuple[str, ...],
    message: str,
    surrogate_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPS_HOME", str(surrogate_home))
    code, text = call("ssp", "export", "--out", "tables.safetensors", *words)
    assert code == 1
    assert message in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fsps
def test_a_library_that_the_directory_has_not_is_named(fsps_home: Path, tmp_path: Path) -> None:
    """FSPS is compiled for other files than are there: Fortran would stop without a word."""
    home = tmp_path / "home"
    shutil.copytree(fsps_home, home, copy_function=os.link)
    shutil.rmtree(home / "SPECTRA" / "C3K")
    code, text = call("ssp", "export", "--out", tmp_path / "tables.safetensors", "--sps-home", home)
    assert code == 1
    assert "lacks what FSPS, compiled for mist + c3k_lr + DL07, reads" in text
    assert "SPECTRA/C3K/c3k_lr/c3k_lr.lambda" in text
    assert not (tmp_path / "tables.safetensors").exists()


def test_places_where_nothing_can_be_written(
    surrogate_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("ssp", "export", "--sps-home", surrogate_home, "--out")
    assert "ends in .safetensors" in call(*words, tmp_path / "tables.fits")[1]
    (tmp_path / "file").write_text("")
    code, text = call(*words, tmp_path / "file" / "tables.safetensors")
    assert (code, "file" in text) == (1, True)
    # root may write everywhere: what the system says is made up
    monkeypatch.setattr("starling.cli.ssp.os", SimpleNamespace(access=lambda *_: False, W_OK=os.W_OK))
    code, text = call(*words, tmp_path / "tables.safetensors")
    assert code == 1
    assert f"cannot write to the folder {tmp_path}" in text


@pytest.mark.fsps
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes of FSPS in /proc")
def test_ctrl_c_ends_fsps_and_leaves_nothing(fsps_home: Path, tmp_path: Path) -> None:
    out = tmp_path / "tables.safetensors"
    # what runs in the background of a shell inherits that Ctrl-C is ignored
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"from starling.cli import app; app(['ssp', 'export', '--out', {str(out)!r}])"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"SPS_HOME": str(fsps_home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    until = time.monotonic() + 120.0
    while not (found := children.read_text().split()) and time.monotonic() < until:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert b"stopped" in said
    assert b"Traceback" not in said
    assert found
    assert gone(map(int, found))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_sets_of_other_tables_are_refused(toy: Path, tmp_path: Path) -> None:
    """The same file name with other contents: neither are sets gone on with, nor are they trained on."""
    config, sets = write(tmp_path / "train.yaml", toy), tmp_path / "sets"
    assert call("simulate", config, "--out", sets, "--workers", 1)[0] == 0
    tables = make_toy_tables()
    brighter = tables._replace(ssp=tables.ssp._replace(l_lambda=1.001 * tables.ssp.l_lambda))
    save_ssp_tables(toy, brighter, {})
    code, text = call("simulate", config, "--out", sets, "--workers", 1)
    assert code == 1
    assert "made with another simulator.tables_sha256" in text
    words = ("train", config, "--sets", sets, "--workdir", tmp_path / "run", "--gradients", 0)
    code, text = call(*words)
    assert code == 1
    assert "the sets were made with other tables than those that" in text
    toy.unlink()
    assert call(*words)[0] == 0  # who has the sets alone can train


def test_the_network_of_dust_that_absorbs_its_own_light_has_to_know_how_much_there_is(
    tmp_path: Path,
) -> None:
    tables = make_toy_tables()
    path, config = tmp_path / "fsps.safetensors", tmp_path / "train.yaml"
    save_ssp_tables(path, tables._replace(ssp=tables.ssp._replace(as_fsps=True)), {})
    roles = {role: {"width": 8, "depth": 1} for role in ("stars", "lines")}
    dust = {"width": 8, "depth": 1, "features": {"parameters": ["duste_qpah", "duste_umin", "dust2"]}}
    content = TRAINING | {"simulator": {"tables": str(path)}}
    content["network"] = {"kind": "mixture", **roles, "dust": dust}
    config.write_text(yaml.safe_dump(content))
    code, text = call("train", config, "--workdir", tmp_path / "run")
    assert code == 1
    assert "network.dust.features.parameters also has to have dust_index" in text
    assert not (tmp_path / "run").exists()
    description = {"conventions": ["self_absorption"]}
    whole = load_any_config(ROOT / "configs" / "train_fsps_tables.yaml")
    check_inputs(whole.network, description)
    default = load_any_config(ROOT / "configs" / "train_prospector_alpha.yaml")
    check_inputs(default.network, {})
    with pytest.raises(ValueError, match="dust2, dust_index"):
        check_inputs(default.network, description)


@pytest.mark.fsps
@pytest.mark.slow
def test_sets_of_another_home_are_refused(fsps_home: Path, tmp_path: Path) -> None:
    other, config, sets = tmp_path / "home", tmp_path / "train.yaml", tmp_path / "sets"
    config.write_text(FSPS_TRAINING)
    shutil.copytree(fsps_home, other, copy_function=os.link)
    changed = other / "nebular" / "ZAU_ND_mist.lines"
    text = changed.read_text()
    changed.unlink()
    changed.write_text(text + "\n")
    assert call("simulate", config, "--out", sets, "--sps-home", fsps_home, "--workers", 2)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in sets.rglob("*") if path.is_file()}
    code, text = call("simulate", config, "--out", sets, "--sps-home", other, "--workers", 2)
    assert code == 1
    assert "made with another simulator.tables_sha256" in text
    assert before == {path: path.stat().st_mtime_ns for path in sets.rglob("*") if path.is_file()}
