"""How accurate a model of photometry is, and where it is not: figures from arrays of errors, whatever the model.

Errors are in magnitudes, axes are galaxy, band and parameter; wavelengths are in micrometres. With a hundred bands and
more, bands are told apart by their wavelength, not by their name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from scipy.stats import norm

from starling.plotting import style

_BINS = 12
_LINEAR_MAG = 0.005  # errors below this are shown on a linear scale
_TICK_WAVES_UM = (0.15, 0.3, 0.5, 0.8, 1.25, 2.2, 4.5, 24.0, 100.0, 500.0)


class BandErrors(NamedTuple):
    """Errors of every band on one sample of galaxies: standard deviation, 99.9% quantile of the absolute error."""

    sigma: np.ndarray
    abs_999: np.ndarray


def plot_band_errors(wave_um: np.ndarray, samples: Mapping[str, BandErrors], bar: float) -> Figure:
    """Errors per band against wavelength, of up to two samples by their labels; a line at ``bar`` mag."""
    figure = style.new_figure(7.2, 3.6)
    axes = figure.subplots()
    style.dress(axes, xlabel=r"observed wavelength [$\mu$m]", ylabel="error [mag]")
    for (label, errors), filled in zip(samples.items(), (True, False), strict=False):
        for values, marker, colour, name in (
            (errors.sigma, "o", style.MODEL, "sigma"),
            (errors.abs_999, "D", style.TRUTH, "99.9% within"),
        ):
            face = colour if filled else "none"
            axes.plot(
                wave_um, values, marker, markersize=3.5, color=colour, markerfacecolor=face, alpha=0.85,
                markeredgewidth=0.7, label=f"{name}, {label}",
            )  # fmt: skip
    axes.axhline(bar, color=style.MUTED, linewidth=0.9, linestyle="--")
    axes.set_yscale("log")
    style.wavelength_axis(axes, wave_um)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 2.0)  # room for the legend
    style.log_axis(axes.yaxis)
    style.legend(axes, ncols=2, loc="upper right")
    return figure


def plot_error_tails(sigma: np.ndarray, quantiles: np.ndarray, error: np.ndarray | None = None) -> Figure:
    """The distribution of errors against a normal one (as Mathews et al. 2023, fig. 10).

    ``quantiles`` [9, band] are the errors at -4 ... 4 sigma of a normal distribution: on the right, each over the
    band's standard deviation ``sigma``, a thin line per band. On the left the density of ``error`` [galaxy, band] over
    each band's own standard deviation, all bands together, where there are such.
    """
    figure = style.new_figure(7.2 if error is not None else 3.9, 3.4)
    panels = np.atleast_1d(figure.subplots(1, 2 if error is not None else 1))
    if error is not None:
        _density(panels[0], error / error.std(axis=0))
    axes = panels[-1]
    style.dress(
        axes, xlabel="quantile of a normal distribution [sigma]", ylabel="same quantile of the error [sigma]"
    )
    places = np.arange(-4, 5)
    scaled = quantiles / sigma
    axes.plot(places, scaled, color=style.MODEL, linewidth=0.6, alpha=0.3)
    axes.plot(places, np.median(scaled, axis=1), color=style.INK, linewidth=1.6, label="median of the bands")
    axes.plot(places, places, color=style.TRUTH, linewidth=1.2, linestyle="--", label="normal")
    axes.set_yscale("symlog", linthresh=3.0)
    ticks = [t for t in (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100) if abs(t) <= np.abs(scaled).max()]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    style.legend(axes, loc="upper left")
    return figure


def _density(axes: Axes, scaled: np.ndarray) -> None:
    """Density of all errors over their standard deviation, on a logarithmic axis, with the normal one."""
    style.dress(axes, xlabel="error / standard deviation of the band", ylabel="density")
    end = float(min(max(6.0, np.quantile(np.abs(scaled), 0.99999)), 15.0))
    edges = np.linspace(-end, end, 81)
    density, _ = np.histogram(scaled, edges)
    density = density / scaled.size / np.diff(edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    lowest = 0.5 / scaled.size / float(np.diff(edges)[0])
    axes.stairs(
        np.maximum(density, lowest), edges, color=style.MODEL, linewidth=1.4, label="errors, all bands"
    )
    axes.plot(middle, norm.pdf(middle), color=style.TRUTH, linewidth=1.2, linestyle="--", label="normal")
    axes.set_yscale("log")
    axes.set_ylim(lowest, 4.0)
    axes.set_xlim(-end, end)
    style.log_axis(axes.yaxis)
    style.legend(axes, loc="upper left")


def plot_errors_by_parameter(theta: np.ndarray, error: np.ndarray, labels: Sequence[str]) -> Figure:
    """Errors of all bands against every parameter: median, 16-84% and 99.9% of them, in bins of as many galaxies."""
    columns = min(6, len(labels))
    rows = -(-len(labels) // columns)
    figure = style.new_figure(1.75 * columns + 0.4, 1.65 * rows + 0.3)
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    highest = 0.0
    for index, (axes, label) in enumerate(zip(panels, labels, strict=False)):
        middle, quantiles = _running(theta[:, index], error)
        style.dress(axes, xlabel=label, ylabel="error [mag]" if index % columns == 0 else "")
        axes.fill_between(middle, quantiles[1], quantiles[3], color=style.MODEL, alpha=0.35, linewidth=0)
        axes.plot(middle, quantiles[2], color=style.MODEL, linewidth=1.2)
        for outer in (quantiles[0], quantiles[4]):
            axes.plot(middle, outer, color=style.TRUTH, linewidth=1.0)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(labelsize=7)
        highest = max(highest, float(np.abs(quantiles).max()))
    panels[0].set_yscale("symlog", linthresh=_LINEAR_MAG, linscale=0.6)
    panels[0].set_ylim(-1.5 * highest, 1.5 * highest)
    ends = [size for size in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0) if size <= 1.5 * highest]
    ticks = [*(-size for size in reversed(ends)), 0.0, *ends]
    panels[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    for axes in panels[len(labels) :]:
        axes.set_visible(False)
    return figure


def _running(values: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of a parameter in bins of equally many galaxies, and quantiles [5, bin] of the errors there."""
    bins = np.array_split(np.argsort(values), min(_BINS, len(values)))
    levels = (0.0005, 0.16, 0.5, 0.84, 0.9995)
    quantiles = np.stack([np.quantile(error[rows], levels) for rows in bins], axis=1)
    return np.array([np.median(values[rows]) for rows in bins]), quantiles


