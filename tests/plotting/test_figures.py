"""Every figure draws, shows what it should, and survives the galaxies that go wrong."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from matplotlib._pylab_helpers import Gcf
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from starling.plotting import (
    Comparison,
    plot_comparison,
    plot_convergence,
    plot_corner,
    plot_recovery,
    plot_residuals,
    plot_sed,
    plot_sfh,
    style,
)

FIGURES: dict[str, Callable[[xr.DataTree], Figure]] = {
    "sed": lambda tree: plot_sed(tree, 0),
    "sfh": lambda tree: plot_sfh(tree, 0),
    "corner": lambda tree: plot_corner(tree, 0, ["logmass", "dust2"]),
    "residuals": plot_residuals,
    "recovery": lambda tree: plot_recovery(tree, ["logmass", "log_stellar_mass"]),
    "comparison": lambda tree: plot_comparison(
        tree, Comparison("log_stellar_mass", np.full(tree["observed_data"].sizes["galaxy"], 10.0), "FAST")
    ),
    "convergence": plot_convergence,
}


def only_one_band(tree: xr.DataTree) -> None:
    tree["observed_data"]["mask"][:] = False
    tree["observed_data"]["mask"][:, 1] = True
    tree["observed_data"]["flux"][:, 1] = 1e-9


def no_band(tree: xr.DataTree) -> None:
    tree["observed_data"]["mask"][:] = False
    tree["observed_data"]["flux"][:] = np.nan


def negative_fluxes(tree: xr.DataTree) -> None:
    tree["observed_data"]["flux"][:] = -np.abs(tree["observed_data"]["flux"])


def all_failed(tree: xr.DataTree) -> None:
    tree["diagnostics"]["passed"][:] = False


def nothing_finite(tree: xr.DataTree) -> None:
    for group in ("posterior", "derived", "posterior_predictive"):
        for name in tree[group].data_vars:
            tree[group][name][:] = np.nan
    tree["diagnostics"]["rhat"][:] = np.nan
    tree["diagnostics"]["ess_bulk"][:] = np.nan
    tree["diagnostics"]["passed"][:] = False


def stuck_chains(tree: xr.DataTree) -> None:
    for group in ("posterior", "derived"):
        for name in tree[group].data_vars:
            tree[group][name][:] = tree[group][name].isel(chain=0, draw=0)


def no_star_formation(tree: xr.DataTree) -> None:
    tree["derived"]["sfh"][:] = 0.0


def all_limits(tree: xr.DataTree) -> None:
    tree["observed_data"]["upper_limit"][:] = tree["observed_data"]["mask"]


def zero_errors(tree: xr.DataTree) -> None:
    tree["observed_data"]["flux_err_total"][:] = 0.0


CHANGES = [
    only_one_band,
    no_band,
    negative_fluxes,
    all_failed,
    nothing_finite,
    stuck_chains,
    no_star_formation,
    all_limits,
    zero_errors,
]


def save(figure: Figure) -> str:
    return style.to_svg(figure, "t", "test")


@pytest.mark.parametrize("name", FIGURES)
def test_draws(tree: xr.DataTree, name: str) -> None:
    assert save(FIGURES[name](tree)).startswith('<svg role="img" aria-label="test"')


@pytest.mark.parametrize("name", FIGURES)
def test_draws_one_galaxy(tree_maker: Callable[..., xr.DataTree], name: str) -> None:
    save(FIGURES[name](tree_maker(1, 6, n_draws=30)))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_draws_what_goes_wrong(
    tree_maker: Callable[..., xr.DataTree], change: Callable[[xr.DataTree], None]
) -> None:
    tree = tree_maker(4, 8, n_draws=30)
    change(tree)
    for draw in FIGURES.values():
        save(draw(tree))


def test_draws_a_free_redshift(tree_maker: Callable[..., xr.DataTree]) -> None:
    tree = tree_maker(3, 8, n_draws=30, free_redshift=True)
    save(plot_sfh(tree, 1))
    assert len(plot_corner(tree, 1).axes) == 6 * 7 // 2, "redshift is one of six quantities"


def test_no_figure_is_kept_alive(tree: xr.DataTree) -> None:
    known = Gcf.get_all_fig_managers()
    for draw in FIGURES.values():
        draw(tree)
    assert Gcf.get_all_fig_managers() == known, "pyplot was used"


def test_default_names(tree: xr.DataTree) -> None:
    assert len(plot_corner(tree, 0).axes) == 5 * 6 // 2
    panels = [axes for axes in plot_recovery(tree).axes if axes.get_title(loc="left")]
    assert len(panels) == 9


def test_sed_leaves_out_masked_bands_and_marks_negative_ones(tree_maker: Callable[..., xr.DataTree]) -> None:
    tree = tree_maker(1, 10, n_draws=30)
    observed = tree["observed_data"]
    observed["mask"][:] = True
    observed["upper_limit"][:] = False
    observed["flux"][:] = 1e-9
    observed["mask"][0, 3] = False
    observed["flux"][0, 3] = np.nan
    observed["upper_limit"][0, 4] = True
    observed["flux"][0, 5] = -1e-9
    axes = plot_sed(tree, 0).axes[0]
    drawn = {container.get_label(): len(container.lines[0].get_xdata()) for container in axes.containers}
    assert drawn == {"observed": 7, "negative flux": 1}
    points = [item.get_offsets() for item in axes.collections if isinstance(item, PathCollection)]
    assert [len(offsets) for offsets in points] == [9, 1, 0], "medians, the upper limit, its legend"
    assert points[1][0, 0] == pytest.approx(float(tree["constant_data"]["wave_effective_aa"][4]) / 1e4)


def test_sed_magnitudes_match_fluxes(tree: xr.DataTree) -> None:
    flux_axes, _, magnitude_axes = plot_sed(tree, 0).axes
    microjansky = np.array(flux_axes.get_ylim())
    np.testing.assert_allclose(magnitude_axes.get_ylim(), 23.9 - 2.5 * np.log10(microjansky), atol=1e-9)


def test_corner_marks_the_truth_only_where_it_is_known(tree_maker: Callable[..., xr.DataTree]) -> None:
    def marked(tree: xr.DataTree) -> int:
        return sum(
            line.get_color() == style.TRUTH for axes in plot_corner(tree, 0).axes for line in axes.lines
        )

    assert marked(tree_maker(2, 6, n_draws=30)) > 0
    assert marked(tree_maker(2, 6, n_draws=30, truth=False)) == 0


def test_corner_contours_hold_the_probability_they_claim() -> None:
    from starling.plotting.corner import _levels

    x = np.linspace(-5, 5, 401)
    density = np.exp(-0.5 * (x[:, None] ** 2 + x[None, :] ** 2))
    outer, inner = _levels(density)
    assert outer == pytest.approx(np.exp(-0.5 * 2.0**2), rel=0.03), "2 sigma"
    assert inner == pytest.approx(np.exp(-0.5 * 1.0**2), rel=0.03), "1 sigma"


def test_names_are_errors_that_help(tree: xr.DataTree) -> None:
    with pytest.raises(ValueError, match=r"no galaxy with ID 'cosmos-1001'.*did you mean cosmos-1000"):
        plot_sed(tree, "cosmos-1001")
    with pytest.raises(ValueError, match="out of range for 24 galaxies"):
        plot_sfh(tree, 24)
    with pytest.raises(ValueError, match=r"no draws of 'mass'; it has logmass"):
        plot_corner(tree, 0, ["mass"])
    with pytest.raises(ValueError, match="give one value per galaxy"):
        plot_comparison(tree, Comparison("log_stellar_mass", np.zeros(3), "FAST"))


def test_recovery_without_truth_is_an_error(tree_maker: Callable[..., xr.DataTree]) -> None:
    with pytest.raises(ValueError, match="'truth'"):
        plot_recovery(tree_maker(2, 6, n_draws=30, truth=False))


def test_titles_are_plain_text(tree: xr.DataTree) -> None:
    title = r"a $\nonsense{ title"
    save(plot_sed(tree, 0, title=title))
    save(plot_sfh(tree, 0, title=title))
    save(plot_corner(tree, 0, ["logmass"], title=title))


def test_true_history_forms_the_true_mass(tree: xr.DataTree) -> None:
    patch = next(item for item in plot_sfh(tree, 2).axes[0].patches if item.get_label() == "truth")
    rate, edges, _ = patch.get_data()
    formed = float((rate * np.diff([0.0, *edges[1:]])).sum() * 1e9)
    assert np.log10(formed) == pytest.approx(float(tree["truth"]["logmass"][2]), abs=1e-3)
