"""One row per galaxy: percentiles of every parameter and derived quantity, and whether the fit can be trusted."""

import numpy as np
import xarray as xr
from astropy.table import Table

_PERCENTILES = (16.0, 50.0, 84.0)


def summary_table(tree: xr.DataTree) -> Table:
    """Percentiles 16, 50, 84 (columns ``NAME_16`` ...), best chi^2 and diagnostics of every galaxy.

    Vector quantities get one column per entry (``logsfr_ratios_1_50``, ``sfh_1_50``). ``chi2`` is the smallest of the
    stored predictions, ``n_bands`` the number of detections it counts. Units as in the tree.
    ``flag`` is "ok" where the fit passed: tables on disk read an empty text as missing.
    """
    table = Table({"id": np.asarray(tree["posterior"]["galaxy"]).astype(str)})
    for group in ("posterior", "derived"):
        for name, variable in tree[group].data_vars.items():
            if "galaxy" not in variable.dims:
                continue
            values = np.percentile(
                variable.transpose("chain", "draw", "galaxy", ...).values, _PERCENTILES, axis=(0, 1)
            )
            for label, column in _columns(str(name), values):
                for percentile, entry in zip(_PERCENTILES, column, strict=True):
                    full = f"{label}_{percentile:.0f}"
                    table[full] = entry.astype(np.float32)
                    table[full].description = variable.attrs.get("long_name", "")
    for name, value in tree["constant_data"].data_vars.items():
        if value.dims == ("galaxy",):
            table[str(name)] = value.values
    observed, predicted = tree["observed_data"], tree["posterior_predictive"]["flux"]
    used = np.asarray(observed["mask"] & ~observed["upper_limit"])
    pull = (observed["flux"] - predicted) / observed["flux_err_total"]
    chi2 = (pull.where(observed["mask"] & ~observed["upper_limit"], 0.0) ** 2).sum("band")
    table["chi2"] = chi2.min(("chain", "draw")).values.astype(np.float32)
    table["n_bands"] = used.sum(axis=1)
    found = tree["diagnostics"]
    table["rhat_max"] = found["rhat"].max("parameter").values
    table["ess_bulk_min"] = found["ess_bulk"].min("parameter").values
    for name in ("divergences", "outside_domain", "passed", "flag"):
        if name not in found:  # trees of earlier versions
            continue
        table[name] = found[name].values
    table["flag"] = [str(sentence) or "ok" for sentence in table["flag"]]
    return table


def _columns(name: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Columns [percentile, galaxy] of values [percentile, galaxy, ...]."""
    if values.ndim == 2:
        return [(name, values)]
    flat = values.reshape(*values.shape[:2], -1)
    return [(f"{name}_{i + 1}", flat[..., i]) for i in range(flat.shape[-1])]
