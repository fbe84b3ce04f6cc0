"""Reading the tree of a fit: galaxies, scalar draws under their flat names, labels, quantiles.

The layout is that of ``starling.inference``: groups ``posterior``, ``derived``, ``observed_data``,
``posterior_predictive``, ``constant_data``, ``diagnostics`` and, for simulated galaxies, ``truth``. Nothing
is computed from a model here.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
import xarray as xr

VECTOR_DIMENSION = "sfr_ratio"
"""The dimension that gathers ``logsfr_ratios_1`` ... ``logsfr_ratios_6`` in the posterior."""

MAIN_NAMES = (
    "log_stellar_mass",
    "sfr_100",
    "log_ssfr_100",
    "mwa",
    "a_v",
    "logzsol",
    "zred",
    "logmass",
    "dust2",
    "dust_index",
    "gas_logz",
)
"""What readers ask for first, in that order."""

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
CENTRAL = (0.16, 0.5, 0.84)
KEPT = "quantiles"
"""The group of a tree without draws (``starling.plotting.sample``) that has :data:`CENTRAL` of some scalars."""


class Label(NamedTuple):
    """How a quantity is named: ``math`` in figures (mathtext), ``text`` in HTML, ``unit`` in both."""

    math: str
    text: str
    unit: str

    @property
    def axis(self) -> str:
        """The label of an axis, with the unit."""
        return f"{self.math} [{self.unit}]" if self.unit else self.math

    @property
    def heading(self) -> str:
        """The heading of a table's column, with the unit."""
        return f"{self.text} [{self.unit}]" if self.unit else self.text


_SUN = "M$_{\\odot}$"
_LABELS = {
    "logmass": Label(rf"$\log\,M_{{\rm formed}}$/{_SUN}", "log M formed/M☉", ""),
    "log_stellar_mass": Label(rf"$\log\,M_\star$/{_SUN}", "log M★/M☉", ""),
    "sfr_30": Label(r"SFR$_{30}$", "SFR 30 Myr", "M☉/yr"),
    "sfr_100": Label(r"SFR$_{100}$", "SFR 100 Myr", "M☉/yr"),
    "log_ssfr_100": Label(r"log sSFR$_{100}$", "log sSFR 100 Myr", "1/yr"),
    "mwa": Label("mass-w. age", "mass-weighted age", "Gyr"),
    "t50": Label(r"$t_{50}$", "t50", "Gyr"),
    "a_v": Label(r"$A_V$", "A_V", "mag"),
    "u_minus_v": Label(r"$U-V$", "U−V", "mag"),
    "v_minus_j": Label(r"$V-J$", "V−J", "mag"),
    "log_lir": Label(r"$\log\,L_{\rm IR}$/L$_{\odot}$", "log L_IR/L☉", ""),
    "zred": Label("redshift", "z", ""),
    "logzsol": Label(r"$\log\,Z_\star$/Z$_{\odot}$", "log Z★/Z☉", ""),
    "gas_logz": Label(r"$\log\,Z_{\rm gas}$/Z$_{\odot}$", "log Z_gas/Z☉", ""),
    "dust2": Label(r"$\hat\tau_2$", "dust2 (τ₂)", ""),
    "dust_index": Label("dust index", "dust index", ""),
    "dust1_fraction": Label(r"$\hat\tau_1/\hat\tau_2$", "dust1 fraction", ""),
    "log_fagn": Label(r"$\log\,f_{\rm AGN}$", "log f_AGN", ""),
    "log_agn_tau": Label(r"$\log\,\tau_{\rm AGN}$", "log τ_AGN", ""),
    "duste_qpah": Label(r"$Q_{\rm PAH}$", "Q_PAH", "%"),
    "duste_umin": Label(r"$U_{\rm min}$", "U_min", ""),
    "joint": Label("all parameters", "all parameters together", ""),
    "log_duste_gamma": Label(r"$\log\,\gamma_{\rm dust}$", "log γ", ""),
}


def label(name: str) -> Label:
    """The label of a parameter or derived quantity; a name that is not known stands for itself."""
    if name in _LABELS:
        return _LABELS[name]
    if name.startswith("logsfr_ratios_"):
        index = int(name.rsplit("_", 1)[1])
        return Label(f"log SFR ratio {index}/{index + 1}", f"log SFR ratio {index}/{index + 1}", "")
    return Label(name.replace("$", r"\$"), name, "")


def dataset(tree: xr.DataTree, group: str) -> xr.Dataset:
    """The group as a dataset.

    Raises:
        ValueError: the tree has no such group; the message lists those that it has.
    """
    if group not in tree.children:
        raise ValueError(f"the tree has no group {group!r}; it has {sorted(tree.children)}")
    return tree[group].to_dataset()


def galaxy_ids(tree: xr.DataTree) -> tuple[str, ...]:
    """The object IDs, in the order of the tree."""
    observed = dataset(tree, "observed_data")
    return tuple(str(identifier) for identifier in observed["galaxy"].values)


