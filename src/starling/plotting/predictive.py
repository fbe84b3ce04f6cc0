"""Posterior predictive checks of a sample: how far residuals scatter in each band, and the p-values of its galaxies.

The fit keeps for every galaxy and band the residual as a normal deviate, its mean and its root mean square over draws
(``starling.inference.predictive``). Where model and likelihood are right, the square has the mean 1 over galaxies; its
mean over n galaxies scatters at most like chi^2 of n degrees of freedom over n. A band is marked where it leaves the
range that holds all bands at once with 99 % probability. Since the fit leans towards the data, what is seen is less
than what is wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import optimize, stats

from starling.plotting import style
from starling.plotting.bands import BandFluxes
from starling.plotting.draws import dataset
from starling.plotting.residuals import FALSE_ALARM_RATE, sample_galaxies

_CUT = 5.0  # a few galaxies that nothing explains do not decide
_FEWEST = 5
_SCALES = (0.1, 20.0)
_BINS = 20


class BandScatter(NamedTuple):
    """The scatter of one band's residuals over a sample, in units of the errors, and what is expected of it.

    ``error_scale``: the factor on the observed errors (not on floors) that would make it 1; NaN where none does.
    """

    band: str
    wave_um: float
    n: int
    rms: float
    expected: tuple[float, float]
    error_scale: float = float("nan")

    @property
    def verdict(self) -> str:
        """Whether the errors are ``too small`` or ``too large``; empty where the scatter is as expected."""
        if not np.isfinite(self.rms):
            return ""
        low, high = self.expected
        return "too small" if self.rms > high else "too large" if self.rms < low else ""


def is_checked(tree: xr.DataTree) -> bool:
    """Whether the fit left posterior predictive checks."""
    return "residual_rms" in dataset(tree, "observed_data") and "p_value" in dataset(tree, "diagnostics")


def band_scatter(tree: xr.DataTree, fluxes: BandFluxes) -> list[BandScatter]:
    """The scatter in every band over the galaxies that passed (over all where none did)."""
    observed, chosen = dataset(tree, "observed_data"), sample_galaxies(tree)
    squares, quoted, total = (
        observed[name].transpose("galaxy", "band").values[chosen].astype(float)
        for name in ("residual_rms", "flux_err", "flux_err_total")
    )
    squares = np.minimum(squares, _CUT) ** 2
    share = (quoted / total) ** 2  # of the variance, that the observed errors make
    counts = np.isfinite(squares).sum(axis=0)
    tail = FALSE_ALARM_RATE / (2 * max(int((counts >= _FEWEST).sum()), 1))
    found = []
    for index, band in enumerate(fluxes.bands):
        values, n = squares[np.isfinite(squares[:, index]), index], int(counts[index])
        rms, low, high = (float("nan"),) * 3
        if n >= _FEWEST:
            rms = float(np.sqrt(values.mean()))
            low, high = (float(np.sqrt(stats.chi2.ppf(p, n) / n)) for p in (tail, 1.0 - tail))
        scale = error_scale(values, share[np.isfinite(squares[:, index]), index])
        found.append(BandScatter(band, float(fluxes.wave_um[index]), n, rms, (low, high), scale))
    return found


def error_scale(squares: np.ndarray, share: np.ndarray) -> float:
    """The factor on the observed errors with which ``squares``, of residuals over all errors, have the mean 1.

    ``share`` is that of the observed errors in the variance. NaN where none between 0.1 and 20 does that.
    """

    def excess(log_scale: float) -> float:
        return float(np.mean(squares / (1.0 + share * np.expm1(2.0 * log_scale)))) - 1.0

    low, high = np.log(_SCALES)
    if not squares.size or not excess(low) > 0.0 > excess(high):
        return float("nan")
    return float(np.exp(optimize.brentq(excess, low, high)))


def plot_scatter(found: list[BandScatter]) -> Figure:
    """Scatter of the residuals in every band against wavelength, with the range expected of the right errors."""
    figure = style.new_figure(5.4, 3.0)
    axes = figure.subplots()
    style.dress(axes, xlabel=r"observed wavelength [$\mu$m]", ylabel=r"scatter of residuals [$\sigma$]")
    shown = [item for item in found if np.isfinite(item.rms)]
    if not shown:
        style.note(axes, f"no band has {_FEWEST} galaxies")
        return figure
    axes.axhline(1.0, color=style.MUTED, linewidth=0.8)
    wave = np.array([item.wave_um for item in shown])
    low, high = np.array([item.expected for item in shown]).T
    axes.vlines(wave, low, high, color=style.MODEL, linewidth=5.0, alpha=0.3, label="expected, 99 %")
    for bad, colour, marker in ((False, style.MODEL, "o"), (True, style.BAD, "D")):
        chosen = [item for item in shown if bool(item.verdict) == bad]
        if chosen:
            name = f"unexpected ({len(chosen)})" if bad else "as expected"
            x, y = [item.wave_um for item in chosen], [item.rms for item in chosen]
            axes.scatter(x, y, s=20, color=colour, marker=marker, zorder=4, label=name)
    style.wavelength_axis(axes, np.array([item.wave_um for item in found]))
    axes.set_ylim(0.0, 1.25 * max(1.2, float(high.max()), *(item.rms for item in shown)))
    style.legend(axes, loc="upper center", ncols=3)
    return figure


def plot_p_values(tree: xr.DataTree) -> Figure:
    """How many galaxies have which posterior predictive p-value, of chi^2 over their detections."""
    figure = style.new_figure(5.4, 3.0)
    axes = figure.subplots()
    style.dress(axes, xlabel=r"posterior predictive p-value of $\chi^2$", ylabel="galaxies")
    values = dataset(tree, "diagnostics")["p_value"].values[sample_galaxies(tree)]
    values = values[np.isfinite(values)]
    if not values.size:
        style.note(axes, "no galaxy has one")
        return figure
    counts, edges = np.histogram(values, bins=_BINS, range=(0.0, 1.0))
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=style.MODEL, alpha=0.55, linewidth=0)
    axes.axhline(values.size / _BINS, color=style.MUTED, linewidth=0.9, linestyle="--", label="flat")
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.2 * float(counts.max()))
    style.legend(axes, loc="upper right")
    return figure
