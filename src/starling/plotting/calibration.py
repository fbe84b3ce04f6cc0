"""Calibration over simulated galaxies: the shares of draws below the truth, which calibrated posteriors spread evenly.

Of every scalar the distribution of these shares (Talts et al. 2018, arXiv:1804.06788; Cook, Gelman & Rubin 2006) is
set against the uniform one. The test is Kolmogorov's; a scalar is marked where the test of ALL scalars at once would
fail a calibrated fit once in a hundred (Bonferroni). Curves above zero are truths too low for the posterior, so the
posterior is too high; a wave that rises, falls and rises is a posterior that is too narrow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

from starling.plotting import style
from starling.plotting.draws import dataset, label, main_first
from starling.plotting.residuals import FALSE_ALARM_RATE, sample_galaxies
from starling.plotting.sample import RANKS

_FEWEST = 8
_NAMED = 5


class Calibration(NamedTuple):
    """One scalar: the ``shares`` of draws below the truth, sorted, and the p-value of their being uniform."""

    name: str
    shares: np.ndarray
    p_value: float
    off: bool


def calibration(tree: xr.DataTree) -> list[Calibration]:
    """Of every scalar with true values of enough galaxies that passed; empty where there is none."""
    if RANKS not in tree.children:
        return []
    chosen, ranks = sample_galaxies(tree), dataset(tree, RANKS)
    shares = {
        name: np.sort(values[np.isfinite(values)])
        for name in main_first([str(one) for one in ranks.data_vars])
        if (values := np.asarray(ranks[name].values, dtype=float)[chosen]) is not None
    }
    shares = {name: values for name, values in shares.items() if values.size >= _FEWEST}
    found = {name: float(stats.kstest(values, "uniform").pvalue) for name, values in shares.items()}
    return [
        Calibration(name, shares[name], p, p < FALSE_ALARM_RATE / len(found)) for name, p in found.items()
    ]


def plot_calibration(found: list[Calibration]) -> Figure:
    """Distribution of the shares minus the uniform one, a line for every scalar; the band holds 99 % of all lines."""
    figure = style.new_figure(5.4, 3.4)
    axes = figure.subplots()
    style.dress(axes, xlabel="share of draws below the truth", ylabel="distribution $-$ uniform")
    if not found:
        style.note(axes, "no scalar has enough true values")
        return figure
    n = min(item.shares.size for item in found)
    half = float(stats.kstwo.isf(FALSE_ALARM_RATE / len(found), n))
    axes.axhspan(-half, half, color=style.GRID, alpha=0.6, linewidth=0, label="99 % for all at once")
    axes.axhline(0.0, color=style.MUTED, linewidth=0.8)
    grid = np.linspace(0.0, 1.0, 201)
    marked = sorted((item for item in found if item.off), key=lambda item: item.p_value)[:_NAMED]
    lines = ("-", "--", "-.", ":", (0, (1, 1)))
    for item in found:
        curve = np.searchsorted(item.shares, grid, side="right") / item.shares.size - grid
        place = [index for index, one in enumerate(marked) if one.name == item.name]
        if place:
            axes.plot(
                grid,
                curve,
                color=style.BAD,
                linewidth=1.4,
                linestyle=lines[place[0]],
                label=label(item.name).math,
            )
        else:
            axes.plot(grid, curve, color=style.MODEL, linewidth=0.8, alpha=0.6)
    axes.plot([], [], color=style.MODEL, linewidth=0.8, label=f"{len(found)} quantities")
    top = max(half, float(np.abs(axes.dataLim.intervaly).max()))
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(-1.5 * top, 1.5 * top)
    style.legend(axes, loc="upper center", ncols=2)
    return figure
