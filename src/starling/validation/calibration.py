"""How well an emulator knows its own errors: statistics of ``starling.emulators.calibrate`` in a table and words."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

_MOST = 0.1


def calibration_table(statistics: Mapping[str, Any]) -> Table:
    """Root mean square of error / sigma in bins of the predicted sigma, of all bands: 1 where sigma is right."""
    table = Table(
        title=f"Error / sigma (rms) on {statistics['n']} draws from the prior that the error model has not seen",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("predicted sigma", no_wrap=True)
    for heading in ("local", "constant"):
        table.add_column(heading, justify="right")
    n_bins = len(statistics["local"])
    rows = zip(statistics["local"], statistics["constant"], strict=True)
    for i, values in enumerate(rows):
        cells = [f"[red]{x:.3f}[/]" if abs(x - 1.0) > _MOST else f"{x:.3f}" for x in values]
        table.add_row(f"{100 * i // n_bins}-{100 * (i + 1) // n_bins}% of the draws", *cells)
    return table


def calibration_verdict(statistics: Mapping[str, Any]) -> str:
    """One paragraph: bins within 10%, the worst band, tails, the covariance, the domain."""
    by_band = np.asarray(statistics["local_by_band"])
    worst = int(np.argmax(np.abs(np.log(by_band))))
    outside = ", ".join(
        f"{100 * share:.3f}% of {name.replace('_', ' ')}" for name, share in statistics["outside"].items()
    )
    return (
        f"Band by band {100 * statistics['local_within_10']:.1f}% of the bins are within 10% of 1 "
        f"(constant sigma: {100 * statistics['constant_within_10']:.1f}%); all bins together are farthest from 1 in "
        f"{statistics['names'][worst]}, {by_band[worst]:.3f}. Median kurtosis of error / sigma "
        f"{statistics['local_kurtosis']:.1f} (constant: {statistics['constant_kurtosis']:.1f}; normal: 3); log "
        f"likelihood per band and galaxy up by {statistics['constant_surprise'] - statistics['local_surprise']:.3f}. "
        f"chi^2 per band with the full covariance {statistics['covariance_chi2']:.3f}. "
        f"Outside the domain: {outside}."
    )
