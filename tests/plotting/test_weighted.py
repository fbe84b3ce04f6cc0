"""Galaxies that weighted draws of a flow settled: no R-hat, a k-hat instead."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from starling.plotting import plot_convergence, write_report
from starling.plotting.bands import band_fluxes
from starling.plotting.report_tables import choose_galaxies

STAGES = [
    "weights 1",
    "chains",
    "unsettled",
    "weights 2",
    "latent chains",
    "weights 1",
    "weights 1",
    "unsettled",
]
RHAT = [np.nan, 1.004, 1.3, np.nan, 1.008, np.nan, np.nan, np.nan]
FAILED = [2, 7]


@pytest.fixture(scope="module")
def weighted(tree_maker: Callable[..., xr.DataTree]) -> xr.DataTree:
    tree = tree_maker(8, 6, n_draws=20, truth=False)
    found = tree["diagnostics"].to_dataset(inherit=False)
    found["rhat"][:] = np.asarray(RHAT)[:, None]
    found["ess_bulk"][:] = 800.0
    found["divergences"][:] = 0
    found["passed"][:] = [row not in FAILED for row in range(8)]
    found["flag"][:] = ["" if row not in FAILED else "k-hat too large" for row in range(8)]
    new = {"stage": ("galaxy", STAGES), "k_hat": ("galaxy", np.linspace(-0.1, 0.6, 8))}
    tree["diagnostics"] = xr.DataTree(found.assign(new | {"ess_weights": ("galaxy", np.full(8, 700.0))}))
    return tree


def test_no_rhat_is_no_large_one(weighted: xr.DataTree) -> None:
    fluxes = band_fluxes(weighted)
    fluxes = fluxes._replace(chi2=np.where(np.arange(8) == 0, 100.0, 10.0))
    (_, improbable), (heading, failed), (_, typical) = choose_galaxies(weighted, fluxes, 3)
    assert improbable == [0]
    assert (heading, failed) == ("Failed, or largest R-hat", [7])
    assert typical[0] in {3, 4, 5, 6, 1}
    every = fluxes._replace(chi2=np.eye(8)[0])
    groups = choose_galaxies(weighted, every, 24)
    assert sorted(position for _, positions in groups for position in positions) == list(range(8))
    few = fluxes._replace(chi2=np.asarray([9e3, 1, 1, 9e3, 1, 9e3, 1, 1]))
    (_, improbable), (_, failed), _ = choose_galaxies(weighted, few, 8)
    assert sorted(improbable[:3]) == [0, 3, 5]
    assert failed[:2] == [7, 2]


def test_the_worst_are_more_of_one_kind_where_there_are_few_of_the_other(weighted: xr.DataTree) -> None:
    settled = weighted.isel(galaxy=[0, 3, 5, 6])  # by weights, all passed: none to rank by R-hat
    (_, improbable), (_, failed), (_, typical) = choose_galaxies(settled, band_fluxes(settled), 4)
    assert (len(improbable), failed, len(typical)) == (3, [], 1)


def test_convergence_has_a_panel_of_weights(weighted: xr.DataTree) -> None:
    chains, weights = plot_convergence(weighted).axes
    assert "smallest bulk" in chains.get_xlabel()
    assert "weights" in weights.get_xlabel()
    assert [text.get_text() for text in chains.get_legend().get_texts()] == ["passed (2)", "failed (1)"]
    assert [text.get_text() for text in weights.get_legend().get_texts()] == ["passed (4)", "failed (0)"]
    notes = [text.get_text() for text in chains.texts]
    assert notes == ["1 without finite diagnostics"]


def test_convergence_of_weights_alone(weighted: xr.DataTree) -> None:
    (axes,) = plot_convergence(weighted.isel(galaxy=[0, 3])).axes
    assert "weights" in axes.get_xlabel()


def test_the_table_has_stage_and_k_hat(weighted: xr.DataTree, tree: xr.DataTree, tmp_path: Path) -> None:
    text = write_report(weighted, tmp_path / "report.html", max_galaxies=0).read_text(encoding="utf-8")
    assert '<td class="left">weights 2</td><td>0.20</td>' in text
    assert "Weighted draws of a flow settled 4 galaxies" in text
    other = write_report(tree, tmp_path / "other.html", max_galaxies=0).read_text(encoding="utf-8")
    assert "k-hat" not in other
