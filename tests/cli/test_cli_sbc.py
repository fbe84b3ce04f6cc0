"""``starling sbc`` and ``starling fit --exact`` on galaxies of a toy model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from astropy.table import Table
from commands import call
from toy_tables import make_toy_tables

from starling.catalogues import FitConfig
from starling.cli.fits import Place, fit_job, open_fit
from starling.sps import ExactModel, Tables
from tests.cli.test_cli_judge import toy_file


@pytest.mark.slow
def test_simulated_galaxies_are_fitted_and_counted(inputs: Path, toy: Any) -> None:
    out = inputs / "sbc"
    code, text = call("sbc", inputs / "config.yaml", "-n", 12, "--out", out)
    assert code == 0, text
    for said in ("Simulating 12 galaxies like these", "all parameters together", "none of which passed"):
        assert said in text
    found = Table.read(out / "calibration.ecsv")
    assert {"logmass", "dust2", "joint"} <= set(found["name"])
    assert np.all(found["n"] == 12)
    assert np.all((found["in_95"] > 0.5) & (found["p_value"] > 1e-4))
    assert (out / "calibration.png").stat().st_size > 10_000
    with xr.open_datatree(out / "posterior.nc", engine="h5netcdf") as tree:
        assert {"logmass", "dust2", "zred", "sfr_100"} <= set(tree["truth"].data_vars)
        assert set(tree["catalogue"]["like"].values.astype(str)) == {f"sim-{i}" for i in range(5)}
    before = (out / "summary.ecsv").read_bytes()
    code, text = call("sbc", inputs / "config.yaml", "-n", 12, "--out", out)
    assert code == 0, text
    assert (out / "summary.ecsv").read_bytes() == before
    code, text = call("sbc", inputs / "config.yaml", "-n", 12, "--seed", 1, "--out", out)
    assert code == 1
    assert "--fresh" in text


def test_a_likelihood_that_is_no_distribution_is_refused_before_anything_is_fitted(
    inputs: Path, toy: Any
) -> None:
    config = yaml.safe_load((inputs / "config.yaml").read_text())
    config["photometry"]["likelihood"] = "student_t"
    (inputs / "config.yaml").write_text(yaml.safe_dump(config))
    code, text = call("sbc", inputs / "config.yaml", "--out", inputs / "sbc")
    assert code == 1
    assert "likelihood: student_t" in text
    assert not (inputs / "sbc").exists()


def test_a_fit_may_have_the_exact_model(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the tables that the emulator's header names; here made-up ones."""

    def toy_tables(*_: Any) -> Tables:
        return make_toy_tables()

    monkeypatch.setattr("starling.cli.opened.named_tables", toy_tables)
    imitates = {"config": {"simulator": {"tables": "their.safetensors"}}}
    config = yaml.safe_load((inputs / "config.yaml").read_text()) | toy_file(inputs, **imitates)
    (inputs / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    code, text = call("fit", inputs / "config.yaml", "--exact", "--check")
    assert code == 0, text
    assert "Model: the exact model of" in text
    place = Place(inputs, None, inputs)
    emulator, catalogue = open_fit(FitConfig.model_validate(config), place)
    exact, same = open_fit(FitConfig.model_validate(config), place._replace(exact=True))
    assert same.ids == catalogue.ids
    assert isinstance(exact.model, ExactModel)
    assert exact.model.bands == catalogue.bands
    assert exact.model.space == emulator.model.space
    # what other processes are sent to open says so too
    job = fit_job(FitConfig.model_validate(config), place._replace(exact=True), inputs / "out")
    assert json.loads(job.settings)["place"]["exact"] is True
