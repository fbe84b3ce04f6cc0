"""Runs of more galaxies than fit in memory: draws stay in the parts, the tables have all rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from astropy.table import Table
from commands import call, write

from starling.cli import fits
from starling.inference import Draws
from starling.runs import open_run

SETTINGS = {"n_draws": 200, "n_chains": 2, "batch_size": 2}


def draws_of(_: Any, observations: Any, model: Any, **options: Any) -> Draws:
    """In the place of chains: draws that are independent, about a mass that depends on the galaxy's redshift."""
    zred = np.asarray(observations.fixed["zred"])
    n, shape = zred.size, (zred.size, SETTINGS["n_chains"], SETTINGS["n_draws"])
    noise = np.random.default_rng(0).normal(size=(*shape, 2))
    theta = np.empty((*shape, 3), np.float32)
    theta[..., 0] = 9.0 + zred[:, None, None] + 0.1 * noise[..., 0]
    theta[..., 1] = 0.5 + 0.1 * noise[..., 1]
    theta[..., 2] = zred[:, None, None]
    return Draws(
        names=model.space.names,
        free=("logmass", "dust2"),
        theta=theta,
        remoteness=np.full(shape, np.nan, np.float32),
        extra={},
        log_density=(-0.5 * (noise**2).sum(axis=-1)).astype(np.float32),
        acceptance_rate=np.ones(shape, np.float32),
        diverging=np.zeros(shape, bool),
        n_steps=np.ones(shape, int),
        step_size=np.ones(n),
        n_modes=np.ones(n, int),
        problems=("",) * n,
    )


@pytest.fixture
def run(inputs: Path, toy: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A run that is large by its configuration; two of the seven rows of its table cannot be fitted."""
    monkeypatch.setattr(fits, "sample_galaxies", draws_of)
    table = Table.read(inputs / "table.ecsv")
    table.insert_row(1, dict(zip(table.colnames, table[0], strict=True)) | {"id": "bad-z", "zred": 9.0})
    table.insert_row(3, dict(zip(table.colnames, table[0], strict=True)))
    table.write(inputs / "table.ecsv", overwrite=True)
    config = yaml.safe_load((inputs / "config.yaml").read_text())
    config |= {"sampler": SETTINGS, "output": {"whole": 4, "draws": 50}}
    code, text = call("fit", write(inputs / "config.yaml", config), "--out", inputs / "out")
    assert code == 0, text
    return inputs / "out", text


def test_a_large_run(run: tuple[Path, str]) -> None:
    out, text = run
    assert not (out / "posterior.nc").exists()
    assert f"posterior {out / 'parts'}" in text
    stored = open_run(out)
    assert stored.ids == tuple(f"sim-{i}" for i in range(5))
    one = stored.galaxy("sim-3")
    assert one["posterior"]["logmass"].shape == (2, 25, 1)
    summary = Table.read(out / "summary.fits")
    assert list(summary["id"]) == list(stored.ids)
    assert list(summary["row"]) == [1, 3, 5, 6, 7]
    zred = np.asarray(summary["zred"], float)
    np.testing.assert_allclose(summary["logmass_50"], 9.0 + zred, atol=0.02)
    np.testing.assert_allclose(summary["logmass_best"], 9.0 + zred, atol=0.02)
    assert summary["mwa_50"].unit == "Gyr"
    same = Table.read(out / "summary.parquet")
    assert same.colnames == summary.colnames
    assert same["sfr_100_50"].unit == summary["sfr_100_50"].unit
    np.testing.assert_array_equal(same["chi2"], summary["chi2"])
    # the report is about all galaxies, with both findings
    assert (out / "report.html").read_text() == "config [('logmass', 'theirs', 5)] 2"
    # every row has a status
    rows = Table.read(out / "rows.fits")
    assert list(rows["row"]) == [1, 2, 3, 4, 5, 6, 7]
    assert list(rows["id"]) == ["sim-0", "bad-z", "sim-1", "sim-0", "sim-2", "sim-3", "sim-4"]
    fitted = summary["status"]
    assert set(fitted) <= {0, 1}
    assert list(rows["status"]) == [fitted[0], 14, fitted[1], 12, *fitted[2:]]
    assert rows["reason"][1] == "not fitted: redshift outside the range of the model"
    assert rows.meta["STATUS12"] == "not fitted: an earlier row has this ID"


def test_small_and_large_runs_agree(run: tuple[Path, str]) -> None:
    out = run[0]
    config = yaml.safe_load((out.parent / "config.yaml").read_text()) | {"output": {"summary": ["fits"]}}
    code, text = call("fit", write(out.parent / "small.yaml", config), "--out", out.parent / "small")
    assert code == 0, text
    small, large = (Table.read(path / "summary.fits") for path in (out.parent / "small", out))
    assert small.pformat() == large.pformat()
    assert not list((out.parent / "small").glob("summary.ecsv"))
    with xr.open_datatree(out.parent / "small" / "posterior.nc", engine="h5netcdf") as tree:
        kept = open_run(out).select(small["id"])
        thinned = tree["posterior"]["logmass"][:, ::8]
        np.testing.assert_allclose(kept["posterior"]["logmass"], thinned, rtol=1e-5)
