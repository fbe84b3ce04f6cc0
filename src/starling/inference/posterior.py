"""The result of a fit as an ArviZ-style ``xarray.DataTree``, saved as zarr or netCDF, read by plain xarray."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from starling.forward import PROPERTIES, ForwardModel
from starling.inference.band_quality import band_variables
from starling.inference.diagnostics import Diagnostics, Weights
from starling.inference.fit import Draws
from starling.inference.likelihood import ZERO_POINTS
from starling.inference.observation import Observation
from starling.inference.settings import SamplerSettings

_SAMPLE = ("chain", "draw", "galaxy")
_RATIO = re.compile(r"logsfr_ratios_(\d+)$")
_PIECE = 16384  # thetas evaluated at once: bounds memory, and one shape means one compilation


@jax.jit
def _predict(forward_model: ForwardModel, theta: Array) -> Array:
    return jax.vmap(forward_model)(theta)


@jax.jit
def _properties(forward_model: ForwardModel, theta: Array) -> dict[str, Array]:
    return jax.vmap(forward_model.properties)(theta)


def _in_pieces(function: Any, forward_model: ForwardModel, theta: np.ndarray) -> Any:
    """``function`` at theta [..., param], in pieces of equal size; leading axes kept."""
    flat = theta.reshape(-1, theta.shape[-1])
    size = min(_PIECE, len(flat))
    parts = []
    for start in range(0, len(flat), size):
        rows = np.minimum(np.arange(start, start + size), len(flat) - 1)
        parts.append(jax.tree.map(np.asarray, function(forward_model, jnp.asarray(flat[rows]))))
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(flat)], *parts)
    return jax.tree.map(lambda leaf: leaf.reshape(*theta.shape[:-1], *leaf.shape[1:]), whole)


def _sampled(values: np.ndarray, *extra: str, **attrs: str) -> xr.Variable:
    """A variable (chain, draw, galaxy, ...) from values [galaxy, chain, draw, ...]."""
    return xr.Variable((*_SAMPLE, *extra), np.moveaxis(np.asarray(values), 0, 2), attrs)


def _by_name(
    columns: Mapping[str, np.ndarray], variable: Any, attrs: Mapping[str, dict[str, str]]
) -> dict[str, Any]:
    """One variable per parameter; the SFR ratios gathered into one with a dimension ``sfr_ratio``."""
    out = {
        name: variable(value, **attrs.get(name, {}))
        for name, value in columns.items()
        if not _RATIO.match(name)
    }
    ratios = [name for name in columns if _RATIO.match(name)]
    if ratios:
        gathered = np.stack([columns[name] for name in ratios], axis=-1)
        out["logsfr_ratios"] = variable(gathered, "sfr_ratio", **attrs.get(ratios[0], {}))
    return out


def to_datatree(
    draws: Draws,
    observations: Observation,
    forward_model: ForwardModel,
    diagnostics: Diagnostics,
    *,
    galaxy: Sequence[str],
    settings: SamplerSettings,
    truth: Mapping[str, np.ndarray] | None = None,
    predictive_every: int = 10,
    attrs: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """Everything a fit found, with names, units and provenance, for readers that know nothing of this package.

    ``galaxy`` are the objects' ids; ``truth`` gives the true values per parameter where they are known;
    ``posterior_predictive`` keeps every ``predictive_every``-th draw; ``attrs`` (JSON-able) join those of the root.
    ``docs/posterior.md`` lists groups and variables. Raises ValueError when ids are not one per galaxy or not unique.
    """
    ids = np.asarray([str(one) for one in galaxy])
    n_galaxies, n_chains, n_draws, _ = draws.theta.shape
    if len(ids) != n_galaxies or len(set(ids)) != n_galaxies:
        raise ValueError(
            f"galaxy must give {n_galaxies} different ids, got {len(ids)} of which {len(set(ids))} differ"
        )
    space, bands = forward_model.space, np.asarray(forward_model.bands)
    described = {p.name: {"units": p.unit, "long_name": p.description} for p in space.parameters}
    columns = {name: draws.theta[..., space.index(name)] for name in draws.free}
    extra = {
        name: _sampled(value, *(f"{name}_{i}" for i in range(value.ndim - 3)))
        for name, value in draws.extra.items()
    }
    groups_of_bands = settings.errors.zero_points if ZERO_POINTS in extra else ()
    if groups_of_bands:
        sigma = np.asarray([group.sigma for group in groups_of_bands])
        extra[ZERO_POINTS] = _sampled(
            draws.extra[ZERO_POINTS] * sigma,
            "zero_point",
            units="1",
            long_name="factor on the model's flux, minus 1",
        )
    sample = {"chain": np.arange(n_chains), "draw": np.arange(n_draws), "galaxy": ids}
    ratio = {"sfr_ratio": [int(m[1]) for name in draws.free if (m := _RATIO.match(name))]}
    ratio = ratio if ratio["sfr_ratio"] else {}
    named = {"zero_point": [group.name for group in groups_of_bands]} if groups_of_bands else {}

    properties = _in_pieces(_properties, forward_model, draws.theta)
    trailing = {"sfh": ("sfh_bin",), "sfh_edges_gyr": ("sfh_edge",)}
    derived = {
        name: _sampled(
            value,
            *trailing.get(name, ()),
            units=PROPERTIES[name].unit,
            long_name=PROPERTIES[name].description,
        )
        for name, value in properties.items()
    }
    thinned = draws.theta[:, :, ::predictive_every]
    predicted = _in_pieces(_predict, forward_model, thinned)
    per_band, maggies = ("galaxy", "band"), {"units": "maggies"}
    score = draws.extra[ZERO_POINTS][:, :, ::predictive_every] if groups_of_bands else None
    of_bands = band_variables(observations, forward_model, settings, thinned, predicted, score)
    by_parameter = {"parameter": np.asarray(diagnostics.names), "galaxy": ids}
    groups = {
        "posterior": xr.Dataset(_by_name(columns, _sampled, described) | extra, sample | ratio | named),
        "derived": xr.Dataset(derived, sample),
        "sample_stats": xr.Dataset(
            {
                "diverging": _sampled(draws.diverging > 0, long_name="any transition since the draw before"),
                "lp": _sampled(draws.log_density, long_name="log density in the sampler's coordinates"),
                "acceptance_rate": _sampled(draws.acceptance_rate),
                "n_steps": _sampled(draws.n_steps, long_name="leapfrog steps"),
                "remoteness": _sampled(
                    draws.remoteness, long_name="above 1 outside what the emulator was trained on"
                ),
                "step_size": ("galaxy", draws.step_size),
                "n_modes": (
                    "galaxy",
                    draws.n_modes,
                    {"long_name": "starts that ended in modes of comparable mass"},
                ),
            },
            sample,
        ),
        "posterior_predictive": xr.Dataset(
            {"flux": _sampled(predicted, "band", **maggies)},
            sample | {"draw": sample["draw"][::predictive_every], "band": bands},
        ),
        "observed_data": xr.Dataset(
            {
                "flux": (per_band, np.asarray(observations.flux), maggies),
                "flux_err": (per_band, np.asarray(observations.flux_err), maggies),
                "mask": (per_band, np.asarray(observations.mask)),
                "upper_limit": (per_band, np.asarray(observations.upper_limit)),
            }
            | of_bands.observed,
            {"galaxy": ids, "band": bands},
        ),
        "constant_data": xr.Dataset(
            {
                "wave_effective_aa": (
                    "band",
                    np.asarray(forward_model.wave_effective_aa),
                    {"units": "Angstrom"},
                )
            }
            | {
                name: ("galaxy", np.asarray(value), described[name])
                for name, value in observations.fixed.items()
            },
            {"galaxy": ids, "band": bands},
        ),
        "diagnostics": xr.Dataset(
            {
                "rhat": (("galaxy", "parameter"), diagnostics.rhat),
                "ess_bulk": (("galaxy", "parameter"), diagnostics.ess_bulk),
                "ess_tail": (("galaxy", "parameter"), diagnostics.ess_tail),
                "divergences": ("galaxy", diagnostics.divergences),
                "outside_domain": (
                    "galaxy",
                    diagnostics.outside,
                    {"long_name": "share of the draws outside what the emulator was trained on"},
                ),
                "passed": ("galaxy", diagnostics.passed),
                "flag": ("galaxy", np.asarray(diagnostics.flag, dtype=str)),
            }
            | of_bands.galaxies,
            by_parameter,
        ),
    }
    if diagnostics.weights is not None:
        groups["diagnostics"] = groups["diagnostics"].assign(_of_weights(diagnostics.weights))
        groups["evidence"] = _evidence(diagnostics.weights, ids)
    if truth is not None:
        known = _by_name(
            {name: np.asarray(value) for name, value in truth.items()},
            lambda value, *extra, **attrs: (("galaxy", *extra), value, attrs),
            described,
        )
        given = {"sfr_ratio": [int(m[1]) for name in truth if (m := _RATIO.match(name))]}
        groups["truth"] = xr.Dataset(known, {"galaxy": ids} | (given if given["sfr_ratio"] else {}))
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(_versions()),
        "parameter_space": json.dumps(space.to_dict()),
        "sampler": json.dumps(asdict(settings)),
        "likelihood": settings.errors.words,
    } | {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in (attrs or {}).items()
    }
    return tree


def _of_weights(weights: Weights) -> dict[str, Any]:
    return {
        "stage": ("galaxy", np.asarray(weights.stage, dtype=str), {"long_name": "what settled the galaxy"}),
        "k_hat": ("galaxy", weights.k_hat, {"long_name": "PSIS k-hat of the weights"}),
        "ess_weights": ("galaxy", weights.ess, {"long_name": "effective sample size of the weights"}),
        "unlike_training": (
            "galaxy",
            np.asarray(weights.outside, dtype=str),
            {"long_name": "how it is unlike what the flow was trained for"},
        ),
    }


def _evidence(weights: Weights, ids: np.ndarray) -> xr.Dataset:
    """As a judge's result has it."""
    words = "ln Z, without -sum ln(error sqrt(2 pi)) of the bands"
    return xr.Dataset(
        {
            "log_evidence": ("galaxy", weights.log_evidence, {"long_name": words}),
            "log_evidence_err": ("galaxy", weights.log_evidence_err, {"long_name": "one sigma of ln Z"}),
        },
        {"galaxy": ids},
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in ("starling-sed", "jax", "numpyro", "blackjax", "numpy", "xarray"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a distribution"
    return found


def save(tree: xr.DataTree, path: str | Path) -> Path:
    """Write a tree to ``path``: a zarr store (.zarr) or a netCDF file (.nc); an older one there is replaced.

    Written beside it first and moved into place whole, so an interrupted write leaves no half result.
    """
    path = Path(path)
    if path.suffix not in (".zarr", ".nc"):
        raise ValueError(f"{path}: end the name in .zarr or .nc to say which format to write")
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        if path.suffix == ".zarr":
            # format 2: strings and consolidated metadata are part of its specification, not yet of format 3's
            tree.to_zarr(partial, mode="w", zarr_format=2)
        else:
            # made in memory first: HDF5 ends the process where it cannot write its last bytes to a full disk
            partial.write_bytes(tree.to_netcdf(None, engine="h5netcdf", encoding=_packed(tree)))
    except OSError:
        _remove(partial)
        raise
    _remove(path)
    partial.rename(path)
    return path


def _packed(tree: xr.DataTree) -> dict[str, Any]:
    packed = {"zlib": True, "complevel": 4, "shuffle": True}
    return {
        node.path: {
            name: packed for name, value in node.data_vars.items() if value.dtype.kind in "fiu" and value.ndim
        }
        for node in tree.subtree
    }


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def open_posterior(path: str | Path) -> xr.DataTree:
    """Open a saved tree (lazily); plain ``xarray.open_datatree`` does the same. ValueError for other file names."""
    path = Path(path)
    if path.suffix not in (".zarr", ".nc"):
        raise ValueError(f"{path}: a saved posterior ends in .zarr or .nc")
    return xr.open_datatree(path, engine="zarr" if path.suffix == ".zarr" else "h5netcdf")