def plot_error_correlation(wave_um: np.ndarray, error: np.ndarray) -> Figure:
    """Correlation of the errors between bands in the order of their wavelengths (as Mathews et al. 2023, fig. 6)."""
    order = np.argsort(wave_um)
    correlation = np.atleast_2d(np.corrcoef(error[:, order], rowvar=False))
    figure = style.new_figure(4.9, 4.1)
    axes = figure.subplots()
    style.dress(
        axes, xlabel=r"observed wavelength [$\mu$m]", ylabel=r"observed wavelength [$\mu$m]", grid=False
    )
    image = axes.imshow(correlation, cmap="RdBu_r", vmin=-1.0, vmax=1.0, interpolation="nearest")
    places, names = _wave_ticks(wave_um[order])
    axes.set_xticks(places, names)
    axes.set_yticks(places, names)
    _colour_bar(figure, image, axes, "correlation of errors")
    return figure


def plot_gradient_errors(
    wave_um: np.ndarray, rms_error: np.ndarray, rms_exact: np.ndarray, labels: Sequence[str]
) -> Figure:
    """Errors of the gradient [param, band]: magnitudes per prior sigma, and in parts of the exact derivative.

    The relative error is left out where the exact derivative is below 0.001 mag per prior sigma.
    """
    order = np.argsort(wave_um)
    error, exact = np.asarray(rms_error)[:, order], np.asarray(rms_exact)[:, order]
    relative = np.where(exact > 1e-3, error / np.maximum(exact, 1e-3), np.nan)
    figure = style.new_figure(8.6, 0.24 * len(labels) + 1.2)
    panels = figure.subplots(1, 2, sharey=True)
    places, names = _wave_ticks(wave_um[order])
    for axes, values, limits, title in (
        (panels[0], error, (1e-4, 1.0), "rms error [mag per prior sigma]"),
        (panels[1], relative, (1e-3, 1.0), "rms error / rms exact derivative"),
    ):
        style.dress(axes, xlabel=r"observed wavelength [$\mu$m]", grid=False)
        axes.set_facecolor(style.GRID)
        image = axes.imshow(
            np.maximum(values, limits[0]),
            cmap="viridis",
            norm=LogNorm(*limits),
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_xticks(places, names)
        axes.set_yticks(range(len(labels)), labels)
        _colour_bar(figure, image, axes, title)
    return figure


def _wave_ticks(wave_um: np.ndarray) -> tuple[list[int], list[str]]:
    """Positions and labels of ticks on an axis whose places are bands in the order of their wavelengths."""
    inside = [wave for wave in _TICK_WAVES_UM if wave_um[0] <= wave <= wave_um[-1]] or [
        float(np.median(wave_um))
    ]
    places: dict[int, str] = {}
    for wave in inside:
        place = int(np.argmin(np.abs(np.log(wave_um / wave))))
        if all(abs(place - other) > 0.05 * len(wave_um) for other in places):
            places[place] = (
                style.plain(float(wave_um[place]), None) if len(wave_um) < 8 else f"{wave_um[place]:.2g}"
            )
    return list(places), list(places.values())


def _colour_bar(figure: Figure, image: object, axes: Axes, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.95, pad=0.02)
    bar.set_label(label, color=style.INK, fontsize=8.5)
    bar.ax.tick_params(labelsize=8, color=style.MUTED, labelcolor=style.INK)
    bar.outline.set_color(style.MUTED)
    if isinstance(image.norm, LogNorm):  # type: ignore[attr-defined]
        bar.ax.minorticks_off()
    assert isinstance(image.norm, Normalize)  # type: ignore[attr-defined]
