"""The result of the judge in the layout of a fit: equally weighted draws, what they are worth, and the evidence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy.special import ndtri

from starling.forward import ForwardModel
from starling.inference.convergence import Thresholds, convergence
from starling.inference.diagnostics import Diagnostics, outside_domain
from starling.inference.fit import Draws
from starling.inference.nested.record import Record
from starling.inference.nested.settings import NestedSettings
from starling.inference.observation import Observation, check
from starling.inference.posterior import to_datatree
from starling.inference.settings import SamplerSettings

N_CHAINS = 4


def systematic(
    rng: np.random.Generator, weight: Float[np.ndarray, " sample"], n: int
) -> Int[np.ndarray, " n"]:
    """``n`` indices, each sample floor or ceil of n times its weight times, in random order."""
    edges = np.cumsum(weight) / np.sum(weight)
    index = np.searchsorted(edges, (np.arange(n) + rng.random()) / n)
    return rng.permutation(np.minimum(index, len(weight) - 1))


def chains_of(
    record: Record, n_draws: int, seed: int, n_chains: int = N_CHAINS
) -> Int[np.ndarray, "chain draw"]:
    """Positions of equally weighted draws, each chain from its own share of the live points.

    Points that replaced each other are of one chain, so that the chains are as independent as parts of one run can be,
    and their R-hat tells of the noise of the run (not of what all of it missed: that takes a second run).
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(record.strand % n_chains == chain) for chain in range(n_chains)]
    return np.stack([group[systematic(rng, record.weight[group], n_draws)] for group in groups])


