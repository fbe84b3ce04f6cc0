import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr
import yaml
from astropy.table import Table
from commands import call

from starling.cli import fits, opened
from starling.cli.measure import Measurements
from starling.emulators import default_path, read_header
from starling.forward import Part
from starling.validation.emulator import NewErrors
from tests.cli.conftest import ToyModel


def test_version_and_help() -> None:
    assert call("--version") == (0, f"starling {version('starling-sed')}")
    code, text = call("--help")
    assert code == 0
    for command in ("quickstart", "fit", "train", "validate"):
        assert command in text
        assert call(command, "--help")[0] == 0


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from starling.cli import app; "
        "assert CliRunner().invoke(app, ['fit', '--help']).exit_code == 0; "
        "print([name for name in ('jax', 'numpy', 'astropy', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@jax.tree_util.register_pytree_node_class
class PartedModel(ToyModel):
    """A model that wants every other galaxy apart."""

    def specialise(self, fixed: dict[str, np.ndarray]) -> list[Part]:
        rows = np.arange(len(fixed["zred"]))
        return [Part(rows[1::2], self), Part(rows[::2], self)]


def test_a_model_in_parts_leaves_the_order_of_the_table(
    inputs: Path, toy: ToyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PartedModel(toy.reddening, toy.bands)
    monkeypatch.setattr(opened, "load_emulator", lambda _: model)
    code, text = call("fit", inputs / "config.yaml", "--out", inputs / "out")
    assert code == 0, text
    with xr.open_datatree(inputs / "out" / "posterior.nc", engine="h5netcdf") as tree:
        assert list(tree["posterior"]["galaxy"].values) == [f"sim-{i}" for i in range(5)]
        np.testing.assert_array_equal(tree["catalogue"]["row"], [1, 2, 3, 4, 5])
        zred = Table.read(inputs / "table.ecsv")["zred"]
        np.testing.assert_allclose(tree["constant_data"]["zred"], zred, rtol=1e-6)
        assert "sampler" in tree.attrs
    summary = Table.read(inputs / "out" / "summary.ecsv")
    np.testing.assert_allclose(summary["logmass_50"], summary["theirs"], atol=0.4)


def test_a_fit_writes_everything(inputs: Path, toy: Any) -> None:
    code, text = call("fit", inputs / "config.yaml", "--out", inputs / "out")
    assert code == 0, text
    assert "5 galaxies of 5 rows, 5 bands (5 to 5 usable per galaxy)" in text
    assert "of 5 galaxies converged" in text
    tree = xr.open_datatree(inputs / "out" / "posterior.nc", engine="h5netcdf")
    with tree:
        assert list(tree["posterior"]["galaxy"].values) == [f"sim-{i}" for i in range(5)]
        assert tree["posterior"]["logmass"].shape == (2, 40, 5)
        np.testing.assert_array_equal(tree["catalogue"]["row"], [1, 2, 3, 4, 5])
        median = tree["posterior"]["logmass"].median(("chain", "draw"))
    summary = Table.read(inputs / "out" / "summary.ecsv")
    assert list(summary["row"]) == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(summary["logmass_50"], median, atol=1e-3)
    np.testing.assert_allclose(summary["logmass_50"], summary["theirs"], atol=0.4)
    assert len(Table.read(inputs / "out" / "findings.ecsv")) == 0
    assert (inputs / "out" / "report.html").read_text() == "config [('logmass', 'theirs', 5)] 0"
    assert str(inputs / "out" / "report.html") in text


def test_an_interrupted_fit_goes_on_with_identical_results(
    inputs: Path, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load((inputs / "config.yaml").read_text()) | {"output": {"report": False}}
    (inputs / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert call("fit", inputs / "config.yaml", "--out", inputs / "whole")[0] == 0
    sample, calls = fits.sample_galaxies, []

    def stop_at_the_second(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sample(*args, **options)

    monkeypatch.setattr(fits, "sample_galaxies", stop_at_the_second)
    code, text = call("fit", inputs / "config.yaml", "--out", inputs / "halves")
    assert code == 130
    assert "stopped; finished parts are in" in text
    assert "run the same again" in text
    assert call("fit", inputs / "config.yaml", "--out", inputs / "halves")[0] == 0
    assert len(calls) == 4
    whole, halves = (
        xr.open_datatree(inputs / name / "posterior.nc", engine="h5netcdf") for name in ("whole", "halves")
    )
    with whole, halves:
        for group in ("posterior", "derived", "sample_stats", "diagnostics"):
            xr.testing.assert_identical(whole[group].to_dataset(), halves[group].to_dataset())


def test_changed_inputs_are_told(inputs: Path, toy: Any) -> None:
    config = yaml.safe_load((inputs / "config.yaml").read_text()) | {"output": {"report": False}}
    (inputs / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    words = ("fit", inputs / "config.yaml", "--out", inputs / "out", "-n", 2)
    assert call(*words)[0] == 0
    (inputs / "config.yaml").write_text(yaml.safe_dump(config | {"seed": 1}, sort_keys=False))
    code, text = call(*words)
    assert code == 1
    assert "changed: seed (0 -> 1). Use --fresh" in text
    assert "Traceback" not in text
    assert call(*words, "--fresh")[0] == 0


def test_check_stops_before_the_fit(inputs: Path, toy: Any) -> None:
    table = Table.read(inputs / "table.ecsv")
    table["zred"][1] = 9.0
    table.write(inputs / "other.ecsv")
    code, text = call(
        "fit", inputs / "config.yaml", inputs / "other.ecsv", "--check", "--out", inputs / "out"
    )
    assert code == 0
    assert "4 galaxies of 5 rows" in text
    assert "sim-1 (row 2)" in text
    assert not (inputs / "out").exists()


def test_errors_are_one_message(inputs: Path, toy: Any) -> None:
    (inputs / "bad.yaml").write_text((inputs / "config.yaml").read_text().replace("redshift:", "redshfit:"))
    code, text = call("fit", inputs / "bad.yaml")
    assert code == 1
    assert "error:" in text
    assert "redshfit: unknown key; did you mean 'redshift'?" in text
    assert "Traceback" not in text
    with pytest.raises(ValueError, match="redshfit"):
        call("fit", inputs / "bad.yaml", "--debug")
    code, text = call("fit", inputs / "config.yaml", "--data", inputs / "nowhere")
    assert code == 1
    assert "there is no table" in text


def test_quickstart_compares_with_the_truth(
    tmp_path: Path, simulated: Table, toy: Any, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    simulated.write(tmp_path / "data" / "quickstart.ecsv")
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    code, text = call("quickstart", "--out", tmp_path / "out")
    assert code == 0, text
    for said in ("logmass", "dust2", "sfr_100", "in 68%", "galaxies converged", "report.html"):
        assert said in text
    tree = xr.open_datatree(tmp_path / "out" / "posterior.nc", engine="h5netcdf")
    with tree:
        assert set(tree["truth"].data_vars) == {"logmass", "dust2", "sfr_100"}


def test_validate_writes_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = call("validate", "--card", tmp_path / "card")
    assert code == 0, text
    assert "Held-out draws from the prior" in text
    card = (tmp_path / "card" / "model_card.md").read_text()
    header = read_header(default_path())
    assert all(f"| `{name}` |" in card for name in header["bands"])
    assert "SURROGATE" not in card
    assert "by `starling validate --card card`" in card


def test_validate_shows_what_was_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def stand_in(*given: Any) -> Measurements:
        asked.extend(given)
        header = read_header(default_path())
        names = (*header["bands"], *header["properties"])
        parameters = tuple(p["name"] for p in header["space"]["parameters"])
        bands = len(header["bands"])
        felt = {"n": 7, "quantiles": [0.05, 0.16, 0.5, 0.84, 0.95], "eigenvalues": [0.01]}
        felt |= {name: [0.1] * 5 for name in ("cosine", "relative", "preconditioned", "lowest", "highest")}
        gradient = {"n": 7, "bands": header["bands"], "parameters": parameters, "likelihood": {"free": felt}}
        for key, value in (("rms_error", 0.02), ("rms_exact", 0.5), ("abs_68", 0.01)):
            gradient[key] = np.full((len(parameters), bands), value).tolist()
        redshift = {key: [0.1] * bands for key in ("rms_error", "rms_exact", "abs_68", "rms_rough")}
        gradient["redshift"] = {"step": 0.004, **redshift}
        error = np.zeros((5, len(names)))
        return Measurements(
            NewErrors(np.zeros((5, len(parameters))), error, names, parameters, 2), gradient, ["pixels"]
        )

    monkeypatch.setattr("starling.cli.measure.measure", stand_in)
    code, text = call("validate", "--simulate", 5, "--gradients", 7, "--seed", 3)
    assert code == 0, text
    assert asked[1:4] == [5, 7, 3]
    for said in ("differs in pixels", "2 simulations are not finite", "5 new draws", "4.0%", "zred, slope"):
        assert said in text
    assert "redshift free (7 galaxies" in text


def test_the_emulators_in_the_package_are_listed_and_measured() -> None:
    code, text = call("models")
    assert code == 0, text
    for name in ("prospector_alpha", "prospector_alpha_14", "spectra_desi", "spectra_prospector_alpha"):
        assert name in text
    code, text = call("validate", "spectra_desi")
    assert code == 0, text
    assert "have a mean error below 1%" in text
    code, text = call("validate", "spectra_dessi")
    assert code == 1
    assert "there is no emulator file spectra_dessi" in text
