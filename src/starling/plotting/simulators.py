"""Two simulators for the same galaxies: figures of what changes in fluxes and colours.

Differences are in magnitudes, second minus first: positive where the second is fainter, or redder. Shaded grey is what
the error floor of a fit covers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from starling.plotting import style
from starling.plotting.residuals import spread_out
from starling.validation.simulators import (
    Pair,
    Statistics,
    magnitudes,
    quantities,
    quantity_label,
    rank_correlations,
    rest_colours,
    shape_ratio,
)

_MOST_NAMES = 28
_MOST_JOINED = 150
_BINS = 10
_MOST_DOTS = 600
_MOST_RANGE = 3e3  # from the brightest to the faintest light of a spectrum that is shown
_SHORTER = (
    ("spitzer_", ""),
    ("twomass_", "2mass_"),
    ("subaru_suprimecam_", "subaru_"),
    ("cfht_megacam_", "cfht_"),
)


class SpectrumPair(NamedTuple):
    """One galaxy by both: rest-frame L_lambda (Lsun/Angstrom per Msun formed) on the wavelengths of each."""

    title: str
    zred: float
    first: tuple[np.ndarray, np.ndarray]
    second: tuple[np.ndarray, np.ndarray]
    wave_um: np.ndarray  # of bands, observed
    difference_mag: np.ndarray  # in bands, after the best mass
    scale: float  # the best factor of the second


def plot_band_differences(pair: Pair, raw: Statistics, shape: Statistics, tolerance: float) -> Figure:
    """Differences per band against wavelength: as they are, and after the best mass of every galaxy."""
    figure = style.new_figure(7.6, 6.2)
    upper, lower = figure.subplots(2, 1, sharex=True)
    first, second = pair.labels
    for axes, these, title in (
        (upper, raw, f"{second} − {first}, per mass formed"),
        (lower, shape, "after the best mass of every galaxy"),
    ):
        style.dress(axes, ylabel=r"$\Delta$ mag")
        _floor(axes, tolerance)
        _ranges(axes, pair.wave_um, these)
        _limit(axes, these, tolerance)
        style.note(axes, title)
    lower.set_xlabel(r"observed wavelength [$\mu$m]", color=style.INK, fontsize=9.5)
    style.wavelength_axis(lower, pair.wave_um)
    _name_bands(upper, pair)
    style.legend(lower, loc="lower center", ncols=4)
    figure.align_ylabels()
    return figure


def plot_colour_differences(pair: Pair, tolerance: float) -> Figure:
    """Left: rest-frame colours of both, joined for some galaxies. Right: how they differ, by metallicity or age."""
    first, second = rest_colours(pair.first), rest_colours(pair.second)
    good = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    first, second = first[good], second[good]
    figure = style.new_figure(8.6, 3.9)
    left, right = figure.subplots(1, 2)
    style.dress(left, xlabel="rest-frame V − J", ylabel="rest-frame U − V")
    some = slice(0, _MOST_JOINED)
    left.plot(
        np.stack([first[some, 1], second[some, 1]]), np.stack([first[some, 0], second[some, 0]]),
        color=style.MUTED, linewidth=0.6, alpha=0.7,
    )  # fmt: skip
    left.scatter(first[some, 1], first[some, 0], s=11, color=style.MODEL, label=pair.labels[0], zorder=3)
    left.scatter(
        second[some, 1], second[some, 0], s=13, marker="D", facecolor=style.PAPER, edgecolor=style.TRUTH,
        linewidth=0.8, label=pair.labels[1], zorder=3,
    )  # fmt: skip
    style.legend(left, loc="upper left")
    style.dress(right, xlabel=r"$\Delta$ (V − J) [mag]", ylabel=r"$\Delta$ (U − V) [mag]")
    right.axvspan(-tolerance, tolerance, color=style.GRID, alpha=0.55, linewidth=0)
    _floor(right, tolerance)
    right.axvline(0.0, color=style.MUTED, linewidth=0.8)
    values = quantities(pair)
    name = next((name for name in ("logzsol", "log_mwa", *values) if name in values), None)
    change = second - first
    shown = slice(0, 2 * _MOST_DOTS)
    options = {"color": style.MODEL} if name is None else {"c": values[name][good][shown], "cmap": "viridis"}
    dots = right.scatter(change[shown, 1], change[shown, 0], s=8, alpha=0.8, linewidth=0, zorder=3, **options)
    reach = 1.15 * max(float(np.quantile(np.abs(change), 0.995)) if len(change) else 0.0, 1.3 * tolerance)
    right.set_xlim(-reach, reach)
    right.set_ylim(-reach, reach)
    if name is not None:
        _colour_bar(figure, dots, right, quantity_label(pair, name))
    style.note(right, "grey: the floor of two bands")
    return figure


def plot_trends(pair: Pair, bands: Sequence[str], names: Sequence[str], tolerance: float) -> Figure:
    """Differences after the best mass in some bands (rows) against quantities (columns): median and central 68%."""
    difference = magnitudes(shape_ratio(pair.ratio))
    values = quantities(pair)
    names = [name for name in names if name in values]
    correlations = rank_correlations({name: values[name] for name in names}, difference)
    figure = style.new_figure(1.85 * max(len(names), 2) + 0.7, 1.75 * len(bands) + 0.5)
    panels = figure.subplots(len(bands), max(len(names), 1), sharex="col", sharey="row", squeeze=False)
    for row, band in enumerate(bands):
        column = pair.bands.index(band)
        seen = np.isfinite(difference[:, column])
        for place, name in enumerate(names):
            axes = panels[row, place]
            style.dress(
                axes,
                xlabel=quantity_label(pair, name) if row == len(bands) - 1 else "",
                ylabel=f"{_short(band)}\n$\\Delta$ mag" if place == 0 else "",
            )
            _floor(axes, tolerance)
            _trend(axes, values[name][seen], difference[seen, column])
            axes.set_xlim(*np.quantile(values[name], (0.003, 0.997)))
            style.note(axes, f"ρ = {correlations[place, column]:+.2f}".replace("-", "−"))
            axes.locator_params(axis="x", nbins=4)
        if seen.any():
            reach = max(1.25 * float(np.quantile(np.abs(difference[seen, column]), 0.98)), 2.0 * tolerance)
            panels[row, 0].set_ylim(-reach, reach)
    return figure


def plot_correlations(pair: Pair, names: Sequence[str], correlations: np.ndarray) -> Figure:
    """Rank correlations [quantity, band] of differences of shape, bands in the order of wavelength."""
    order = np.argsort(pair.wave_um)
    figure = style.new_figure(0.3 * len(pair.bands) + 2.6, 0.27 * max(len(names), 3) + 1.5)
    axes = figure.subplots()
    style.dress(axes, grid=False)
    axes.set_facecolor(style.GRID)
    image = axes.imshow(
        correlations[:, order], cmap="RdBu_r", vmin=-1.0, vmax=1.0, aspect="auto", interpolation="nearest"
    )
    axes.set_xticks(range(len(order)), [_short(pair.bands[i]) for i in order], rotation=90)
    axes.set_yticks(range(len(names)), [quantity_label(pair, name) for name in names])
    axes.tick_params(length=0)
    _colour_bar(figure, image, axes, "rank correlation")
    return figure


def plot_example_spectra(pair: Pair, examples: Sequence[SpectrumPair], tolerance: float) -> Figure:
    """Spectra of some galaxies by both simulators; below the difference of spectra and bands after the best mass."""
    figure = style.new_figure(4.4 * len(examples), 4.9)
    panels = figure.subplots(
        2, len(examples), sharex="col", sharey="row", squeeze=False, gridspec_kw={"height_ratios": [1.7, 1.0]}
    )
    lowest, highest = np.inf, 0.0
    for column, galaxy in enumerate(examples):
        upper, lower = panels[:, column]
        style.dress(
            upper,
            title=galaxy.title,
            ylabel="" if column else r"$\lambda L_\lambda$ [L$_\odot$ per M$_\odot$ formed]",
        )
        style.dress(
            lower,
            xlabel=r"rest-frame wavelength [$\mu$m]",
            ylabel="" if column else r"$\Delta$ mag, best mass",
        )
        low, high = _shown(galaxy)
        for (wave_aa, light), colour, width, style_, label in (
            (galaxy.first, style.MODEL, 1.3, "-", pair.labels[0]),
            (galaxy.second, style.TRUTH, 1.0, (0, (4, 1.2)), pair.labels[1]),
        ):
            inside = (wave_aa > low) & (wave_aa < high) & (light > 0)
            curve = wave_aa[inside] * light[inside]
            upper.plot(
                wave_aa[inside] / 1e4, curve, color=colour, linewidth=width, linestyle=style_, label=label
            )
            lowest, highest = (
                min(lowest, float(np.quantile(curve, 0.03))),
                max(highest, float(np.quantile(curve, 0.995))),
            )
        _spectral_difference(lower, galaxy, low, high, tolerance)
        lower.set_xscale("log")
        lower.set_xlim(low / 1e4, high / 1e4)
        ticks = [t for t in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if low / 1e4 <= t <= high / 1e4]
        style.log_axis(lower.xaxis, ticks)
    panels[0, 0].set_yscale("log")
    panels[0, 0].set_ylim(max(lowest / 2.0, highest / _MOST_RANGE), highest * 3.0)
    style.log_axis(panels[0, 0].yaxis)
    reach = max(2.5 * tolerance, 1.3 * max(float(np.nanmax(np.abs(g.difference_mag))) for g in examples))
    panels[1, 0].set_ylim(-reach, reach)
    style.legend(panels[0, 0], loc="lower center")
    figure.align_ylabels()
    return figure


def example_rows(cost: np.ndarray) -> Mapping[str, int]:
    """Galaxies to show: of the median cost, and of the cost that one in ten exceeds."""
    order = np.argsort(np.where(np.isfinite(cost), cost, np.inf))[: int(np.isfinite(cost).sum())]
    places = {"median": 0.5, "one in ten is worse": 0.9}
    return {name: int(order[round(place * (len(order) - 1))]) for name, place in places.items()}


def _shown(galaxy: SpectrumPair) -> tuple[float, float]:
    """The rest-frame wavelengths (Angstrom) of the bands, as far as both spectra reach."""
    waves = (galaxy.first[0], galaxy.second[0])
    start = galaxy.wave_um.min() * 1e4 / (1.0 + galaxy.zred) / 1.2
    stop = galaxy.wave_um.max() * 1e4 / (1.0 + galaxy.zred) * 1.2
    return max(start, 950.0, *(wave[0] for wave in waves)), min(stop, *(wave[-1] for wave in waves))


def _spectral_difference(axes: Axes, galaxy: SpectrumPair, low: float, high: float, tolerance: float) -> None:
    _floor(axes, tolerance)
    wave_aa, light = galaxy.first
    inside = (wave_aa > low) & (wave_aa < high) & (light > 0)
    other = np.interp(np.log(wave_aa[inside]), np.log(galaxy.second[0]), galaxy.second[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        change = magnitudes(galaxy.scale * other / light[inside])
    axes.plot(wave_aa[inside] / 1e4, change, color=style.MUTED, linewidth=0.7, label="spectra")
    rest = galaxy.wave_um / (1.0 + galaxy.zred)
    axes.scatter(rest, galaxy.difference_mag, s=22, color=style.INK, zorder=4, label="bands")


def _floor(axes: Axes, tolerance: float) -> None:
    axes.axhspan(-tolerance, tolerance, color=style.GRID, alpha=0.55, linewidth=0)
    axes.axhline(0.0, color=style.MUTED, linewidth=0.8)


def _ranges(axes: Axes, wave_um: np.ndarray, these: Statistics) -> None:
    low, lower, middle, upper, high = these.quantiles
    axes.vlines(wave_um, low, high, color=style.MODEL, linewidth=0.9, alpha=0.7, label="0.1–99.9 %")
    axes.vlines(wave_um, lower, upper, color=style.MODEL, linewidth=4.5, alpha=0.4, label="16–84 %")
    axes.scatter(wave_um, middle, s=20, color=style.TRUTH, zorder=4, label="median")
    axes.fill_between([], [], color=style.GRID, label="error floor")


def _limit(axes: Axes, these: Statistics, tolerance: float) -> None:
    """Limits that hold the central 68% of all bands and half of the long bars, with room for text above."""
    quantiles = these.quantiles[:, np.isfinite(these.median)]
    if not quantiles.size:
        return
    low = min(1.3 * float(quantiles[1].min()), float(np.median(quantiles[0])), -2.0 * tolerance)
    high = max(1.3 * float(quantiles[3].max()), float(np.median(quantiles[4])), 2.0 * tolerance)
    span = high - low
    axes.set_ylim(low - 0.2 * span, high + 0.18 * span)


def _trend(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    axes.scatter(x[:_MOST_DOTS], y[:_MOST_DOTS], s=3, color=style.MUTED, alpha=0.35, linewidth=0)
    bins = [rows for rows in np.array_split(np.argsort(x), min(_BINS, max(len(x) // 8, 1))) if len(rows)]
    if not bins:
        return
    middle = np.array([np.median(x[rows]) for rows in bins])
    low, median, high = np.stack([np.quantile(y[rows], (0.16, 0.5, 0.84)) for rows in bins], axis=1)
    axes.fill_between(middle, low, high, color=style.MODEL, alpha=0.3, linewidth=0)
    axes.plot(middle, median, color=style.MODEL, linewidth=1.6)


def _name_bands(axes: Axes, pair: Pair) -> None:
    if len(pair.bands) > _MOST_NAMES:
        return
    order = np.argsort(pair.wave_um)
    low, high = np.log10(axes.get_xlim())
    wanted = [(float(np.log10(pair.wave_um[i])) - low) / (high - low) for i in order]
    for i, start, place in zip(order, wanted, spread_out(wanted, 0.026), strict=True):
        axes.annotate(
            _short(pair.bands[i]), xy=(start, 1.0), xytext=(place, 1.05), xycoords="axes fraction", rotation=90,
            ha="center", va="bottom", fontsize=7.5, color=style.INK, parse_math=False,
            arrowprops={"arrowstyle": "-", "color": style.MUTED, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def _short(band: str) -> str:
    for long, short in _SHORTER:
        band = band.replace(long, short)
    return band


def _colour_bar(figure: Figure, image: object, axes: Axes, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(label, color=style.INK, fontsize=9.0)
    bar.ax.tick_params(labelsize=8, color=style.MUTED, labelcolor=style.INK)
    bar.outline.set_color(style.MUTED)
