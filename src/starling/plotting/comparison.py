"""The posterior against values that others derived for the same galaxies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from starling.plotting import style
from starling.plotting.draws import central, galaxy_ids, label
from starling.plotting.residuals import sample_galaxies

OUTLIER_SCATTERS = 5.0
"""How many times the robust scatter from the median offset makes an outlier."""

_NAMED = 8


@dataclass(frozen=True)
class Comparison:
    """Values of one quantity from elsewhere, to be set against the posterior.

    Attributes:
        name: flat name of the quantity in the tree, for example ``log_stellar_mass``.
        values: the other values in the order of the tree's galaxies and in the same unit; NaN where there
            is none.
        source: whose values they are, for example ``FAST (3D-HST catalogue)``.
    """

    name: str
    values: np.ndarray
    source: str


class Agreement(NamedTuple):
    """Differences posterior median minus the other value, over the galaxies that passed and have both."""

    n: int
    offset: float  # median
    scatter: float  # 1.4826 times the median absolute deviation
    outliers: tuple[str, ...]  # IDs of those further than 5 scatters from the offset, the furthest first


def agreement(tree: xr.DataTree, comparison: Comparison) -> Agreement:
    """Offset, robust scatter and outliers of the posterior against a comparison.

    Raises:
        ValueError: the tree has no draws of that name, or the values are not one per galaxy.
    """
    other, _, middle, _, identifiers = _sample(tree, comparison)
    if not len(other):
        return Agreement(0, float("nan"), float("nan"), ())
    difference = middle - other
    offset = float(np.median(difference))
    distance = np.abs(difference - offset)
    scatter = float(1.4826 * np.median(distance))
    far = [
        index
        for index in np.argsort(-distance)
        if scatter > 0 and distance[index] > OUTLIER_SCATTERS * scatter
    ]
    return Agreement(len(other), offset, scatter, tuple(identifiers[index] for index in far))


def plot_comparison(tree: xr.DataTree, comparison: Comparison) -> Figure:
    """Posterior median and 68 % interval against the other values, and their difference below.

    The dashed line is the median offset. Outliers (further from it than five robust scatters) are open
    squares with their ID.

    Raises:
        ValueError: the tree has no draws of that name, or the values are not one per galaxy.
    """
    other, low, middle, high, identifiers = _sample(tree, comparison)
    result = agreement(tree, comparison)
    heading = label(comparison.name)
    figure = style.new_figure(4.8, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1.0))
    style.dress(upper, ylabel=f"{heading.axis}, this fit")
    style.dress(lower, ylabel="fit $-$ other")
    lower.set_xlabel(comparison.source, color=style.INK, fontsize=9.5, parse_math=False)
    if not result.n:
        style.note(upper, "no galaxy has both values")
        return figure
    start, stop = float(np.min([other, low])), float(np.max([other, high]))
    margin = max(0.05 * (stop - start), 1e-3)
    line = (start - margin, stop + margin)
    outlier = np.isin(identifiers, result.outliers)
    upper.plot(line, line, color=style.MUTED, linewidth=0.9, label="equal")
    upper.plot(
        line,
        (line[0] + result.offset, line[1] + result.offset),
        color=style.OTHER,
        linewidth=1.1,
        linestyle="--",
        label="median offset",
    )
    lower.axhline(0.0, color=style.MUTED, linewidth=0.9)
    lower.axhline(result.offset, color=style.OTHER, linewidth=1.1, linestyle="--")
    drawn, marked = style.some(~outlier), style.some(outlier)
    both = drawn | marked
    for axes, shift in ((upper, 0.0), (lower, other)):
        ends = (low - shift)[both], (high - shift)[both]
        axes.vlines(other[both], *ends, color=style.MODEL, linewidth=0.8, alpha=0.45)
        axes.scatter(other[drawn], (middle - shift)[drawn], s=11, color=style.MODEL, zorder=4)
        axes.scatter(
            other[marked],
            (middle - shift)[marked],
            s=22,
            marker="s",
            facecolor="none",
            edgecolor=style.BAD,
            zorder=5,
        )
    for identifier in result.outliers[:_NAMED]:
        index = identifiers.index(identifier)
        left = other[index] > (start + stop) / 2
        upper.annotate(
            identifier,
            (other[index], middle[index]),
            xytext=(-5 if left else 5, 3),
            ha="right" if left else "left",
            textcoords="offset points",
            fontsize=7,
            color=style.BAD,
            parse_math=False,
        )
    upper.set_xlim(line)
    style.note(
        upper,
        f"{result.n} galaxies, outliers: {len(result.outliers)}\n"
        + f"offset {result.offset:+.3f}, scatter {result.scatter:.3f}".replace("-", "−"),
    )
    style.legend(upper, loc="lower right")
    return figure


def _sample(
    tree: xr.DataTree, comparison: Comparison
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str]]:
    identifiers = galaxy_ids(tree)
    other = np.asarray(comparison.values, dtype=float)
    if other.shape != (len(identifiers),):
        raise ValueError(
            f"comparison of {comparison.name!r} with {comparison.source!r}: values have shape {other.shape}, "
            f"but the tree has {len(identifiers)} galaxies; give one value per galaxy, NaN where there is none"
        )
    low, middle, high = central(tree, comparison.name)
    good = sample_galaxies(tree) & np.isfinite(other) & np.isfinite(middle)
    chosen = [identifier for identifier, keep in zip(identifiers, good, strict=True) if keep]
    return other[good], low[good], middle[good], high[good], chosen