def effective_sizes(
    values: Float[np.ndarray, "sample column"], weight: Float[np.ndarray, " sample"]
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Bulk and tail effective sizes of weighted samples: of the mean of normal scores, and of the 5% and 95% quantiles.

    The independent draws with the same variance of the estimate, sum w (z - m)^2 / sum w^2 (z - m)^2.
    """
    order = np.argsort(values, axis=0)
    cumulative = np.cumsum(weight[order], axis=0) - 0.5 * weight[order]
    rank = np.empty_like(cumulative)
    np.put_along_axis(rank, order, cumulative, axis=0)
    bulk = _worth(ndtri(np.clip(rank, 1e-12, 1 - 1e-12)), weight)
    low, high = (_worth((rank <= level).astype(float), weight) for level in (0.05, 0.95))
    return bulk, np.minimum(low, high)


def _worth(z: Float[np.ndarray, "sample column"], weight: Float[np.ndarray, " sample"]) -> np.ndarray:
    off = (z - weight @ z) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weight @ off) / (weight**2 @ off)


def nested_tree(
    records: Sequence[Record | None],
    observations: Observation,
    forward_model: ForwardModel,
    *,
    galaxy: Sequence[str],
    settings: NestedSettings,
    seed: int = 0,
    failures: Sequence[str] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """The tree of a fit (``to_datatree``) from the records of galaxies, with a group ``nested`` that has the evidence.

    A galaxy without a record gets draws of NaN and a flag with its reason in ``failures``. ``ess_bulk`` and
    ``ess_tail`` are those of the weights. Statistics of Hamiltonian chains have no meaning here: no divergences, no
    steps. Raises ValueError where ids are not one per galaxy or not unique.
    """
    reasons = list(failures or [""] * len(records))
    problems = [
        "; ".join(filter(None, words))
        for words in zip(check(observations, forward_model), reasons, strict=True)
    ]
    free = forward_model.space.free(observations.fixed)
    shape = N_CHAINS, settings.n_draws
    draws = draws_of(records, forward_model.space.names, free, shape, seed, problems)
    diagnostics = diagnose_records(records, draws, Thresholds())
    as_chains = SamplerSettings(
        error_floor=settings.error_floor, model_error=settings.model_error, errors=settings.errors
    )
    tree = to_datatree(
        draws, observations, forward_model, diagnostics, galaxy=galaxy, settings=as_chains, attrs=attrs
    )
    tree.attrs["sampler"] = json.dumps({"kind": "nested", "dynesty": version("dynesty")} | asdict(settings))
    tree["nested"] = xr.DataTree(_evidence(records, galaxy))
    return tree


def draws_of(
    records: Sequence[Record | None],
    names: tuple[str, ...],
    free: tuple[str, ...],
    shape: tuple[int, int],
    seed: int,
    problems: Sequence[str],
) -> Draws:
    """Equally weighted draws, ``shape`` chains of so many; NaN where there is no record."""
    n = len(records)
    theta = np.full((n, *shape, len(names)), np.nan, np.float32)
    remote, log_density = (np.full((n, *shape), np.nan, np.float32) for _ in range(2))
    like = next((record.extra for record in records if record is not None), {})
    extra = {name: np.full((n, *shape, *value.shape[1:]), np.nan) for name, value in like.items()}
    for i, record in enumerate(records):
        if record is None:
            continue
        chosen = chains_of(record, shape[1], seed, shape[0])
        theta[i], remote[i] = record.theta[chosen], record.remoteness[chosen]
        log_density[i] = record.log_likelihood[chosen]
        for name, value in record.extra.items():
            extra[name][i] = value[chosen]
    return Draws(
        names=names,
        free=free,
        theta=theta,
        remoteness=remote,
        extra=extra,
        log_density=log_density,
        acceptance_rate=np.full((n, *shape), np.nan, np.float32),
        diverging=np.zeros((n, *shape), bool),
        n_steps=np.zeros((n, *shape), int),
        step_size=np.full(n, np.nan),
        n_modes=np.zeros(n, int),
        problems=tuple(problems),
    )


def diagnose_records(records: Sequence[Record | None], draws: Draws, limits: Thresholds) -> Diagnostics:
    """What the weighted samples are worth, and in words what is wrong."""
    columns = [draws.names.index(name) for name in draws.free]
    rhat, _, _ = convergence(np.moveaxis(draws.theta[..., columns], 0, 2))
    bulk, tail = (np.full(rhat.shape, np.nan) for _ in range(2))
    for i, record in enumerate(records):
        if record is not None:
            bulk[i], tail[i] = effective_sizes(record.theta[:, columns].astype(float), record.weight)
    outside = outside_domain(draws.remoteness)
    flags = tuple(
        "; ".join(_sentences(record, draws.problems[i], draws.free, rhat[i], bulk[i], outside[i], limits))
        for i, record in enumerate(records)
    )
    passed = np.array([flag == "" for flag in flags])
    return Diagnostics(draws.free, rhat, bulk, tail, np.zeros(len(records), int), outside, passed, flags)


def _sentences(
    record: Record | None,
    problem: str,
    names: tuple[str, ...],
    rhat: np.ndarray,
    bulk: np.ndarray,
    outside: float,
    limits: Thresholds,
) -> list[str]:
    """What is wrong with one galaxy."""
    words = [problem] if problem else []
    if record is None:
        return words or ["it was not sampled"]
    if not record.finished:
        words.append(f"stopped after {record.n_calls} likelihood calls, before the evidence had converged")
    still = [name for name, value in zip(names, rhat, strict=True) if not np.isfinite(value)]
    if still:
        words.append(f"no movement in {', '.join(still)}")
    worst, least = int(np.argmax(np.nan_to_num(rhat))), int(np.argmin(np.nan_to_num(bulk)))
    if rhat[worst] >= limits.rhat:
        words.append(
            f"parts of the run disagree: R-hat not below {limits.rhat:g} in {names[worst]} ({rhat[worst]:.3f})"
        )
    if not bulk[least] >= limits.ess_bulk:
        words.append(
            f"too few independent samples: bulk ESS below {limits.ess_bulk:g} in {names[least]} ({bulk[least]:.0f})"
        )
    if outside > limits.outside:
        words.append(f"{100 * outside:.1f}% of the draws are outside what the emulator was trained on")
    return words


def _evidence(records: Sequence[Record | None], galaxy: Sequence[str]) -> xr.Dataset:
    def column(value: Any, long_name: str) -> tuple[str, np.ndarray, dict[str, str]]:
        found = [np.nan if record is None else float(value(record)) for record in records]
        return "galaxy", np.asarray(found), {"long_name": long_name}

    return xr.Dataset(
        {
            "log_evidence": column(
                lambda r: r.log_evidence, "ln Z, without -sum ln(error sqrt(2 pi)) of the bands"
            ),
            "log_evidence_err": column(lambda r: r.log_evidence_err, "one sigma of ln Z, dynesty's estimate"),
            "information": column(
                lambda r: r.information, "divergence of the posterior from the prior, nats"
            ),
            "n_calls": column(lambda r: r.n_calls, "likelihood calls"),
            "n_iterations": column(lambda r: r.n_iterations, "new live points"),
            "n_samples": column(lambda r: len(r.log_weight), "weighted samples"),
            "n_effective": column(lambda r: r.n_effective, "effective samples of the weights (Kish)"),
            "cpu_s": column(lambda r: r.cpu_s, "CPU seconds, compilation included"),
            "wall_s": column(lambda r: r.wall_s, "seconds, compilation included"),
        },
        {"galaxy": [str(one) for one in galaxy]},
    )
