"""A whole run without its draws: what figures and tables of the sample need, gathered part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import xarray as xr

from starling.plotting.bands import BandFluxes, band_fluxes
from starling.plotting.draws import (
    CENTRAL,
    KEPT,
    central,
    draws,
    galaxy_ids,
    sampled_names,
    scalar_names,
    truth,
)

RANKS = "ranks"
"""The group with the share of draws below the truth, of every scalar that has one, and of all parameters ``JOINT``."""

JOINT = "joint"
"""The share of draws that are closer to one of them, the first, than the truth is."""

UNUSED = ("sfh", "sfh_edges_gyr", "lp", "diverging", "acceptance_rate", "n_steps", "remoteness")
"""Variables that a sample is not made of: a reader of parts can leave them out."""

_WHOLE = ("constant_data", "diagnostics", "truth")
_CHECKS = ("residual", "residual_rms", "flux_err", "flux_err_total")
_RIDGE = 1e-6  # on the diagonal of correlations: of two quantities that are one, say


@runtime_checkable
class Parts(Protocol):
    """A run whose draws stay on disk: ``starling.runs.StoredRun``."""

    def trees(self, leave_out: Sequence[str] = ()) -> Iterable[xr.DataTree]:
        """The parts, one after another."""

    def select(self, identifiers: Iterable[str]) -> xr.DataTree:
        """Some galaxies, in this order."""


class Sample(NamedTuple):
    """``tree`` has the galaxies of all parts and no draws but their quantiles; ``fluxes`` are theirs."""

    tree: xr.DataTree
    fluxes: BandFluxes


def gather(
    parts: Iterable[xr.DataTree], names: Sequence[str], only: Callable[[str], bool] = lambda _: True
) -> Sample:
    """One sample of all parts, of which one at a time is in memory; per galaxy and band some 40 bytes stay.

    Args:
        parts: trees of a fit, of different galaxies in the same bands.
        names: scalars whose quantiles are kept, where the parts have them; those with true values are in any case.
        only: which galaxies, by their ID.
    """
    trees, fluxes = [], []
    for part in parts:
        rows = np.flatnonzero([only(name) for name in galaxy_ids(part)])
        chosen = part if rows.size == len(galaxy_ids(part)) else part.isel(galaxy=rows)
        if rows.size:
            trees.append(_without_draws(chosen, names))
            fluxes.append(_single_precision(band_fluxes(chosen)))
    if not trees:
        raise ValueError("there is no galaxy to report on")
    # here, because it imports JAX, which the report of a tree in memory does not need
    from starling.runs.folder import merge

    merged = merge(trees)
    merged.attrs = dict(trees[0].attrs)
    return Sample(merged, _joined(fluxes))


def _without_draws(tree: xr.DataTree, names: Sequence[str]) -> xr.DataTree:
    known = scalar_names(tree)
    true = {name: truth(tree, name) for name in known}
    wanted = {*names} & {*known} or {*known[:5]}
    kept = [name for name in known if name in wanted or true[name] is not None or name == "zred"]
    galaxy = {"galaxy": list(galaxy_ids(tree))}
    middle = {name: (("quantile", "galaxy"), central(tree, name).astype(np.float32)) for name in kept}
    ranks = {
        name: ("galaxy", _rank(draws(tree, name), value)) for name, value in true.items() if value is not None
    }
    if compared := [name for name in sampled_names(tree) if true[name] is not None]:
        ranks[JOINT] = ("galaxy", joint_rank(tree, compared))
    observed = tree["observed_data"].to_dataset()
    groups = {name: tree[name].to_dataset() for name in _WHOLE if name in tree.children}
    groups["observed_data"] = observed[[name for name in _CHECKS if name in observed]]
    groups["observed_data"] = groups["observed_data"].assign_coords(
        galaxy | {"band": observed["band"].values}
    )
    sizes = tree["posterior"].sizes
    groups["posterior"] = xr.Dataset(coords={name: np.arange(sizes[name]) for name in ("chain", "draw")})
    groups[KEPT] = xr.Dataset(middle, {"quantile": list(CENTRAL)} | galaxy)
    if ranks:
        groups[RANKS] = xr.Dataset(ranks, galaxy)
    small = xr.DataTree.from_dict({name: data.load() for name, data in groups.items()})
    small.attrs = dict(tree.attrs)
    return small


def _rank(values: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The share of draws [draw, galaxy] below the truth, ties by half; NaN where either is not finite."""
    good = np.isfinite(values).all(axis=0) & np.isfinite(true)
    below = (values < true).mean(axis=0) + 0.5 * (values == true).mean(axis=0)
    return np.where(good, below, np.nan)


def joint_rank(tree: xr.DataTree, names: Sequence[str]) -> np.ndarray:
    """The share of draws closer to the first of them than the truth is; NaN where a value is not finite.

    Coverage of regions around a random point (Lemos et al. 2023, arXiv:2302.03026), here a draw of the posterior, with
    distances by the covariance of the draws. Copies of the point itself do not count.
    """
    values = np.stack([draws(tree, name) for name in names], axis=-1).swapaxes(0, 1)
    true = np.stack([np.asarray(truth(tree, name)) for name in names], axis=-1)
    good = np.isfinite(values).all(axis=(1, 2)) & np.isfinite(true).all(axis=1)
    values, true = (np.where(good.reshape(-1, *(1,) * (one.ndim - 1)), one, 0.0) for one in (values, true))
    width = values.std(axis=1)
    width = np.where(width > 0, width, 1.0)
    away, truth_away = (values - values[:, :1]) / width[:, None], (true - values[:, 0]) / width
    centred = away - away.mean(axis=1, keepdims=True)
    covariance = centred.swapaxes(1, 2) @ centred / centred.shape[1] + _RIDGE * np.eye(len(names))
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    squares = ((away @ root.swapaxes(1, 2)) ** 2).sum(axis=2)
    square_of_truth = ((root @ truth_away[..., None]) ** 2).sum(axis=(1, 2))
    others = squares > 0
    closer = (others & (squares < square_of_truth[:, None])).sum(axis=1) / np.maximum(others.sum(axis=1), 1)
    return np.where(good & others.any(axis=1), closer, np.nan)


def _single_precision(fluxes: BandFluxes) -> BandFluxes:
    flux, sigma, predicted, chi2 = (
        values.astype(np.float32) for values in (fluxes.flux, fluxes.sigma, fluxes.predicted, fluxes.chi2)
    )
    return fluxes._replace(flux=flux, sigma=sigma, predicted=predicted, chi2=chi2)


def _joined(pieces: Sequence[BandFluxes]) -> BandFluxes:
    first = pieces[0]
    if any(piece.bands != first.bands for piece in pieces):
        raise ValueError("the parts are not of the same bands: they are of different runs")

    def all_of(name: str) -> np.ndarray:
        return np.concatenate([getattr(piece, name) for piece in pieces])

    return first._replace(
        galaxies=tuple(name for piece in pieces for name in piece.galaxies),
        flux=all_of("flux"),
        sigma=all_of("sigma"),
        used=all_of("used"),
        limit=all_of("limit"),
        predicted=np.concatenate([piece.predicted for piece in pieces], axis=1),
        chi2=all_of("chi2"),
    )
