"""Posterior against truth over a sample of simulated galaxies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from starling.plotting import style
from starling.plotting.draws import central, label, main_first, scalar_names, truth
from starling.plotting.residuals import sample_galaxies

LOG_SCALED = ("sfr_30", "sfr_100")
"""Quantities that are compared in their decimal logarithm."""

_COLUMNS = 3
_MOST_PANELS = 9
_MOST_POINTS = 300
_MARGIN = 0.06


class Recovery(NamedTuple):
    """How well one quantity was recovered over a sample."""

    name: str
    n: int
    bias: float  # median of (posterior median - truth)
    scatter: float  # 1.4826 times the median absolute deviation of the same
    pull: float  # standard deviation of (posterior median - truth) / (half the 16-84 per cent width)
    covered: int  # truths between the 16 and 84 per cent quantiles
    expected: tuple[int, int]  # range of ``covered`` that a calibrated posterior leaves 1 time in 20

    @property
    def coverage(self) -> float:
        """Fraction of truths in the 68 per cent interval."""
        return self.covered / self.n if self.n else float("nan")

    @property
    def calibrated(self) -> bool:
        """Whether the coverage is within the range expected of a calibrated posterior."""
        return self.expected[0] <= self.covered <= self.expected[1]


def true_names(tree: xr.DataTree) -> tuple[str, ...]:
    """Flat names of the scalars that the tree has both draws and true values of."""
    return tuple(name for name in scalar_names(tree) if truth(tree, name) is not None)


def recovery(tree: xr.DataTree, name: str) -> Recovery:
    """Bias, scatter and coverage of one quantity over the galaxies that passed (over all where none did).

    SFRs are compared in their decimal logarithm, a true SFR of zero is left out.

    Raises:
        ValueError: the tree has no draws or no true values of that name.
    """
    true, low, middle, high = _sample(tree, name)
    n = len(true)
    if not n:
        nan = float("nan")
        return Recovery(name, 0, nan, nan, nan, 0, (0, 0))
    error = middle - true
    bias = float(np.median(error))
    width = (high - low) / 2
    pulls = error[width > 0] / width[width > 0]
    first, last = (int(value) for value in stats.binom.interval(0.95, n, 0.68))
    return Recovery(
        name=name,
        n=n,
        bias=bias,
        scatter=float(1.4826 * np.median(np.abs(error - bias))),
        pull=float(pulls.std(ddof=1)) if len(pulls) > 1 else float("nan"),
        covered=int(((low <= true) & (true <= high)).sum()),
        expected=(first, last),
    )


def plot_recovery(tree: xr.DataTree, names: Sequence[str] | None = None) -> Figure:
    """Posterior median and 68 % interval against truth, one panel per quantity, over the galaxies that passed.

    Each panel says how many truths lie in the 68 % interval. Galaxies that miss it are drawn open.

    Args:
        tree: the tree of a fit of simulated galaxies.
        names: flat names; by default the first nine with true values, the main quantities before the others.

    Raises:
        ValueError: no true values at all, or none of a name.
    """
    names = main_first(true_names(tree))[:_MOST_PANELS] if names is None else tuple(names)
    if not names:
        raise ValueError(
            "the tree has no true values: its group 'truth' is missing or shares no name with the draws"
        )
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = style.new_figure(2.65 * columns + 0.2, 2.6 * rows + 0.1)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw(axes, tree, name)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("truth", color=style.INK, fontsize=10)
    figure.supylabel("posterior median and 68 %", color=style.INK, fontsize=10)
    return figure


def _draw(axes: Axes, tree: xr.DataTree, name: str) -> None:
    true, low, middle, high = _sample(tree, name)
    heading = label(name)._replace(math="log " + label(name).math) if name in LOG_SCALED else label(name)
    style.dress(axes, title=heading.axis)
    if not len(true):
        style.note(axes, "no galaxy to show")
        return
    everything = np.concatenate([true, low, high])
    start, stop = float(everything.min()), float(everything.max())
    margin = max(_MARGIN * (stop - start), 1e-6 * max(1.0, abs(start)))
    limits = (start - margin, stop + margin)
    axes.plot(limits, limits, color=style.MUTED, linewidth=0.9)
    drawn = style.some(np.ones(true.size, bool), _MOST_POINTS)
    true, low, middle, high = (values[drawn] for values in (true, low, middle, high))
    inside = (low <= true) & (true <= high)
    axes.vlines(true, low, high, color=style.MODEL, linewidth=0.8, alpha=0.55)
    axes.scatter(true[inside], middle[inside], s=11, color=style.MODEL, zorder=4)
    axes.scatter(true[~inside], middle[~inside], s=13, facecolor="none", edgecolor=style.TRUTH, zorder=5)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_box_aspect(1)
    axes.locator_params(nbins=5)
    result = recovery(tree, name)
    style.note(axes, f"{result.covered}/{result.n} in 68 %")
    summary = f"bias {result.bias:+.2g}\nscatter {result.scatter:.2g}".replace("-", "−")
    style.note(axes, summary, x=0.97, y=0.03)


def _sample(tree: xr.DataTree, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth and the 16, 50 and 84 per cent quantiles of the galaxies in the sample where all are finite."""
    true = truth(tree, name)
    if true is None:
        raise ValueError(
            f"the tree has no true values of {name!r}; it has {', '.join(true_names(tree)) or 'none'}"
        )
    low, middle, high = central(tree, name)
    values = np.stack([true, low, middle, high])
    if name in LOG_SCALED:
        values = np.log10(np.where(values > 0, values, np.nan))
    good = sample_galaxies(tree) & np.isfinite(values).all(axis=0)
    true, low, middle, high = values[:, good]
    return true, low, middle, high
