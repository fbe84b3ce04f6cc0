"""The discrepancy of two results: its distribution, and parameter by parameter."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import erfc

from starling.plotting import style
from starling.plotting.draws import label
from starling.plotting.matched import Matched
from starling.validation.discrepancy import CATASTROPHIC, summarise_discrepancy

_SMALLEST = 3e-3


def plot_discrepancy(matched: Matched, name_a: str = "A", name_b: str = "B") -> Figure:
    """Share of discrepancies above a value, and every galaxy's discrepancy in every sampled parameter.

    The dashed line on the left is what samples of these effective sizes would give if the posteriors were the same;
    diamonds on the right are the medians over galaxies, open squares catastrophic outliers. Where both results have
    the evidence, a third panel shows its difference.
    """
    table = matched.table[matched.table["sampled"]]
    names = list(dict.fromkeys(str(name) for name in table["name"]))
    wide = len(matched.evidence) > 0
    height = max(3.6, 0.24 * len(names) + 1.2)
    figure = style.new_figure(10.6 if wide else 8.4, height)
    widths = (1.0, 1.5, 0.8) if wide else (1.0, 1.5)
    axes = figure.subplots(1, len(widths), width_ratios=widths)
    _distribution(axes[0], table["discrepancy"].data, table["noise"].data)
    _by_parameter(axes[1], [(name, table["discrepancy"][table["name"] == name].data) for name in names])
    if wide:
        _evidence(axes[2], matched)
    n = len(set(table["id"]))
    heading = f"{name_a} against {name_b}: {n} galaxies, {len(names)} parameters"
    axes[1].set_title(heading, color=style.INK, fontsize=9.5, loc="left", parse_math=False)
    return figure


def _distribution(axes: Axes, values: np.ndarray, noise: np.ndarray) -> None:
    style.dress(axes, xlabel="discrepancy $D$", ylabel="share with a larger one")
    found = np.sort(np.maximum(values[np.isfinite(values)], _SMALLEST))
    if not found.size:
        style.note(axes, "no parameter is in both")
        return
    top = max(2 * CATASTROPHIC, 1.5 * float(found[-1]))
    axes.step(found, 1.0 - np.arange(found.size) / found.size, where="pre", color=style.MODEL, linewidth=1.6)
    expected = noise[np.isfinite(noise)]
    if expected.size:
        grid = np.geomspace(_SMALLEST, top, 200)
        # |normal| of each parameter's own width, averaged
        share = erfc(grid[:, None] / (np.sqrt(2.0) * expected)).mean(axis=1)
        axes.plot(
            grid,
            share,
            color=style.OTHER,
            linestyle="--",
            linewidth=1.1,
            label="noise of independent samples",
        )
    axes.axvline(CATASTROPHIC, color=style.BAD, linewidth=0.9, linestyle=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(_SMALLEST, top)
    axes.set_ylim(0.5 / found.size, 1.3)
    style.log_axis(axes.xaxis)
    style.log_axis(axes.yaxis)
    result = summarise_discrepancy(values)
    axes.set_title(
        f"median {result.median:.3f}, above {CATASTROPHIC:g}: {result.outliers} of {result.n}",
        color=style.INK,
        fontsize=9.5,
        loc="left",
    )
    style.legend(axes, loc="lower left")


def _by_parameter(axes: Axes, rows: list[tuple[str, np.ndarray]]) -> None:
    style.dress(axes, xlabel="discrepancy $D$ of each galaxy")
    for place, (_, values) in enumerate(rows):
        found = np.maximum(values[np.isfinite(values)], _SMALLEST)
        bad = found > CATASTROPHIC
        axes.plot(found[~bad], np.full((~bad).sum(), place), "o", color=style.MODEL, markersize=3, alpha=0.45)
        axes.plot(
            found[bad],
            np.full(bad.sum(), place),
            "s",
            markerfacecolor="none",
            markeredgecolor=style.BAD,
            markersize=6,
        )
        if found.size:
            axes.plot(np.median(found), place, "D", color=style.INK, markersize=4.5, zorder=5)
    axes.axvline(CATASTROPHIC, color=style.BAD, linewidth=0.9, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlim(_SMALLEST, max(2 * CATASTROPHIC, axes.get_xlim()[1]))
    style.log_axis(axes.xaxis)
    axes.set_yticks(range(len(rows)), [label(name).math for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)


def _evidence(axes: Axes, matched: Matched) -> None:
    table = matched.evidence
    style.dress(axes, xlabel=r"$\ln Z_A - \ln Z_B$")
    error = np.hypot(table["log_evidence_err_a"], table["log_evidence_err_b"])
    place = np.arange(len(table))
    axes.errorbar(
        table["difference"], place, xerr=error, fmt="o", color=style.MODEL, markersize=3.5, linewidth=0.9
    )
    axes.axvline(0.0, color=style.MUTED, linewidth=0.9)
    shown = len(table) <= 16
    axes.set_yticks(place if shown else [], [str(name) for name in table["id"]] if shown else [])
    axes.set_ylim(len(table) - 0.4, -0.6)
