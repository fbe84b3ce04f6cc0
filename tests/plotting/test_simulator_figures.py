"""Figures of two simulators: they draw with few and many bands, and show what differs."""

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure

from starling.plotting import simulators as figures
from starling.spaces import prospector_alpha
from starling.validation.simulators import Fluxes, Pair, quantities, rank_correlations, tolerance_mag
from starling.validation.simulators_config import draw_galaxies
from starling.validation.simulators_report import find

SPACE = prospector_alpha(agn=False, zred=(0.5, 3.0))
THETA = draw_galaxies(SPACE, 80, 0, {})
RNG = np.random.default_rng(5)


def make(n_bands: int, factor: float = 1.1, scatter: float = 0.1) -> Pair:
    wave_um = RNG.permutation(np.geomspace(0.4, 24.0, n_bands))
    flux = 1e-10 * np.exp(RNG.normal(size=(len(THETA), n_bands)))
    colours = RNG.normal(size=(len(THETA), 4))
    other = Fluxes(flux * factor * np.exp(scatter * RNG.normal(size=flux.shape)), colours + 0.5 * scatter)
    bands = tuple(f"band_{i}" for i in range(n_bands))
    return Pair(("one", "other"), SPACE, bands, wave_um, THETA, Fluxes(flux, colours), other)


def example(pair: Pair) -> figures.SpectrumPair:
    wave = np.geomspace(900.0, 3e5, 400)
    return figures.SpectrumPair(
        "median", 1.0, (wave, 1.0 / wave), (wave * 1.01, 1.1 / wave), pair.wave_um, np.full(len(pair.bands), 0.1), 1.0
    )  # fmt: skip


@pytest.mark.parametrize("n_bands", [2, 40])
def test_every_figure_draws(n_bands: int) -> None:
    pair = make(n_bands)
    found, tolerance = find(pair), tolerance_mag()
    drawn = (
        figures.plot_band_differences(pair, found.raw, found.shape, tolerance),
        figures.plot_colour_differences(pair, tolerance),
        figures.plot_trends(pair, pair.bands[:2], ["logzsol", "zred", "unknown"], tolerance),
        figures.plot_correlations(pair, found.quantities, found.correlations),
        figures.plot_example_spectra(pair, [example(pair), example(pair)], tolerance),
    )
    for figure in drawn:
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()
    assert not Gcf.get_all_fig_managers()


def test_identical_simulators_draw_too() -> None:
    pair = make(3, factor=1.0, scatter=0.0)
    found, tolerance = find(pair), tolerance_mag()
    upper, lower = figures.plot_band_differences(pair, found.raw, found.shape, tolerance).axes
    for axes in (upper, lower):
        low, high = axes.get_ylim()
        assert low < -tolerance < tolerance < high
    figures.plot_colour_differences(pair, tolerance).draw_without_rendering()
    figures.plot_trends(pair, pair.bands, ["logzsol"], tolerance).draw_without_rendering()


def test_the_medians_of_the_bands_are_where_they_should_be() -> None:
    pair = make(6, factor=1.2, scatter=0.01)
    found = find(pair)
    upper, lower = figures.plot_band_differences(pair, found.raw, found.shape, 0.054).axes
    for axes, these in ((upper, found.raw), (lower, found.shape)):
        (dots,) = (each for each in axes.collections if each.get_label() == "median")
        np.testing.assert_allclose(dots.get_offsets()[:, 1], these.median)
    assert np.all(np.abs(found.shape.median) < 0.02)
    assert np.all(found.raw.median < -0.15)


def test_correlations_are_in_the_order_of_wavelength() -> None:
    pair = make(3)
    values = {"logzsol": quantities(pair)["logzsol"]}
    difference = np.stack([sign * values["logzsol"] for sign in (1.0, -1.0, 1.0)], axis=1)
    pair = pair._replace(wave_um=np.array([2.0, 1.0, 3.0]))
    figure = figures.plot_correlations(pair, ("logzsol",), rank_correlations(values, difference))
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, [[-1.0, 1.0, 1.0]], atol=1e-6)


def test_examples_are_a_median_galaxy_and_a_bad_one() -> None:
    cost = np.append(np.arange(101.0), np.nan)
    assert list(figures.example_rows(cost).values()) == [50, 90]
