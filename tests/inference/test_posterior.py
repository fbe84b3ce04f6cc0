import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from astropy.table import Table

from starling.inference import diagnose, open_posterior, save, summary_table, to_datatree

IDS = ["A-1", "A-2", "7", "δ", "x y"]

READER = """
import sys
class Refuse:
    def find_spec(self, name, *rest):
        if name.split(".")[0] == "starling":
            raise ImportError("starling is not here")
sys.meta_path.insert(0, Refuse())
import numpy as np, xarray as xr
tree = xr.open_datatree(sys.argv[1])
assert tree["posterior"]["logsfr_ratios"].dims == ("chain", "draw", "galaxy", "sfr_ratio")
assert [str(s) for s in tree["posterior"]["galaxy"].values] == ["A-1", "A-2", "7", "δ", "x y"]
assert "no band is used" in str(tree["diagnostics"]["flag"].sel(galaxy="δ").values)
assert tree["observed_data"]["mask"].dtype == bool
print(float(tree["posterior"]["a"].sel(galaxy="A-2").mean()))
"""


@pytest.fixture(scope="module")
def tree(linear_draws, linear_data, linear_model, quick):
    truth = {"a": np.zeros(5), "logsfr_ratios_1": np.ones(5), "logsfr_ratios_2": np.ones(5)}
    return to_datatree(
        linear_draws,
        linear_data,
        linear_model,
        diagnose(linear_draws),
        galaxy=IDS,
        settings=quick,
        truth=truth,
        attrs={"config": {"a": 1}},
    )


def test_layout(tree, linear_draws, linear_model):
    assert dict(tree["posterior"].sizes) == {"chain": 4, "draw": 500, "galaxy": 5, "sfr_ratio": 2}
    assert set(tree["posterior"].data_vars) == {"a", "logsfr_ratios"}
    np.testing.assert_array_equal(
        tree["posterior"]["a"].sel(galaxy="7", chain=2), linear_draws.theta[2, 2, :, 0]
    )
    assert tree["derived"]["sfh"].dims == ("chain", "draw", "galaxy", "sfh_bin")
    assert tree["derived"]["sfh_edges_gyr"].sizes["sfh_edge"] == 8
    assert tree["posterior_predictive"]["flux"].sizes == {"chain": 4, "draw": 50, "galaxy": 5, "band": 6}
    predicted = tree["posterior_predictive"]["flux"].sel(galaxy="A-1", chain=1, draw=20)
    np.testing.assert_allclose(predicted, linear_model(linear_draws.theta[0, 1, 20]), rtol=1e-5, atol=1e-15)
    assert tree["constant_data"]["zred"].dims == ("galaxy",)
    assert tree["truth"]["logsfr_ratios"].dims == ("galaxy", "sfr_ratio")
    assert tree["posterior"]["a"].attrs["units"] == "dex"
    assert list(tree["diagnostics"]["parameter"].values) == list(linear_draws.free)


@pytest.mark.parametrize("name", ["out.zarr", "out.nc"])
def test_reopens_without_the_package(tree, tmp_path, name):
    path = save(tree, tmp_path / name)
    save(tree, path)  # replaces
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    again = open_posterior(path)
    for group in tree.groups:
        xr.testing.assert_equal(tree[group].to_dataset().load(), again[group].to_dataset().load())
    again.close()
    run = subprocess.run([sys.executable, "-c", READER, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    np.testing.assert_allclose(
        float(run.stdout), float(tree["posterior"]["a"].sel(galaxy="A-2").mean()), rtol=1e-5
    )


def test_other_endings_are_refused(tree, tmp_path):
    with pytest.raises(ValueError, match=r"\.zarr or \.nc"):
        save(tree, tmp_path / "out.pkl")
    with pytest.raises(ValueError, match=r"\.zarr or \.nc"):
        open_posterior(tmp_path / "out.pkl")


def test_ids_must_be_unique(linear_draws, linear_data, linear_model, quick):
    with pytest.raises(ValueError, match="different ids"):
        to_datatree(
            linear_draws, linear_data, linear_model, diagnose(linear_draws), galaxy=["a"] * 5, settings=quick
        )


def test_summary(tree, linear_draws, tmp_path):
    table = summary_table(tree)
    assert list(table["id"]) == IDS
    np.testing.assert_allclose(table["a_50"][0], np.median(linear_draws.theta[0, ..., 0]), rtol=1e-5)
    np.testing.assert_allclose(
        table["logsfr_ratios_2_84"][1], np.percentile(linear_draws.theta[1, ..., 2], 84), rtol=1e-5
    )
    assert {"mwa_50", "sfh_7_16", "chi2", "n_bands", "rhat_max", "passed", "flag", "zred"} <= set(
        table.colnames
    )
    assert list(table["n_bands"]) == [6, 5, 6, 0, 6]
    table.write(tmp_path / "summary.ecsv")
    again = Table.read(tmp_path / "summary.ecsv")
    assert list(again["flag"]) == list(table["flag"])
    assert again["flag"][0] == "ok"
