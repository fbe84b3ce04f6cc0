"""Two results side by side: matched by id, every quantity that both have, and the figure."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from starling.plotting.discrepancy import plot_discrepancy
from starling.plotting.matched import match_results

IDS = ["a", "b", "c", "d"]


def with_evidence(tree: xr.DataTree, values: np.ndarray) -> xr.DataTree:
    tree["nested"] = xr.DataTree(
        xr.Dataset(
            {"log_evidence": ("galaxy", values), "log_evidence_err": ("galaxy", np.full(len(values), 0.3))},
            {"galaxy": tree["observed_data"]["galaxy"].values},
        )
    )
    return tree


@pytest.fixture
def first(tree_maker: Callable[..., xr.DataTree]) -> xr.DataTree:
    return with_evidence(
        tree_maker(4, 6, n_draws=100, ids=IDS, passed=1.0), np.array([-1.0, -2.0, -3.0, -4.0])
    )


@pytest.fixture
def second(first: xr.DataTree) -> xr.DataTree:
    """The same galaxies in another order, one replaced; the mass of one shifted by four of its sigmas."""
    order = [2, 0, 3]
    groups = {
        node.path: node.to_dataset(inherit=False).isel(galaxy=order, missing_dims="ignore")
        for node in first.subtree
    }
    tree = xr.DataTree.from_dict(groups).copy(deep=True)
    mass = tree["posterior"]["logmass"].values
    low, high = np.quantile(mass[..., 1], (0.16, 0.84))
    mass[..., 1] += 4.0 * np.sqrt(2.0) * (high - low) / 2
    tree["nested"]["log_evidence"][:] = [-3.0, -1.0, np.nan]
    return tree


def test_galaxies_are_matched_by_id(first: xr.DataTree, second: xr.DataTree) -> None:
    matched = match_results(first, second)
    table = matched.table
    assert list(dict.fromkeys(table["id"])) == ["a", "c", "d"]
    assert matched.only_a == ("b",)
    assert matched.only_b == ()
    shifted = (table["id"] == "a") & (table["name"] == "logmass")
    np.testing.assert_allclose(table["discrepancy"][shifted], 4.0, rtol=1e-6)
    assert table["outlier"][shifted].all()
    np.testing.assert_array_equal(table["discrepancy"][~shifted], 0.0)
    row = table[shifted][0]
    np.testing.assert_allclose(row["difference"], row["difference_sigma"] * row["sigma_b"])
    assert row["difference_dex"] == row["difference"] < 0
    assert set(table["name"][table["sampled"]]) >= {"logmass", "logsfr_ratios_1", "dust2"}
    assert "mwa" in set(table["name"][~table["sampled"]])
    assert matched.evidence["difference"][0] == 0.0
    assert np.isnan(matched.evidence["difference"][2])


def test_what_only_one_has_is_said(first: xr.DataTree, second: xr.DataTree) -> None:
    kept = [name for name in second["diagnostics"]["parameter"].values if name != "dust2"]
    second["posterior"] = xr.DataTree(second["posterior"].to_dataset().drop_vars("dust2"))
    second["diagnostics"] = xr.DataTree(second["diagnostics"].to_dataset().sel(parameter=kept))
    matched = match_results(first, second)
    assert matched.unmatched_a == ("dust2",)
    assert matched.unmatched_b == ()
    assert "dust2" not in set(matched.table["name"])


def test_ratios_of_positive_quantities_are_in_dex(first: xr.DataTree, second: xr.DataTree) -> None:
    second["derived"]["sfr_100"][:] = second["derived"]["sfr_100"] * 10.0
    table = match_results(first, second).table
    np.testing.assert_allclose(table["difference_dex"][table["name"] == "sfr_100"], -1.0, rtol=1e-6)
    assert np.isnan(table["difference_dex"][table["name"] == "dust_index"]).all()


def test_nothing_in_common_is_an_error(first: xr.DataTree, tree_maker: Callable[..., xr.DataTree]) -> None:
    with pytest.raises(ValueError, match="no galaxy is in both results: the first has 'a' and 3 more"):
        match_results(first, tree_maker(2, 6, n_draws=20, ids=["x", "y"]))


@pytest.mark.parametrize("evidence", [True, False])
def test_the_figure_shows_every_parameter(first: xr.DataTree, second: xr.DataTree, evidence: bool) -> None:
    if not evidence:
        del first["nested"]
    figure = plot_discrepancy(match_results(first, second), "fit", "judge")
    assert len(figure.axes) == (3 if evidence else 2)
    assert "above 3: 1 of 51" in figure.axes[0].get_title(loc="left")
    assert len(figure.axes[1].get_yticklabels()) == 17
    figure.canvas.draw()
