"""Convergence of a sample of fits."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from starling.plotting import style
from starling.plotting.draws import dataset


def worst_rhat(tree: xr.DataTree) -> np.ndarray:
    """Largest R-hat of any parameter, per galaxy; NaN where none is finite."""
    return _extreme(dataset(tree, "diagnostics")["rhat"], largest=True)


def smallest_ess(tree: xr.DataTree) -> np.ndarray:
    """Smallest bulk effective sample size of any parameter, per galaxy; NaN where none is finite."""
    return _extreme(dataset(tree, "diagnostics")["ess_bulk"], largest=False)


def by_weights(tree: xr.DataTree) -> np.ndarray:
    """Which galaxies weighted draws of a flow settled: they have a k-hat, and no R-hat."""
    diagnostics = dataset(tree, "diagnostics")
    if "stage" not in diagnostics:
        return np.zeros(diagnostics.sizes["galaxy"], dtype=bool)
    return np.asarray([str(stage).startswith("weights") for stage in diagnostics["stage"].values], dtype=bool)


def plot_convergence(tree: xr.DataTree) -> Figure:
    """Worst R-hat against smallest bulk effective sample size, one point per galaxy that chains settled.

    Galaxies that weighted draws settled are in a panel of their own: PSIS k-hat against the effective sample size of
    the weights. Galaxies that failed are open magenta diamonds, a cross marks those with divergent transitions. The
    criteria themselves belong to the fit; this shows where the galaxies lie.
    """
    diagnostics = dataset(tree, "diagnostics")
    good = np.asarray(diagnostics["passed"].values, dtype=bool)
    weighted = by_weights(tree)
    panels = 1 + int(weighted.any() and not weighted.all())
    figure = style.new_figure(5.0, 3.2 * panels)
    axes = iter(np.atleast_1d(figure.subplots(panels, 1)))
    if not weighted.all() or not weighted.size:
        _plot_chains(next(axes), tree, ~weighted, good, np.asarray(diagnostics["divergences"].values) > 0)
    if weighted.any():
        _plot_weights(next(axes), diagnostics, weighted, good)
    return figure


def _plot_chains(
    axes: Axes, tree: xr.DataTree, chosen: np.ndarray, good: np.ndarray, divergent: np.ndarray
) -> None:
    rhat, ess = worst_rhat(tree), smallest_ess(tree)
    style.dress(axes, xlabel="smallest bulk effective sample size", ylabel=r"worst $\hat R - 1$")
    shown = chosen & np.isfinite(rhat) & np.isfinite(ess) & (ess > 0)
    if not shown.any():
        style.note(axes, "no galaxy has finite diagnostics")
        return
    excess = np.maximum(rhat - 1.0, 1e-4)
    _scatter(axes, ess, excess, shown, good)
    marked = style.some(shown & divergent)
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
    axes.set_yscale("log")
    style.log_axis(axes.yaxis)
    _finish(axes, int((chosen & ~shown).sum()))


def _plot_weights(axes: Axes, diagnostics: xr.Dataset, chosen: np.ndarray, good: np.ndarray) -> None:
    k_hat, ess = (np.asarray(diagnostics[name].values, dtype=float) for name in ("k_hat", "ess_weights"))
    style.dress(axes, xlabel="effective sample size of the weights", ylabel=r"PSIS $\hat k$ of the weights")
    shown = chosen & np.isfinite(k_hat) & np.isfinite(ess) & (ess > 0)
    if not shown.any():
        style.note(axes, "no galaxy has finite diagnostics")
        return
    _scatter(axes, ess, k_hat, shown, good)
    _finish(axes, int((chosen & ~shown).sum()))


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, shown: np.ndarray, good: np.ndarray) -> None:
    """Points of the galaxies that passed and of those that failed; the legend counts all, of many some are drawn."""
    passed, failed = shown & good, shown & ~good
    drawn = style.some(passed), style.some(failed)
    axes.scatter(
        x[drawn[0]], y[drawn[0]], s=18, color=style.MODEL, label=f"passed ({int(passed.sum())})", zorder=4
    )
    axes.scatter(
        x[drawn[1]],
        y[drawn[1]],
        s=24,
        marker="D",
        facecolor="none",
        edgecolor=style.BAD,
        label=f"failed ({int(failed.sum())})",
        zorder=5,
    )


def _finish(axes: Axes, hidden: int) -> None:
    axes.set_xscale("log")
    style.log_axis(axes.xaxis)
    if hidden:
        style.note(axes, f"{hidden} without finite diagnostics", y=0.03)
    style.legend(axes, loc="best")


def _extreme(values: xr.DataArray, *, largest: bool) -> np.ndarray:
    array = np.asarray(values.transpose("galaxy", "parameter").values, dtype=float)
    empty = ~np.isfinite(array).any(axis=1)
    array = np.where(np.isfinite(array), array, -np.inf if largest else np.inf)
    found = array.max(axis=1) if largest else array.min(axis=1)
    return np.where(empty, np.nan, found)
