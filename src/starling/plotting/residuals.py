"""Residuals per band over a sample, and a test of which bands are off by more than their errors.

The test, per band: the mean standardised residual over the galaxies, each cut at +-5 so that a few blends
do not decide, against its standard error from the scatter between galaxies (Student's t with n - 1 degrees
of freedom). A band is off where the interval around the mean that covers ALL bands at once with 99 %
probability (Bonferroni) leaves out zero. Since the fit itself leans towards an offending band, a real
offset is larger than the residual shows. A band can be off significantly and by little: judge the size in
magnitudes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from starling.plotting import style
from starling.plotting.bands import BandFluxes, band_fluxes
from starling.plotting.draws import passed

FALSE_ALARM_RATE = 0.01
"""Probability that any band at all is marked where none is off."""

_CUT = 5.0
_FEWEST = 5
_NAMED = 10


class BandResidual(NamedTuple):
    """Residuals of one band over a sample; a number that the sample is too small for is NaN."""

    band: str
    wave_um: float
    n: int
    sigma: tuple[float, float, float]  # 16, 50, 84 per cent quantiles of the standardised residual
    magnitude: tuple[float, float, float]  # the same of the fractional residual in magnitudes
    mean: float  # mean standardised residual, cut at +-5
    standard_error: float
    half_width: float  # of the interval that covers all bands at once
    off: bool

    @property
    def significance(self) -> float:
        """Mean over its standard error."""
        return self.mean / self.standard_error if self.standard_error > 0 else float("nan")


def sample_galaxies(tree: xr.DataTree) -> np.ndarray:
    """The galaxies that sample figures are made of, shape ``(galaxy,)``: those that passed, or all where none did."""
    good = passed(tree)
    return good if good.any() else np.ones_like(good)


def band_residuals(
    fluxes: BandFluxes, galaxies: np.ndarray, *, false_alarm_rate: float = FALSE_ALARM_RATE
) -> list[BandResidual]:
    """Residuals per band over the galaxies marked ``True``, in the order of the bands.

    Args:
        fluxes: observed and predicted fluxes.
        galaxies: which galaxies to take, bool, shape ``(galaxy,)``.
        false_alarm_rate: probability that any band is marked where none is off.
    """
    standardised = fluxes.standardised()[galaxies]
    magnitudes = fluxes.magnitudes()[galaxies]
    counts = np.isfinite(standardised).sum(axis=0)
    n_tested = max(int((counts >= _FEWEST).sum()), 1)
    found = []
    for index, band in enumerate(fluxes.bands):
        values = standardised[np.isfinite(standardised[:, index]), index]
        sizes = magnitudes[np.isfinite(magnitudes[:, index]), index]
        mean = standard_error = half_width = float("nan")
        if len(values) >= _FEWEST:
            cut = np.clip(values, -_CUT, _CUT)
            mean, standard_error = float(cut.mean()), float(cut.std(ddof=1) / np.sqrt(len(cut)))
            half_width = float(stats.t.isf(false_alarm_rate / (2 * n_tested), len(cut) - 1)) * standard_error
        found.append(
            BandResidual(
                band=band,
                wave_um=float(fluxes.wave_um[index]),
                n=len(values),
                sigma=_spread(values),
                magnitude=_spread(sizes),
                mean=mean,
                standard_error=standard_error,
                half_width=half_width,
                off=bool(abs(mean) > half_width),
            )
        )
    return found


def plot_residuals(tree: xr.DataTree, *, residuals: list[BandResidual] | None = None) -> Figure:
    """Residuals per band against wavelength over the galaxies that passed (over all where none did).

    Above: standardised residuals; thin bars are the 16-84 per cent range, thick bars the interval of the mean that
    covers all bands at once with 99 % probability. Below: fractional residuals in magnitudes, median and 16-84 per
    cent range. A band that is off is marked with a diamond and named.

    Args:
        tree: the tree of a fit.
        residuals: what :func:`band_residuals` made of ``tree``, to save reading it again.
    """
    if residuals is None:
        residuals = band_residuals(band_fluxes(tree), sample_galaxies(tree))
    shown = [item for item in residuals if item.n]
    figure = style.new_figure(5.4, 6.0)
    upper, lower = figure.subplots(2, 1, sharex=True)
    style.dress(upper, ylabel=r"residual [$\sigma$]")
    style.dress(lower, xlabel=r"observed wavelength [$\mu$m]", ylabel="excess [mag]")
    if not shown:
        style.note(upper, "no band was used")
        return figure
    for axes, quantity in ((upper, "sigma"), (lower, "magnitude")):
        axes.axhline(0.0, color=style.MUTED, linewidth=0.8)
        _draw_ranges(axes, shown, quantity)
    _draw_means(upper, [item for item in shown if np.isfinite(item.mean)])
    lower.vlines([], [], [], color=style.MODEL, linewidth=5.0, alpha=0.35, label="mean, 99 % for all at once")
    style.wavelength_axis(lower, np.array([item.wave_um for item in residuals]))
    _limit(upper, [item.sigma for item in shown], at_least=1.5)
    _limit(lower, [item.magnitude for item in shown], at_least=0.1, room=1.5)
    _name_bands(upper, [item for item in shown if item.off])
    style.legend(lower, loc="lower center", ncols=2)
    return figure


def _spread(values: np.ndarray) -> tuple[float, float, float]:
    if not values.size:
        return (float("nan"),) * 3
    low, middle, high = np.quantile(values, (0.16, 0.5, 0.84))
    return float(low), float(middle), float(high)


def _draw_ranges(axes: Axes, shown: list[BandResidual], quantity: str) -> None:
    for off, colour, marker in ((False, style.MODEL, "o"), (True, style.BAD, "D")):
        chosen = [item for item in shown if item.off == off and np.isfinite(getattr(item, quantity)[1])]
        if not chosen:
            continue
        wave = np.array([item.wave_um for item in chosen])
        low, middle, high = np.array([getattr(item, quantity) for item in chosen]).T
        named = f", {_NAMED} named" if len(chosen) > _NAMED else ""
        name = f"off ({len(chosen)}{named})" if off else "median and 16–84 %"
        axes.vlines(wave, low, high, color=colour, linewidth=1.1)
        axes.scatter(wave, middle, s=22, color=colour, marker=marker, zorder=4, label=name)


def _draw_means(axes: Axes, shown: list[BandResidual]) -> None:
    for off, colour in ((False, style.MODEL), (True, style.BAD)):
        chosen = [item for item in shown if item.off == off]
        if not chosen:
            continue
        low = [item.mean - item.half_width for item in chosen]
        high = [item.mean + item.half_width for item in chosen]
        waves = [item.wave_um for item in chosen]
        axes.vlines(waves, low, high, color=colour, linewidth=5.0, alpha=0.35)


def _limit(
    axes: Axes, ranges: list[tuple[float, float, float]], *, at_least: float, room: float = 1.0
) -> None:
    """Symmetric limits that hold every median and nine tenths of the ranges: a noisy band flattens nothing."""
    sizes = np.abs(np.array(ranges))
    sizes = sizes[np.isfinite(sizes).all(axis=1)]
    top = at_least
    if len(sizes):
        top = max(at_least, 1.1 * float(sizes[:, 1].max()), 1.15 * float(np.quantile(sizes.max(axis=1), 0.9)))
    axes.set_ylim(-top * room, top)


def _name_bands(axes: Axes, off: list[BandResidual]) -> None:
    """Write the names of the bands that are off along the top, the most significant ones where there are many."""
    if not off:
        return
    strongest = sorted(off, key=lambda item: -abs(item.significance))[:_NAMED]
    low, high = np.log10(axes.get_xlim())
    strongest.sort(key=lambda item: item.wave_um)
    wanted = [(np.log10(item.wave_um) - low) / (high - low) for item in strongest]
    for item, start, place in zip(strongest, wanted, spread_out(wanted, 0.045), strict=True):
        axes.annotate(
            item.band,
            xy=(start, 1.0),
            xytext=(place, 1.06),
            xycoords="axes fraction",
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=style.BAD,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": style.BAD, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )


def spread_out(wanted: list[float], gap: float) -> list[float]:
    """Places near the wanted ones (sorted), at least ``gap`` apart, inside 0.01 ... 0.99 as far as there is room."""
    places = np.array(wanted)
    for _ in range(60):
        for index in range(1, len(places)):
            lack = gap - (places[index] - places[index - 1])
            if lack > 0:
                places[index - 1] -= lack / 2
                places[index] += lack / 2
        places = np.clip(places, 0.01, 0.99)
    return [float(place) for place in places]
