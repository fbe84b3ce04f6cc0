"""How accurate a spectrum emulator is, in words and as a table, from the statistics in its header."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from starling.emulators.spectra.model import FAINTEST
from starling.emulators.spectra.statistics import BAR

_TITLES = {"prior": "prior", "training": "training distribution"}
_WINDOWS = {"all": "all pixels", "above_2000": "redward of 2000 A"}


def spectrum_table(header: Mapping[str, Any]) -> Table:
    """Errors by set of draws and range of wavelengths, in per cent: how large the mean error of a spectrum is."""
    levels = header["accuracy"]["prior"]["levels"]
    table = Table(
        title="Mean error of a spectrum (per cent): so many spectra have less",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("draws", "pixels", *(f"{100 * level:g}%" for level in levels), "99.9%, worst pixel"):
        table.add_column(heading, justify="left" if heading in ("draws", "pixels") else "right", no_wrap=True)
    for kind, title in _TITLES.items():
        for window, name in _WINDOWS.items():
            found = header["accuracy"][kind][window]
            worst = f"{100 * found['worst_999']:.2f} at {found['worst_999_aa']:.0f} A"
            table.add_row(title, name, *(f"{100 * q:.3f}" for q in found["mean"]), worst)
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
