"""The spectral energy distribution of one galaxy: observed fluxes, predicted fluxes, residuals."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from starling.plotting import style
from starling.plotting.bands import MICROJANSKY_PER_MAGGIE, BandFluxes, band_fluxes
from starling.plotting.draws import galaxy_position

_RESIDUAL_RANGE = 5.0
_ZERO_POINT_UJY = 23.9
_LABELLED_MAGNITUDES = 6
_MARGINS = {"left": 0.12, "right": 0.9, "bottom": 0.11, "top": 0.98, "hspace": 0.04}


def plot_sed(
    tree: xr.DataTree, galaxy: str | int, *, fluxes: BandFluxes | None = None, title: str = ""
) -> Figure:
    """Observed and predicted fluxes of one galaxy against observed wavelength, with residuals below.

    Filled points are observed fluxes with the total error of the fit; arrows are upper limits; an open
    triangle on the lower edge is a flux that is negative, with the upper end of its error bar. Bars are the
    68 % and 95 % intervals of the predicted flux (model only, without noise), with a line at the median.
    Masked bands are left out.

    Args:
        tree: the tree of a fit.
        galaxy: object ID, or position in the tree.
        fluxes: what :func:`starling.plotting.bands.band_fluxes` made of ``tree``, to save reading it again.
        title: put above the figure, as plain text.

    Raises:
        ValueError: no such galaxy.
    """
    position = galaxy_position(tree, galaxy)
    everything = band_fluxes(tree) if fluxes is None else fluxes
    figure = style.new_figure(5.9, 4.4, _MARGINS if not title else {**_MARGINS, "top": 0.93})
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1.0))
    style.dress(upper, ylabel=r"$f_\nu$ [$\mu$Jy]")
    style.dress(lower, xlabel=r"observed wavelength [$\mu$m]", ylabel=r"residual [$\sigma$]")
    if title:
        figure.suptitle(title, color=style.INK, fontsize=10, parse_math=False)
    used = everything.used[position]
    if not used.any():
        style.note(upper, "no band was used for this galaxy")
        return figure

    wave = everything.wave_um[used]
    flux = everything.flux[position, used] * MICROJANSKY_PER_MAGGIE
    sigma = everything.sigma[position, used] * MICROJANSKY_PER_MAGGIE
    limit = everything.limit[position, used]
    predicted = everything.predicted[:, position, used] * MICROJANSKY_PER_MAGGIE
    bottom = _flux_axis(upper, flux, sigma, predicted)
    style.wavelength_axis(upper, wave)
    _draw_predicted(upper, wave, predicted, bottom)
    _draw_observed(upper, wave, flux, sigma, limit, bottom)
    style.legend(upper, loc="best")
    _draw_residuals(lower, wave, flux, sigma, limit, predicted)
    return figure


def _flux_axis(axes: Axes, flux: np.ndarray, sigma: np.ndarray, predicted: np.ndarray) -> float:
    """Set the logarithmic flux axis and the AB magnitudes on the right; returns the lower edge in microjansky."""
    detected = flux[np.isfinite(flux) & (flux > np.where(np.isfinite(sigma), sigma, 0.0)) & (flux > 0)]
    values = np.concatenate([detected, predicted[2][np.isfinite(predicted[2]) & (predicted[2] > 0)]])
    if not values.size:
        values = np.array([1.0])
    high = float(values.max())
    low = max(float(values.min()), high * 1e-6)
    bottom, top = low / 2.5, high * 2.5
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    style.log_axis(axes.yaxis)

    right = axes.twinx()
    style.dress(right, ylabel="AB magnitude", grid=False)
    faint, bright = _ZERO_POINT_UJY - 2.5 * np.log10(bottom), _ZERO_POINT_UJY - 2.5 * np.log10(top)
    right.set_ylim(faint, bright)
    right.locator_params(axis="y", nbins=_LABELLED_MAGNITUDES)
    return bottom


def _draw_predicted(axes: Axes, wave: np.ndarray, predicted: np.ndarray, bottom: float) -> None:
    shown = np.isfinite(predicted[2])
    low95, low68, median, high68, high95 = np.maximum(predicted[:, shown], bottom * 1e-3)
    axes.vlines(wave[shown], low95, high95, color=style.MODEL, linewidth=2.0, alpha=0.45)
    axes.vlines(
        wave[shown], low68, high68, color=style.MODEL, linewidth=6.0, alpha=0.45, label="model, 68 % and 95 %"
    )
    axes.scatter(wave[shown], median, marker="_", s=45, color=style.MODEL, linewidth=1.3)


def _draw_observed(
    axes: Axes, wave: np.ndarray, flux: np.ndarray, sigma: np.ndarray, limit: np.ndarray, bottom: float
) -> None:
    sigma = np.where(np.isfinite(sigma), sigma, 0.0)
    positive = ~limit & (flux > 0)
    negative = ~limit & (flux <= 0)
    points = {"color": style.INK, "linestyle": "none", "elinewidth": 1.0, "markersize": 4.0, "zorder": 5}
    if positive.any():
        lower = np.minimum(sigma[positive], flux[positive] - bottom * 1e-3)
        errors = np.stack([np.maximum(lower, 0.0), sigma[positive]])
        axes.errorbar(wave[positive], flux[positive], yerr=errors, marker="o", label="observed", **points)
    if limit.any():
        axes.scatter(
            wave[limit],
            np.maximum(flux[limit], bottom * 1.3),
            marker=style.limit_marker(),
            s=450,
            facecolor="none",
            edgecolor=style.INK,
            linewidth=1.1,
            zorder=5,
        )
        axes.scatter(
            [],
            [],
            marker=style.limit_marker(),
            s=150,
            facecolor="none",
            edgecolor=style.INK,
            linewidth=1.1,
            label="upper limit",
        )
    if negative.any():
        reach = np.maximum(flux[negative] + sigma[negative], bottom * 1.001)
        floor = np.full(reach.shape, bottom * 1.12)
        errors = np.stack([np.zeros_like(reach), np.maximum(reach - floor, 0.0)])
        axes.errorbar(
            wave[negative],
            floor,
            yerr=errors,
            marker="v",
            markerfacecolor="none",
            label="negative flux",
            **points,
        )


def _draw_residuals(
    axes: Axes,
    wave: np.ndarray,
    flux: np.ndarray,
    sigma: np.ndarray,
    limit: np.ndarray,
    predicted: np.ndarray,
) -> None:
    residual = (flux - predicted[2]) / np.where(sigma > 0, sigma, np.nan)
    shown = np.isfinite(residual)
    clipped = np.clip(residual, -_RESIDUAL_RANGE, _RESIDUAL_RANGE)
    inside = shown & ~limit & (np.abs(residual) <= _RESIDUAL_RANGE)
    axes.axhspan(-1.0, 1.0, color=style.GRID, alpha=0.6, linewidth=0)
    axes.axhline(0.0, color=style.MUTED, linewidth=0.8)
    axes.scatter(wave[inside], residual[inside], s=14, color=style.INK, zorder=5)
    for side, marker in ((residual > 0, "^"), (residual < 0, "v")):
        outside = shown & ~limit & ~inside & side
        axes.scatter(wave[outside], clipped[outside], s=34, color=style.BAD, marker=marker, zorder=6)
    limits = shown & limit
    axes.scatter(
        wave[limits],
        clipped[limits],
        s=300,
        facecolor="none",
        edgecolor=style.INK,
        marker=style.limit_marker(),
        zorder=5,
    )
    axes.set_ylim(-_RESIDUAL_RANGE * 1.15, _RESIDUAL_RANGE * 1.15)
    axes.set_yticks([-4, -2, 0, 2, 4])
