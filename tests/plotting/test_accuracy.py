"""Figures of errors: they show what they should with one band and with many, and never touch pyplot."""

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure

from starling.plotting import accuracy

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("n_bands", [1, 3, 135])
def test_every_figure_draws(n_bands: int) -> None:
    wave_um = RNG.permutation(np.geomspace(0.15, 500.0, n_bands)) if n_bands > 1 else np.array([0.6])
    error = 0.01 * RNG.standard_t(3, (400, n_bands))
    theta = RNG.normal(size=(400, 7))
    labels = [rf"$x_{i}$" for i in range(7)]
    sigma, quantiles = error.std(axis=0), np.quantile(error, np.linspace(0.001, 0.999, 9), axis=0)
    sample = accuracy.BandErrors(sigma, np.quantile(np.abs(error), 0.999, axis=0))
    figures = (
        accuracy.plot_band_errors(wave_um, {"one": sample, "other": sample}, 0.01),
        accuracy.plot_error_tails(sigma, quantiles),
        accuracy.plot_error_tails(sigma, quantiles, error),
        accuracy.plot_errors_by_parameter(theta, error, labels),
        accuracy.plot_error_correlation(wave_um, error),
        accuracy.plot_gradient_errors(wave_um, np.abs(error[:7]), np.ones((7, n_bands)), labels),
    )
    for figure in figures:
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()
    assert not Gcf.get_all_fig_managers()


def test_the_correlation_is_in_the_order_of_wavelength() -> None:
    common = RNG.normal(size=500)
    error = np.stack([common, RNG.normal(size=500), common], axis=1)
    (image,) = accuracy.plot_error_correlation(np.array([3.0, 1.0, 2.0]), error).axes[0].images
    shown = np.asarray(image.get_array())
    assert shown[1, 2] == pytest.approx(1.0)
    assert abs(shown[0, 1]) < 0.2


def test_a_parameter_that_spoils_errors_shows() -> None:
    theta = RNG.uniform(size=(4000, 2))
    error = 0.01 * RNG.normal(size=(4000, 1)) * np.where(theta[:, :1] > 0.9, 10.0, 1.0)
    bad, good = accuracy.plot_errors_by_parameter(theta, error, ["a", "b"]).axes
    outer = [np.asarray(axes.lines[2].get_ydata()) for axes in (bad, good)]
    assert outer[0][-1] > 5.0 * outer[0][0]
    assert outer[1][-1] < 3.0 * outer[1][0]
