"""Convergence of a sample of fits."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from starling.plotting import style
from starling.plotting.draws import dataset


def worst_rhat(tree: xr.DataTree) -> np.ndarray:
    """Largest R-hat of any parameter, per galaxy; NaN where none is finite."""
    return _extreme(dataset(tree, "diagnostics")["rhat"], largest=True)


def smallest_ess(tree: xr.DataTree) -> np.ndarray:
    """Smallest bulk effective sample size of any parameter, per galaxy; NaN where none is finite."""
    return _extreme(dataset(tree, "diagnostics")["ess_bulk"], largest=False)


def plot_convergence(tree: xr.DataTree) -> Figure:
    """Worst R-hat against smallest bulk effective sample size, one point per galaxy.

    Galaxies that failed are open magenta diamonds, a cross marks those with divergent transitions. The
    criteria themselves belong to the fit; this shows where the galaxies lie.
    """
    diagnostics = dataset(tree, "diagnostics")
    rhat, ess = worst_rhat(tree), smallest_ess(tree)
    good = np.asarray(diagnostics["passed"].values, dtype=bool)
    divergent = np.asarray(diagnostics["divergences"].values) > 0
    figure = style.new_figure(5.0, 3.4)
    axes = figure.subplots()
    style.dress(axes, xlabel="smallest bulk effective sample size", ylabel=r"worst $\hat R - 1$")
    shown = np.isfinite(rhat) & np.isfinite(ess) & (ess > 0)
    if not shown.any():
        style.note(axes, "no galaxy has finite diagnostics")
        return figure
    excess = np.maximum(rhat - 1.0, 1e-4)
    axes.scatter(
        ess[shown & good],
        excess[shown & good],
        s=18,
        color=style.MODEL,
        label=f"passed ({int(good.sum())})",
        zorder=4,
    )
    axes.scatter(
        ess[shown & ~good],
        excess[shown & ~good],
        s=24,
        marker="D",
        facecolor="none",
        edgecolor=style.BAD,
        label=f"failed ({int((~good).sum())})",
        zorder=5,
    )
    marked = shown & divergent
    if marked.any():
        axes.scatter(
            ess[marked],
            excess[marked],
            s=60,
            marker="+",
            color=style.INK,
            linewidth=0.8,
            label="has divergences",
            zorder=6,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    style.log_axis(axes.xaxis)
    style.log_axis(axes.yaxis)
    hidden = int((~shown).sum())
    if hidden:
        style.note(axes, f"{hidden} without finite diagnostics", y=0.03)
    style.legend(axes, loc="best")
    return figure


def _extreme(values: xr.DataArray, *, largest: bool) -> np.ndarray:
    array = np.asarray(values.transpose("galaxy", "parameter").values, dtype=float)
    empty = ~np.isfinite(array).any(axis=1)
    array = np.where(np.isfinite(array), array, -np.inf if largest else np.inf)
    found = array.max(axis=1) if largest else array.min(axis=1)
    return np.where(empty, np.nan, found)