def galaxy_position(tree: xr.DataTree, galaxy: str | int) -> int:
    """Position of a galaxy given by its ID (``str``) or by its position (``int``, negative counts from the end).

    Raises:
        ValueError: no such ID or position; the message names the nearest IDs.
    """
    identifiers = galaxy_ids(tree)
    if isinstance(galaxy, str):
        if galaxy in identifiers:
            return identifiers.index(galaxy)
        near = get_close_matches(galaxy, identifiers, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else f"; the first is {identifiers[0]!r}"
        raise ValueError(f"no galaxy with ID {galaxy!r} among {len(identifiers)}{hint}")
    if not -len(identifiers) <= galaxy < len(identifiers):
        raise ValueError(f"galaxy number {galaxy} is out of range for {len(identifiers)} galaxies")
    return galaxy % len(identifiers)


def scalar_names(tree: xr.DataTree) -> tuple[str, ...]:
    """Flat names of every scalar with draws: free parameters in order, then derived quantities."""
    if KEPT in tree.children:
        return tuple(str(name) for name in dataset(tree, KEPT).data_vars)
    return (*sampled_names(tree), *_names(tree, "derived"))


def sampled_names(tree: xr.DataTree) -> tuple[str, ...]:
    """Flat names of the free parameters, in order."""
    return _names(tree, "posterior")


def _names(tree: xr.DataTree, group: str) -> tuple[str, ...]:
    names: list[str] = []
    if group in tree.children:
        for name, variable in dataset(tree, group).data_vars.items():
            extra = set(variable.dims) - {"chain", "draw", "galaxy"}
            if not extra:
                names.append(str(name))
            elif extra == {VECTOR_DIMENSION}:
                names += [f"{name}_{index}" for index in np.atleast_1d(variable[VECTOR_DIMENSION].values)]
    return tuple(names)


def main_first(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those of :data:`MAIN_NAMES` first."""
    return (
        *(name for name in MAIN_NAMES if name in names),
        *(name for name in names if name not in MAIN_NAMES),
    )


def draws(tree: xr.DataTree, name: str, galaxy: int | None = None) -> np.ndarray:
    """Draws of one scalar under its flat name, chains joined: shape ``(draw, galaxy)``, or ``(draw,)`` of one galaxy.

    Raises:
        ValueError: the tree has no draws of that name.
    """
    variable = _find(tree, name)
    if variable is None:
        raise ValueError(f"the tree has no draws of {name!r}; it has {', '.join(scalar_names(tree))}")
    variable = variable.transpose("chain", "draw", "galaxy")
    values = np.asarray(
        variable.values if galaxy is None else variable.isel(galaxy=galaxy).values, dtype=float
    )
    return values.reshape(-1, *values.shape[2:])


def central(tree: xr.DataTree, name: str) -> np.ndarray:
    """The quantiles :data:`CENTRAL` of one scalar, shape ``(3, galaxy)``, also of a tree without draws.

    Raises:
        ValueError: the tree has neither of that name.
    """
    if KEPT in tree.children and name in dataset(tree, KEPT):
        return np.asarray(dataset(tree, KEPT)[name].transpose("quantile", "galaxy").values, dtype=float)
    return quantiles(draws(tree, name), CENTRAL)


def truth(tree: xr.DataTree, name: str) -> np.ndarray | None:
    """True values of one scalar, shape ``(galaxy,)``, or ``None`` where the tree does not know them."""
    if "truth" not in tree.children:
        return None
    variable = _pick(dataset(tree, "truth"), name)
    if variable is None or variable.dims != ("galaxy",):
        return None
    values = np.asarray(variable.values, dtype=float)
    return values if np.isfinite(values).any() else None


def redshifts(tree: xr.DataTree) -> np.ndarray:
    """Redshift of each galaxy: the fixed one, or the posterior median; NaN where the tree holds neither."""
    if "constant_data" in tree.children:
        constant = dataset(tree, "constant_data")
        if "zred" in constant:
            return np.broadcast_to(np.asarray(constant["zred"].values, dtype=float), (len(galaxy_ids(tree)),))
    if "zred" in scalar_names(tree):
        return central(tree, "zred")[1]
    return np.full(len(galaxy_ids(tree)), np.nan)


def passed(tree: xr.DataTree) -> np.ndarray:
    """Which galaxies passed the checks of convergence, shape ``(galaxy,)``."""
    return np.asarray(dataset(tree, "diagnostics")["passed"].values, dtype=bool)


def quantiles(values: np.ndarray, levels: tuple[float, ...] = QUANTILES) -> np.ndarray:
    """Quantiles over the first axis, draws that are not finite left out; NaN where no draw is finite."""
    values = np.where(np.isfinite(values), values, np.nan)
    empty = np.isnan(values).all(axis=0)
    filled = np.where(empty, 0.0, values)
    clean = not np.isnan(filled).any()
    found = np.quantile(filled, levels, axis=0) if clean else np.nanquantile(filled, levels, axis=0)
    return np.where(empty, np.nan, found)


def _find(tree: xr.DataTree, name: str) -> xr.DataArray | None:
    for group in ("posterior", "derived"):
        if group in tree.children and (variable := _pick(dataset(tree, group), name)) is not None:
            return variable
    return None


def _pick(data: xr.Dataset, name: str) -> xr.DataArray | None:
    if name in data.data_vars:
        return data[name]
    stem, _, index = name.rpartition("_")
    if stem in data.data_vars and VECTOR_DIMENSION in data[stem].dims and index.isdigit():
        number = int(index)
        if number in np.atleast_1d(data[stem][VECTOR_DIMENSION].values):
            return data[stem].sel({VECTOR_DIMENSION: number}, drop=True)
    return None
