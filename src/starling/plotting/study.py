"""Figures of a study of networks, from its results alone (``study.json`` as ``starling study`` writes it).

They follow figures 3 to 6 and 10 of Mathews et al. (2023). A network of the papers' kind is a circle, a mixture a
square; the chosen one has a ring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from starling.plotting import style

Results = Mapping[str, Any]
Network = Mapping[str, Any]

_SHADES = "viridis"
_N_MATRICES, _N_BANDS_SHOWN = 3, 4


def study_figures(results: Results) -> dict[str, Figure]:
    """All figures of a study by name."""
    figures: dict[str, Callable[[Results], Figure]] = {
        "precision": plot_precision,
        "cost": plot_cost,
        "distributions": plot_distributions,
        "correlations": plot_correlations,
        "tails": plot_tails,
        "front": plot_front,
    }
    return {name: plot(results) for name, plot in figures.items()}


def plot_precision(results: Results) -> Figure:
    """Standard deviation of the errors per band (their figure 5), and against width with the fitted power laws."""
    series, wave = _by_width(results), np.asarray(results["wave_effective_um"])
    figure = style.new_figure(9.0, 3.6)
    left, right = figure.subplots(1, 2)
    style.dress(left, xlabel=r"wavelength of the band / $\mu$m", ylabel=r"$\sigma$ / mag")
    order = np.argsort(wave)
    for network, colour in zip(series, _colours(len(series)), strict=True):
        sigma = np.asarray(network["sigma_mag"])[order]
        left.plot(wave[order], sigma, "o-", color=colour, markersize=3, linewidth=1.0, label=network["label"])
    chosen = _chosen(results)
    if chosen not in series:
        sigma = np.asarray(chosen["sigma_mag"])[order]
        left.plot(wave[order], sigma, "s--", color=style.TRUTH, markersize=3, label=chosen["label"])
    left.set_yscale("log")
    style.wavelength_axis(left, wave)
    _bar(left, results)
    style.log_axis(left.yaxis)
    left.set_ylim(top=5.0 * left.get_ylim()[1])  # room for the legend: curves are everywhere else
    style.legend(left, loc="upper center", ncols=2)
    style.dress(right, xlabel="width N", ylabel=r"$\sigma$ / mag")
    kinds = (
        ("sigma_median_mag", "median band", style.MODEL, "o"),
        ("sigma_worst_mag", "worst band", style.BAD, "^"),
    )
    for key, name, colour, marker in kinds:
        _points_and_law(right, results, key, (series,), name, colour, marker)
    _bar(right, results)
    _log_widths(right, series)
    return figure


def plot_cost(results: Results) -> Figure:
    """Time per galaxy against width with the fitted power laws (their figure 3); open symbols are untrained."""
    series = _by_width(results)
    figure = style.new_figure(4.8, 3.6)
    axes = figure.subplots()
    style.dress(axes, xlabel="width N", ylabel=r"CPU time per galaxy, one core / $\mu$s")
    kinds = (("value_us", "value", style.MODEL, "o"), ("gradient_us", "value and gradient", style.BAD, "^"))
    for key, name, colour, marker in kinds:
        _points_and_law(axes, results, key, (series, results["untrained"]), name, colour, marker)
    _log_widths(axes, [*series, *results["untrained"]])
    return figure


def plot_distributions(results: Results) -> Figure:
    """Distribution of the errors in a few bands (their figure 4): median, 68.3% and 95.4% of the galaxies."""
    networks = [*_by_width(results), *(n for n in results["networks"] if n["kind"] == "mixture")]
    order = np.argsort(results["wave_effective_um"])
    shown = order[np.unique(np.linspace(0, len(order) - 1, _N_BANDS_SHOWN).round().astype(int))]
    figure = style.new_figure(9.0, 0.9 + 0.28 * len(networks))
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    rows = np.arange(len(networks))[::-1]
    for axes, band in zip(panels, shown, strict=True):
        style.dress(axes, xlabel="error / mag", title=results["bands"][band])
        for row, network in zip(rows, networks, strict=True):
            quantiles = np.asarray(network["quantiles_mag"])[:, band]
            for step, width in ((2, 1.2), (1, 4.0)):
                axes.hlines(row, quantiles[4 - step], quantiles[4 + step], color=style.MODEL, linewidth=width)
            axes.plot(quantiles[4], row, "|", color=style.INK, markersize=7)
        axes.axvline(0.0, color=style.MUTED, linewidth=0.8)
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(rows, [n["label"] for n in networks])
    return figure


def plot_correlations(results: Results) -> Figure:
    """Correlation of the errors over bands, in the order of wavelength (their figure 6).

    The narrowest and the widest network of the papers' kind, and the chosen one.
    """
    series = _by_width(results)
    networks = list({n["name"]: n for n in (*series[:1], *series[-1:], _chosen(results))}.values())[
        :_N_MATRICES
    ]
    wave = np.asarray(results["wave_effective_um"])
    order = np.argsort(wave)
    ticks = np.unique(np.linspace(0, len(order) - 1, 6).round().astype(int))
    names = [f"{wave[order[i]]:.2g}" for i in ticks]
    figure = style.new_figure(3.0 * len(networks) + 0.6, 3.3)
    panels = figure.subplots(1, len(networks), squeeze=False)[0]
    for axes, network in zip(panels, networks, strict=True):
        matrix = np.atleast_2d(network["correlation"])[np.ix_(order, order)]
        style.dress(
            axes, xlabel=r"band, $\mu$m", title=f"{network['label']}: rms {network['correlation_rms']:.2f}"
        )
        axes.grid(visible=False)
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1.0, vmax=1.0, interpolation="nearest")
        axes.set_xticks(ticks, names)
        axes.set_yticks(ticks, names)
    bar = figure.colorbar(image, ax=list(panels), shrink=0.8, pad=0.02)
    bar.set_label("correlation of errors", color=style.INK, fontsize=9)
    bar.ax.tick_params(labelsize=8, color=style.MUTED, labelcolor=style.INK)
    return figure


def plot_tails(results: Results) -> Figure:
    """Quantiles of the absolute error against a Gaussian's (their figure 10), in standard deviations.

    Lines are medians over bands; the shaded range is that of all bands of the chosen network.
    """
    series, chosen = _by_width(results), _chosen(results)
    networks = list({n["name"]: n for n in (*series, chosen)}.values())
    figure = style.new_figure(4.8, 3.8)
    axes = figure.subplots()
    style.dress(axes, xlabel=r"quantile of a Gaussian / $\sigma$", ylabel=r"quantile of |error| / $\sigma$")
    for network, colour in zip(networks, _colours(len(networks)), strict=True):
        tails, is_chosen = network["tails"], network is chosen
        axes.plot(
            tails["gaussian"],
            tails["median"],
            "s--" if network["kind"] == "mixture" else "o-",
            color=style.TRUTH if is_chosen else colour,
            markersize=3,
            linewidth=1.2,
            label=network["label"] + (" (chosen)" if is_chosen else ""),
        )
        if is_chosen:
            axes.fill_between(
                tails["gaussian"], tails["low"], tails["high"], color=style.TRUTH, alpha=0.15, linewidth=0
            )
    reach = max(max(n["tails"]["gaussian"]) for n in networks)
    axes.plot((0, reach), (0, reach), color=style.MUTED, linewidth=0.9, label="Gaussian")
    axes.set_xlim(0, reach * 1.03)
    axes.set_ylim(bottom=0)
    style.legend(axes, loc="upper left")
    return figure


def plot_front(results: Results) -> Figure:
    """Error in the worst and in the median band against the cost of a gradient, numbered by cost.

    Names on the right; those of the front's members are in the ink colour, the others are muted.
    """
    figure = style.new_figure(10.0, 4.0)
    left, right, names = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 0.55))
    for axes, key, name in (
        (left, "sigma_worst_mag", "worst band"),
        (right, "sigma_median_mag", "median band"),
    ):
        style.dress(
            axes,
            xlabel=r"value and gradient, CPU time per galaxy / $\mu$s",
            ylabel=rf"$\sigma$ / mag, {name}",
        )
        _front_panel(axes, results, key)
    style.legend(left, loc="best")
    names.set_axis_off()
    networks = _by_cost(results)
    for number, network in enumerate(networks, 1):
        on_front, is_chosen = network["name"] in results["front"], network["name"] == results["chosen"]
        text = f"{number:2d}  {network['label']}" + (" (chosen)" if is_chosen else "")
        height = 1.0 - 0.98 * (number - 0.5) / max(len(networks), 12)
        colour = style.INK if on_front else style.MUTED
        names.text(0.0, height, text, fontsize=8, va="center", color=colour, parse_math=False)
    return figure


def _front_panel(axes: Axes, results: Results, key: str) -> None:
    networks, chosen = _by_cost(results), _chosen(results)
    for kind, marker, label in (("direct", "o", "one network"), ("mixture", "s", "mixture")):
        members = [n for n in networks if n["kind"] == kind]
        if members:
            cost, error = ([n[k] for n in members] for k in ("gradient_us", key))
            axes.scatter(cost, error, s=22, marker=marker, color=style.MODEL, label=label, zorder=4)
    front = [n for n in networks if n["name"] in results["front"]]
    cost, error = ([n[k] for n in front] for k in ("gradient_us", key))
    axes.plot(cost, error, color=style.OTHER, linewidth=1.1, label="front (worst band)", zorder=3)
    ring = {"facecolor": "none", "edgecolor": style.TRUTH, "linewidth": 1.5}
    axes.scatter([chosen["gradient_us"]], [chosen[key]], s=110, label="chosen", zorder=5, **ring)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.1, y=0.1)
    for number, network in enumerate(networks, 1):
        axes.annotate(
            str(number),
            (network["gradient_us"], network[key]),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
            color=style.INK if network in front else style.MUTED,
        )
    _bar(axes, results)
    style.log_axis(axes.xaxis)
    style.log_axis(axes.yaxis)


def _by_cost(results: Results) -> list[Network]:
    return sorted(results["networks"], key=lambda n: n["gradient_us"])


def _by_width(results: Results) -> list[Network]:
    return sorted((n for n in results["networks"] if "width" in n["axes"]), key=lambda n: n["width"])


def _chosen(results: Results) -> Network:
    return next(n for n in results["networks"] if n["name"] == results["chosen"])


def _colours(n: int) -> list[str]:
    """Shades that stay visible on paper, dark to light."""
    return [mpl.colors.to_hex(mpl.colormaps[_SHADES](x)) for x in np.linspace(0.0, 0.85, n)]


def _points_and_law(
    axes: Axes,
    results: Results,
    key: str,
    groups: Sequence[Sequence[Network]],
    name: str,
    colour: str,
    marker: str,
) -> None:
    """Points of trained (filled) and untrained (open) networks and the power law through them."""
    law = results["laws"].get(key)
    label = name if law is None else f"{name}: {_exponent(law)}"
    for group, face in zip(groups, (colour, "none"), strict=False):
        x, y = ([n[k] for n in group] for k in ("width", key))
        axes.scatter(x, y, s=24, marker=marker, facecolor=face, edgecolor=colour, label=label, zorder=4)
        label = ""
    if law is not None:
        ends = np.array([law["low"], law["high"]])
        axes.plot(ends, law["amplitude"] * ends ** law["exponent"], color=colour, linewidth=1.1)


def _exponent(law: Mapping[str, Any]) -> str:
    error = "" if law["exponent_error"] is None else rf" \pm {law['exponent_error']:.2f}"
    return rf"$N^{{{law['exponent']:.2f}{error}}}$ ({law['low']:g} to {law['high']:g})"


def _log_widths(axes: Axes, networks: Sequence[Network]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    widths = sorted({n["width"] for n in networks})
    if widths:
        axes.set_xlim(widths[0] / 1.3, widths[-1] * 1.3)
        style.log_axis(axes.xaxis, widths)
        axes.set_xticks(widths, [str(width) for width in widths])
    style.log_axis(axes.yaxis)
    style.legend(axes, loc="best")


def _bar(axes: Axes, results: Results) -> None:
    """The standard deviation that was asked for."""
    label = f"{results['bar_mag']:g} mag"
    axes.axhline(results["bar_mag"], color=style.MUTED, linewidth=0.9, linestyle=":", zorder=1, label=label)
