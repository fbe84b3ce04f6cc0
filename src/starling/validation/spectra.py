"""How accurate a spectrum emulator is, in words and as a table, from the statistics in its header."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from starling.emulators.spectra.model import FAINTEST
from starling.emulators.spectra.statistics import BAR
from starling.validation.spectrum_gradients import (
    HEADINGS,
    spectrum_gradient_rows,
    spectrum_gradient_verdict,
)

_TITLES = {"prior": "prior", "training": "training distribution"}
_EDGES_AA = (1000.0, 2000.0, 4000.0, 11000.0, 300000.0)
_LIMITS = (1.0, 2.0, 3.0)  # per cent
_WINDOWS = {"all": "all", "above_2000": "over 2000 A"}


def spectrum_table(header: Mapping[str, Any]) -> Table:
    """Errors by set of draws and range of wavelengths, in per cent: how large the mean error of a spectrum is."""
    levels = header["accuracy"]["prior"]["levels"]
    table = Table(
        title="Mean error of a spectrum (per cent): so many spectra have less",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("draws", "pixels", *(f"{100 * level:g}%" for level in levels), "worst pixel, 99.9%"):
        table.add_column(heading, justify="left" if heading in ("draws", "pixels") else "right", no_wrap=True)
    for kind, title in _TITLES.items():
        for window, name in _WINDOWS.items():
            found = header["accuracy"][kind][window]
            worst = f"{100 * found['worst_999']:.1f} at {found['worst_999_aa']:.0f} A"
            table.add_row(title.split()[0], name, *(f"{100 * q:.2f}" for q in found["mean"]), worst)
    return table


def spectrum_card(header: Mapping[str, Any], figure: str, command: str, remake: str) -> str:
    """The model card of a spectrum emulator in Markdown; ``figure`` is the name of a picture of its errors."""
    config = header["config"]
    spectra, space = config["spectra"], header["space"]
    rows = [
        f"| `{p['name']}` | {p['description']} | {p['unit']} | {_prior_words(p['prior'])} |"
        for p in space["parameters"]
    ]
    networks = [
        f"| {role} | {n['architecture']['n_inputs']} | {n['architecture']['depth']} x {n['architecture']['width']} | "
        f"{n['architecture']['n_outputs']} |"
        for role, n in header["networks"].items()
    ]
    errors = []
    for kind, title in _TITLES.items():
        for window, name in _WINDOWS.items():
            found = header["accuracy"][kind][window]
            mean = " | ".join(f"{100 * q:.3f}" for q in found["mean"])
            worst = f"{100 * found['worst_999']:.1f} at {found['worst_999_aa']:.0f} A"
            errors.append(f"| {title} | {name} | {mean} | {100 * found['below']:.2f} | {worst} |")
    warning = "\n**SURROGATE: made from tables that are not astrophysics.**\n" if header["surrogate"] else ""
    what = (
        f"Rest-frame spectra of {spectra['low_aa']:g} to {spectra['high_aa']:g} A (vacuum), mean L_lambda in pixels, "
        f"Lsun/A per Msun formed, imitating: {header['simulator']['tables']}. Kind: {config['network']['kind']}. "
        f"Licence: {header['licence']}."
    )
    made = (
        f"Made {header['created']} by `{remake}` (configuration sha256 `{header['config_sha256']}`). "
        f"This card: `{command}`."
    )
    key = (
        "Mean over the pixels of a spectrum, per cent: so many spectra have less; then the share (per cent) of spectra "
        f"below {100 * BAR:g}%, and the 99.9% quantile in the worst pixel."
    )
    return "\n".join(
        [
            *(f"# {header['name']}", warning, what, "", made, "", "## Parameters", ""),
            *("| name | meaning | unit | prior |", "| --- | --- | --- | --- |", *rows, ""),
            *("Outside these intervals it extrapolates and does not say so.", "", "## Networks", ""),
            *("| of | inputs | hidden | outputs |", "| --- | --- | --- | --- |", *networks, ""),
            *("## Errors", "", spectrum_verdict(header), "", key, ""),
            "| draws | pixels | 68% | 95% | 99% | 99.9% | below | worst pixel, 99.9% |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *errors,
            *("", f"![Quantiles of the error against wavelength]({figure})", ""),
            *_gradient(header["accuracy"].get("gradient")),
        ]
    )


def _gradient(gradient: Mapping[str, Any] | None) -> list[str]:
    """The section of the card on gradients."""
    if gradient is None:
        return []
    rows = [f"| `{row[0]}` | {' | '.join(row[1:])} |" for row in spectrum_gradient_rows(gradient)]
    return [
        *("## Its gradient", ""),
        f"d ln L_lambda per prior sigma, root mean square over {gradient['n']} draws from the prior and all pixels.",
        *("", f"| {' | '.join(HEADINGS)} |", "| --- | --- | --- | --- | --- | --- |", *rows, ""),
        *(spectrum_gradient_verdict(gradient), ""),
    ]


def _prior_words(prior: Mapping[str, Any]) -> str:
    numbers = ", ".join(
        f"{key} {value:.4g}" for key, value in prior.items() if isinstance(value, int | float)
    )
    return f"{prior['kind'].replace('_', ' ')} ({numbers})"


def pixel_table(wave_aa: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> Table:
    """Errors by pixel and range of wavelength: share of the pixels in which 99.9% of spectra are within so much."""
    table = Table(
        title="Pixel by pixel: the error that 99.9% of spectra stay within (per cent)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("pixels", "median", *(f"below {limit:g}" for limit in _LIMITS), "worst"):
        table.add_column(heading, justify="left" if heading == "pixels" else "right", no_wrap=True)
    tail = 100.0 * quantiles[list(levels).index(max(levels))]
    for low, high in pairwise(_EDGES_AA):
        inside = (wave_aa >= low) & (wave_aa < high)
        if inside.any():
            part = tail[inside]
            shares = (f"{100.0 * np.mean(part < limit):.1f}%" for limit in _LIMITS)
            table.add_row(f"{low:g}-{high:g} A", f"{np.median(part):.2f}", *shares, f"{part.max():.1f}")
    return table


def spectrum_verdict(header: Mapping[str, Any]) -> str:
    """One paragraph: how many spectra are accurate to the bar, and how errors are counted."""
    prior = header["accuracy"]["prior"]
    below = 100.0 * prior["all"]["below"]
    failed = f" ({prior['n_failed']} more are not finite)" if prior["n_failed"] else ""
    return (
        f"{prior['n']} held-out spectra from the prior{failed}: {below:.2f}% have a mean error below "
        f"{100 * BAR:g}%. Errors are fractions of the spectrum, where it is above {FAINTEST:g} of its peak."
    )
