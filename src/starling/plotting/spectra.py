"""Errors of emulated spectra: figures from arrays, whatever the model."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from starling.plotting import style

_GREYS = (0.85, 0.55, 0.3, 0.15)


def plot_spectrum_errors(
    wave_aa: np.ndarray, quantiles: np.ndarray, levels: Sequence[float], bar: float
) -> Figure:
    """Quantiles [level, pixel] of the absolute fractional error against wavelength (as Alsing et al. 2020, fig. 7)."""
    figure = style.new_figure(7.2, 3.6)
    axes = figure.subplots()
    style.dress(axes, xlabel=r"rest-frame wavelength [$\mu$m]", ylabel="error [per cent]")
    wave_um = wave_aa / 1e4
    lower = np.full(wave_um.shape, 1e-3)
    for level, values, alpha in zip(levels, 100.0 * quantiles, _GREYS, strict=False):
        axes.fill_between(
            wave_um, lower, values, color=style.MODEL, alpha=alpha, linewidth=0, label=f"{100 * level:g}%"
        )
        lower = values
    axes.axhline(100.0 * bar, color=style.MUTED, linewidth=0.9, linestyle="--")
    axes.set_yscale("log")
    style.wavelength_axis(axes, wave_um)
    axes.set_xlim(wave_um[0], wave_um[-1])
    axes.set_ylim(0.5 * 100.0 * np.quantile(quantiles[0], 0.01), 1.5 * 100.0 * quantiles[-1].max())
    style.log_axis(axes.yaxis)
    style.legend(axes, loc="upper right", ncols=len(levels))
    return figure
