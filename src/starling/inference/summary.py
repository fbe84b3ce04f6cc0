"""One row per galaxy: percentiles of every parameter and derived quantity, and whether the fit can be trusted."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import xarray as xr
from astropy import units
from astropy.table import Column, Table

_PERCENTILES = (16.0, 50.0, 84.0)
_SAMPLE = ("chain", "draw", "galaxy")
_WORST = {  # columns of diagnostics that are per parameter: the worst one
    "rhat_max": ("rhat", "max", "largest R-hat of any parameter"),
    "ess_bulk_min": ("ess_bulk", "min", "smallest bulk ESS of any parameter"),
    "ess_tail_min": ("ess_tail", "min", "smallest tail ESS of any parameter"),
}


def summary_table(tree: xr.DataTree) -> Table:
    """What is known of every galaxy, from all of the draws.

    Of every parameter and derived quantity percentiles 16, 50, 84 (columns ``NAME_16`` ...) and the value at the stored
    draw of the highest log density (``NAME_best``). Vector quantities get columns for every entry
    (``logsfr_ratios_1_50``, ``sfh_1_50``). ``chi2`` is the smallest of the stored predictions, ``n_bands`` the number
    of detections it counts. Then the worst R-hat and ESS of any parameter, and every quantity of the group
    ``diagnostics`` (and ``evidence``, where there is one) that has one value per galaxy. Tables on disk read an empty
    text as missing: ``flag`` is "ok" where the fit passed, and any other text "no" where it is empty. Columns have
    units (those that astropy has no name for are in the description) and descriptions.
    """
    table = Table({"id": np.asarray(tree["posterior"]["galaxy"]).astype(str)})
    best = _best(tree)
    for group in ("posterior", "derived"):
        for name, variable in tree[group].data_vars.items():
            if set(_SAMPLE) <= set(variable.dims):
                _add_quantity(table, str(name), variable.transpose(*_SAMPLE, ...), best)
    _add_known(table, tree["constant_data"].to_dataset())
    _add_chi2(table, tree)
    _add_diagnostics(table, tree["diagnostics"].to_dataset())
    if "evidence" in tree.children:
        _add_known(table, tree["evidence"].to_dataset())
    return table


def _best(tree: xr.DataTree) -> np.ndarray | None:
    """Which draw of all chains, one after another, has the highest log density, per galaxy; None where none has one."""
    if "sample_stats" not in tree.children or "lp" not in tree["sample_stats"]:
        return None
    density = tree["sample_stats"]["lp"].transpose(*_SAMPLE).values
    flat = density.reshape(-1, density.shape[-1])
    return np.argmax(np.where(np.isfinite(flat), flat, -np.inf), axis=0)


def _add_quantity(table: Table, name: str, variable: xr.DataArray, best: np.ndarray | None) -> None:
    """Percentiles and the best value of draws [chain, draw, galaxy, ...]."""
    draws = variable.values.reshape(-1, *variable.shape[2:])
    percentiles = np.percentile(draws, _PERCENTILES, axis=0)
    labels = [f"{percentile:.0f}" for percentile in _PERCENTILES]
    values = list(percentiles)
    if best is not None:
        index = best.reshape(1, -1, *[1] * (draws.ndim - 2))
        labels.append("best")
        values.append(np.take_along_axis(draws, index, axis=0)[0])
    for entry, columns in _entries(name, np.stack(values)):
        for label, column in zip(labels, columns, strict=True):
            _add(table, f"{entry}_{label}", column.astype(np.float32), variable.attrs)


def _entries(name: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Columns [statistic, galaxy] of values [statistic, galaxy, ...], under names of their own."""
    if values.ndim == 2:
        yield name, values
        return
    flat = values.reshape(*values.shape[:2], -1)
    for i in range(flat.shape[-1]):
        yield f"{name}_{i + 1}", flat[..., i]


def _add_chi2(table: Table, tree: xr.DataTree) -> None:
    observed = tree["observed_data"]
    used = observed["mask"] & ~observed["upper_limit"]
    pull = (observed["flux"] - tree["posterior_predictive"]["flux"]) / observed["flux_err_total"]
    chi2 = (pull.where(used, 0.0) ** 2).sum("band").min(("chain", "draw"))
    _add(
        table,
        "chi2",
        chi2.values.astype(np.float32),
        {"long_name": "smallest chi^2 of the stored predictions"},
    )
    counted = used.transpose("galaxy", "band").values.sum(axis=1)
    _add(table, "n_bands", counted, {"long_name": "detections that chi2 counts"})


def _add_diagnostics(table: Table, found: xr.Dataset) -> None:
    for name, (source, worst, meaning) in _WORST.items():
        if source in found:
            _add(table, name, getattr(found[source], worst)("parameter").values, {"long_name": meaning})
    _add_known(table, found)
    sentences = [str(sentence) or "ok" for sentence in found["flag"].values]
    table["flag"] = Column(sentences, description="what is wrong")


def _add_known(table: Table, data: xr.Dataset) -> None:
    """Every quantity that has one value per galaxy."""
    for name, value in data.data_vars.items():
        if value.dims == ("galaxy",):
            values = value.values
            if values.dtype.kind in "OSU":
                values = np.asarray([str(text) or "no" for text in values])
            _add(table, str(name), values, value.attrs)


def _add(table: Table, name: str, values: np.ndarray, attrs: dict) -> None:
    """A column with its unit where astropy has it, and its description."""
    text, meaning = str(attrs.get("units", "")), str(attrs.get("long_name", ""))
    unit = _unit(text)
    if text and unit is None:
        meaning = f"{meaning} ({text})" if meaning else text
    table[name] = Column(values, unit=unit, description=meaning or None)


@cache  # astropy takes long to find out that it does not know a unit
def _unit(text: str) -> units.UnitBase | None:
    try:
        return units.Unit(text) if text else None
    except ValueError:
        return None
