"""Colours, figures without global state, and SVG that follows the reader's light or dark theme.

Every figure of this package is a :class:`matplotlib.figure.Figure` made directly, never through ``pyplot``,
so nothing here keeps a figure alive, picks a backend or opens a window. The colours are distinguishable
with the common forms of colour-blindness, and no figure tells two things apart by colour alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

INK = "#1f2328"
MUTED = "#636c76"
GRID = "#d8dee4"
PAPER = "#ffffff"
MODEL = "#0b66a8"
TRUTH = "#b84a0e"
OTHER = "#00755c"
BAD = "#a3237b"

DARK: Mapping[str, str] = {
    INK: "#e6e8eb",
    MUTED: "#9aa4b2",
    GRID: "#343b45",
    PAPER: "#171a1f",
    MODEL: "#6db9f2",
    TRUTH: "#ff9e52",
    OTHER: "#3fcfa5",
    BAD: "#f48bcb",
}
"""The colour that each colour above turns into on a dark page."""

VARIABLES: Mapping[str, str] = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    MODEL: "--model",
    TRUTH: "--truth",
    OTHER: "--other",
    BAD: "--bad",
}
"""The CSS custom property that stands for each colour in :func:`to_svg` and in the report's style sheet."""

_FONT_SIZE = 9.5
_FEWEST_TICKS, _MOST_TICKS = 3, 6
_TICK_HEADS = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
    tuple(np.arange(1.0, 10.0, 0.25)),
)
_LABELLED_WAVES_UM = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 24.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


def new_figure(width_in: float, height_in: float, margins: Mapping[str, float] | None = None) -> Figure:
    """An empty figure.

    Args:
        width_in: width in inches.
        height_in: height in inches.
        margins: where the axes lie (as of ``Figure.subplots_adjust``), which saves the pass over all text
            of the constrained layout that places them otherwise.
    """
    engine = None if margins else ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(width_in, height_in), layout=engine)
    if margins:
        figure.subplots_adjust(**margins)
    figure.patch.set_facecolor(PAPER)
    return figure


def some(chosen: np.ndarray, most: int = 800) -> np.ndarray:
    """Of the marked ones (bool) every n-th, so that at most ``most`` are left: what a drawing of points can hold."""
    step = max(1, -(-int(chosen.sum()) // most))
    kept = np.zeros_like(chosen)
    kept[np.flatnonzero(chosen)[::step]] = True
    return kept


def dress(axes: Axes, *, xlabel: str = "", ylabel: str = "", title: str = "", grid: bool = True) -> None:
    """Give axes the look of the house: light frame, inward ticks, labels with units, text in the ink colour."""
    axes.set_facecolor(PAPER)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
        spine.set_linewidth(0.8)
    axes.tick_params(which="both", direction="in", color=MUTED, labelcolor=INK, labelsize=_FONT_SIZE - 1.0)
    axes.set_xlabel(xlabel, color=INK, fontsize=_FONT_SIZE)
    axes.set_ylabel(ylabel, color=INK, fontsize=_FONT_SIZE)
    if title:
        axes.set_title(title, color=INK, fontsize=_FONT_SIZE, loc="left")
    if grid:
        axes.grid(visible=True, which="major", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)


def legend(axes: Axes, **options: object) -> None:
    """A frameless legend in the ink colour; nothing where nothing is labelled."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        settings: dict[str, object] = {
            "frameon": False,
            "fontsize": _FONT_SIZE - 1.5,
            "labelcolor": INK,
        } | options
        axes.legend(handles, labels, **settings)


def note(axes: Axes, text: str, *, x: float = 0.03, y: float = 0.97, color: str = INK) -> None:
    """Plain text (never read as mathtext) in the corner of axes; ``x`` and ``y`` are fractions of the axes."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        ha="left" if x < 0.5 else "right",
        va="top" if y > 0.5 else "bottom",
        fontsize=_FONT_SIZE - 1.5,
        color=color,
        parse_math=False,
        zorder=10,
    )


def plain(value: float, _position: int | None = None) -> str:
    """A tick label without powers of ten between 0.0001 and 10 000."""
    if value == 0:
        return "0"
    if 0.99e-4 < abs(value) < 1e4:
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    exponent = int(np.floor(np.log10(abs(value))))
    mantissa = value / 10.0**exponent
    head = "" if np.isclose(mantissa, 1.0) else rf"{mantissa:g}\times"
    return rf"${head}10^{{{exponent}}}$"


def log_axis(axis: Axis, ticks: Sequence[float] = ()) -> None:
    """Ticks with plain numbers on a logarithmic axis whose limits stand: the given ones, or about four round ones."""
    low, high = sorted(axis.get_view_interval())
    if not ticks:
        powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for heads in _TICK_HEADS:
            candidates = np.sort(np.outer(powers, heads).ravel())
            ticks = [float(tick) for tick in candidates if low <= tick <= high]
            if len(ticks) >= _FEWEST_TICKS:
                break
        ticks = ticks[:: -(-len(ticks) // _MOST_TICKS)] if ticks else [low, high]
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(plain))


def wavelength_axis(axes: Axes, wave_um: np.ndarray) -> None:
    """A logarithmic wavelength axis in micrometres around the bands, with at most eight labelled ticks."""
    low, high = float(np.min(wave_um)) / 1.25, float(np.max(wave_um)) * 1.25
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    inside = [wave for wave in _LABELLED_WAVES_UM if low <= wave <= high]
    step = -(-len(inside) // 8)
    log_axis(
        axes.xaxis,
        inside[::step] if len(inside) > 1 else sorted({float(wave_um.min()), float(wave_um.max())}),
    )


def limit_marker() -> Path:
    """The marker of an upper limit: a bar with an arrow down from it, the same length on any axis."""
    points = [(-0.5, 0.0), (0.5, 0.0), (0.0, 0.0), (0.0, -1.7), (-0.3, -1.2), (0.0, -1.7), (0.3, -1.2)]
    codes = [Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.LINETO]
    return Path(points, codes)


def to_svg(figure: Figure, prefix: str, alternative: str) -> str:
    """One ``<svg>`` element for embedding in HTML, its colours replaced by CSS custom properties.

    Args:
        figure: a figure drawn with the colours of this module.
        prefix: put before each identifier of the drawing, so that several drawings live in one page;
            letters and digits.
        alternative: what the figure shows, for those who cannot see it.

    Returns:
        The element, without XML declaration, comments or metadata. Text is drawn as paths: it needs no
        font. Coordinates are rounded to a hundredth of a point.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\b(id="|href="#)|(url\(#)', rf"\g<0>{prefix}-", text)
    text = re.sub(r' (?:d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.replace(
        "<svg ", f'<svg role="img" aria-label="{escape(alternative, quote=True)}" ', 1
    ).strip()
