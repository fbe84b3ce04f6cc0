"""The joint posterior of a few quantities of one galaxy.

Drawn here, since a report draws a dozen of these: ArviZ's ``plot_pair`` makes its figure through ``pyplot``,
which keeps it alive, and the ``corner`` package draws the empty upper triangle too and imports ArviZ for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

from starling.plotting import style
from starling.plotting.draws import draws, galaxy_position, label, quantiles, scalar_names, truth

DEFAULT_NAMES = ("zred", "log_stellar_mass", "log_ssfr_100", "mwa", "dust2", "logzsol")
"""What a corner plot shows: those of these that the tree has (``zred`` only where it was free)."""

_ENCLOSED = (0.865, 0.393)
_SHADES = (0.2, 0.45)
_SMALLEST_SAMPLE = 20
_BINS = 28
_SMOOTH_BINS = 1.3
_PANEL_IN = 0.95


def plot_corner(
    tree: xr.DataTree, galaxy: str | int, names: Sequence[str] | None = None, *, title: str = ""
) -> Figure:
    """Marginal and joint posterior of a few quantities of one galaxy.

    Contours hold 39 % and 86 % of the draws (1 and 2 sigma of a Gaussian in two dimensions); the lines in
    the histograms are the 16, 50 and 84 per cent quantiles; crossed lines are the truth, where the tree has
    it.

    Args:
        tree: the tree of a fit.
        galaxy: object ID, or position in the tree.
        names: flat names of parameters or derived quantities; by default those of :data:`DEFAULT_NAMES` in
            the tree.
        title: put above the figure, as plain text.

    Raises:
        ValueError: no such galaxy or name.
    """
    position = galaxy_position(tree, galaxy)
    if names is None:
        available = scalar_names(tree)
        names = [name for name in DEFAULT_NAMES if name in available] or available[:5]
    samples = np.stack([draws(tree, name, position) for name in names], axis=1)
    samples = samples[np.isfinite(samples).all(axis=1)]
    truths = [_true_value(tree, name, position) for name in names]

    n = len(names)
    side = 0.9 + _PANEL_IN * n
    margins = {"left": 0.8 / side, "bottom": 0.8 / side, "right": 0.98, "top": 0.98 if not title else 0.94}
    figure = style.new_figure(side, side, {**margins, "wspace": 0.06, "hspace": 0.06})
    if title:
        figure.suptitle(title, color=style.INK, fontsize=10, parse_math=False)
    if len(samples) < _SMALLEST_SAMPLE:
        axes = figure.subplots()
        style.dress(axes)
        style.note(axes, f"{len(samples)} finite draws: too few for a corner plot")
        return figure
    headings = [label(name).axis.replace(" [", "\n[") for name in names]
    limits = [_limits(column, true) for column, true in zip(samples.T, truths, strict=True)]
    grid = figure.add_gridspec(n, n)
    for row in range(n):
        for column in range(row + 1):
            axes = figure.add_subplot(grid[row, column])
            if row == column:
                _draw_marginal(axes, samples[:, row], limits[row], truths[row])
            else:
                _draw_joint(axes, samples[:, [column, row]], (limits[column], limits[row]))
                _mark_truth(axes, truths[column], truths[row])
            _dress(axes, headings[column] if row == n - 1 else "", headings[row] if column == 0 < row else "")
    return figure


def _draw_marginal(axes: Axes, values: np.ndarray, limits: tuple[float, float], true: float | None) -> None:
    counts, edges = np.histogram(values, bins=_BINS, range=limits)
    axes.stairs(counts, edges, color=style.MODEL, linewidth=1.3)
    for value, line in zip(quantiles(values, (0.16, 0.5, 0.84)), ("--", "-", "--"), strict=True):
        axes.axvline(float(value), color=style.INK, linewidth=0.8, linestyle=line, alpha=0.7)
    axes.set_xlim(limits)
    axes.set_ylim(0, 1.12 * max(int(counts.max()), 1))
    _mark_truth(axes, true, None)


def _draw_joint(
    axes: Axes, pairs: np.ndarray, limits: tuple[tuple[float, float], tuple[float, float]]
) -> None:
    counts, x_edges, y_edges = np.histogram2d(pairs[:, 0], pairs[:, 1], bins=_BINS, range=limits)
    density = gaussian_filter(counts, _SMOOTH_BINS, mode="constant")
    levels = _levels(density)
    x, y = (x_edges[1:] + x_edges[:-1]) / 2, (y_edges[1:] + y_edges[:-1]) / 2
    if levels:
        shades = [(style.MODEL, alpha) for alpha in _SHADES[: len(levels)]]
        axes.contourf(x, y, density.T, levels=[*levels, 2 * density.max()], colors=shades)
        axes.contour(x, y, density.T, levels=levels, colors=[style.MODEL], linewidths=1.0)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


def _levels(density: np.ndarray) -> list[float]:
    """Increasing densities above which 86 % and 39 % of the whole lie; fewer where they coincide."""
    ordered = np.sort(density.ravel())[::-1]
    summed = np.cumsum(ordered)
    if summed[-1] <= 0:
        return []
    found = {float(ordered[int(np.searchsorted(summed, part * summed[-1]))]) for part in _ENCLOSED}
    return sorted(level for level in found if 0 < level < ordered[0])


def _mark_truth(axes: Axes, x: float | None, y: float | None) -> None:
    for value, line in ((x, axes.axvline), (y, axes.axhline)):
        if value is not None:
            line(value, color=style.TRUTH, linewidth=1.2)


def _dress(axes: Axes, xlabel: str, ylabel: str) -> None:
    style.dress(axes, xlabel=xlabel, ylabel=ylabel, grid=False)
    for axis, text in ((axes.xaxis, xlabel), (axes.yaxis, ylabel)):
        axis.set_major_locator(MaxNLocator(3, prune="both"))
        axis.get_major_formatter().set_useOffset(False)
        axis.label.set_fontsize(8.5)
        if text:
            axis.set_label_coords(*((0.5, -0.42) if axis is axes.xaxis else (-0.5, 0.5)))
    axes.tick_params(labelsize=7.5, labelbottom=bool(xlabel), labelleft=bool(ylabel))
    axes.tick_params(axis="x", labelrotation=40)


def _limits(column: np.ndarray, true: float | None) -> tuple[float, float]:
    """Limits that hold all but the furthest 0.2 % of the draws, and the truth; never of zero width."""
    low, high = (float(value) for value in np.quantile(column, (0.001, 0.999)))
    if true is not None:
        low, high = min(low, true), max(high, true)
    margin = max(0.04 * (high - low), 1e-3 * max(1.0, abs(low)))
    return low - margin, high + margin


def _true_value(tree: xr.DataTree, name: str, position: int) -> float | None:
    values = truth(tree, name)
    return None if values is None or not np.isfinite(values[position]) else float(values[position])
