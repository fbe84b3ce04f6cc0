"""The star-formation history of one galaxy."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from starling.plotting import style
from starling.plotting.draws import dataset, galaxy_position, quantiles, redshifts, truth

_FIRST_GYR = 0.01
_DECADES = 4.0
_GRID_STEPS = 160
_N_RATIOS = 6
_SMALLEST_RATE = 1e-6
_MARGINS = {"left": 0.16, "right": 0.97, "bottom": 0.145, "top": 0.93}


def plot_sfh(tree: xr.DataTree, galaxy: str | int, *, title: str = "") -> Figure:
    """Star-formation rate of one galaxy against lookback time: median, 68 % and 95 % intervals per time bin.

    Where the redshift is free the bins move from draw to draw; the intervals are then taken on a fine grid
    of lookback times. The true history is drawn where the tree knows the true mass, SFR ratios and
    redshift. The axis reaches four decades below the largest median; the youngest bin is cut at 10 Myr, since
    a logarithmic axis has no zero.

    Args:
        tree: the tree of a fit.
        galaxy: object ID, or position in the tree.
        title: put above the figure, as plain text.

    Raises:
        ValueError: no such galaxy, or no group ``derived``.
    """
    position = galaxy_position(tree, galaxy)
    derived = dataset(tree, "derived").isel(galaxy=position)
    rate = derived["sfh"].transpose("chain", "draw", "sfh_bin").values
    edges = derived["sfh_edges_gyr"].transpose(..., "sfh_edge").values
    rate = np.asarray(rate, dtype=float).reshape(-1, rate.shape[-1])
    edges = np.broadcast_to(
        np.asarray(edges, dtype=float).reshape(-1, edges.shape[-1]), (len(rate), edges.shape[-1])
    )

    figure = style.new_figure(4.4, 3.3, _MARGINS)
    axes = figure.subplots()
    style.dress(
        axes, xlabel="lookback time [Gyr]", ylabel=r"SFR [M$_{\odot}$/yr]", title=title.replace("$", r"\$")
    )
    good = np.isfinite(rate).all(axis=1) & np.isfinite(edges).all(axis=1)
    if not good.any():
        style.note(axes, "no finite star-formation history")
        return figure

    steps, values = _on_common_steps(rate[good], edges[good])
    low95, low68, median, high68, high95 = quantiles(values)
    top = max(float(high95.max()), _SMALLEST_RATE)
    bottom = max(float(median.max()), top * 1e-3) * 10.0**-_DECADES
    band = {"baseline": None, "fill": True, "linewidth": 0, "color": style.MODEL}
    for low, high, alpha, name in ((low95, high95, 0.22, "95 %"), (low68, high68, 0.4, "68 %")):
        band["baseline"] = np.maximum(low, bottom / 10)
        axes.stairs(np.maximum(high, bottom / 10), steps, alpha=alpha, label=name, **band)
    axes.stairs(
        np.maximum(median, bottom / 10),
        steps,
        baseline=None,
        color=style.MODEL,
        linewidth=1.8,
        label="median",
    )
    true = _true_history(tree, position)
    if true is not None:
        axes.stairs(
            np.maximum(true[0], bottom / 10),
            np.maximum(true[1], _FIRST_GYR),
            baseline=None,
            color=style.TRUTH,
            linewidth=1.6,
            linestyle="--",
            label="truth",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(_FIRST_GYR, steps[-1] * 1.05)
    low_limit = max(bottom, float(np.min(np.maximum(low68, bottom))) / 3.0)
    axes.set_ylim(low_limit, max(top, low_limit * 10) * 1.6)
    style.log_axis(axes.xaxis, (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0))
    style.log_axis(axes.yaxis)
    style.legend(axes, loc="best", ncols=2)
    return figure


def _on_common_steps(rate: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges that hold for every draw ``[step + 1]`` and the rates between them ``[draw, step]``."""
    if np.allclose(edges, edges[0], rtol=1e-4):
        return np.maximum(edges[0], _FIRST_GYR), rate
    steps = np.geomspace(_FIRST_GYR, edges[:, -1].max(), _GRID_STEPS + 1)
    middle = np.sqrt(steps[1:] * steps[:-1])
    inside = np.stack([np.searchsorted(own[1:-1], middle, side="right") for own in edges])
    values = np.take_along_axis(rate, inside, axis=1)
    return steps, np.where(middle < edges[:, -1:], values, 0.0)


def _true_history(tree: xr.DataTree, position: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Rates and edges of the true history, or ``None`` where a parameter that sets it is not known."""
    names = ("logmass", *(f"logsfr_ratios_{index}" for index in range(1, _N_RATIOS + 1)))
    known = [truth(tree, name) for name in names]
    zred = truth(tree, "zred") if truth(tree, "zred") is not None else redshifts(tree)
    values = [float(value[position]) for value in (*known, zred) if value is not None]
    if len(values) <= len(names) or not np.isfinite(values).all():
        return None
    # here, because they import JAX, which only this needs
    import jax.numpy as jnp

    from starling.sfh import history_properties

    found = history_properties(jnp.asarray(values[0]), jnp.asarray(values[1:-1]), jnp.asarray(values[-1]))
    return np.asarray(found["sfh"], dtype=float), np.asarray(found["sfh_edges_gyr"], dtype=float)
