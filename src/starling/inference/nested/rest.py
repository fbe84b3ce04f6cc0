"""The last resort of a fit: nested sampling for the galaxies that nothing else has settled."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.forward import ForwardModel
from starling.inference.convergence import Thresholds
from starling.inference.diagnostics import Diagnostics, Weights
from starling.inference.fit import Draws
from starling.inference.nested.record import Record, load_record, save_record
from starling.inference.nested.result import N_CHAINS, diagnose_records, draws_of
from starling.inference.nested.sample import require_dynesty, sample_galaxy
from starling.inference.nested.settings import NestedSettings, preset
from starling.inference.observation import Observation, take
from starling.inference.settings import SamplerSettings

RecordOf = Callable[[int], Path]  # where the record of a galaxy is kept, by its row

_MOST_CALLS = 50_000_000
_FEWEST_SLICES = 4  # for each parameter


def nested_for_the_rest(
    key: Array,
    observations: Observation,
    forward_model: ForwardModel,
    sampler: SamplerSettings,
    draws: Draws,
    diagnostics: Diagnostics,
    progress: Callable[[float], None] | None = None,
    record_of: RecordOf | None = None,
) -> tuple[Draws, Diagnostics]:
    """``draws`` and ``diagnostics`` with those of nested sampling where nothing passed and it does.

    ``sampler.nested`` names the preset; with "none" nothing happens. Galaxies with something wrong in their data, or
    whose posterior is outside what the emulator was trained on, stay as they are. ``progress`` is told the share that
    is done. With ``record_of`` a galaxy's record is kept on disk as soon as it is there, and not made again where one
    of the same seed and settings is there. Raises ImportError where dynesty is not installed, whether or not a galaxy
    needs it.
    """
    if sampler.nested == "none":
        return draws, diagnostics
    require_dynesty()
    hopeless = diagnostics.passed | (diagnostics.outside > Thresholds().outside)
    rows = [row for row in np.flatnonzero(~hopeless).tolist() if not draws.problems[row]]
    if not rows:
        return draws, diagnostics
    errors = {name: getattr(sampler, name) for name in ("error_floor", "model_error", "errors")}
    settings = preset(sampler.nested, max_calls=_MOST_CALLS, **errors)
    # one run alone does not show that its points depend on each other
    settings = replace(settings, slices=max(settings.slices, _FEWEST_SLICES))
    records: list[Record | None] = []
    failures: list[str] = []
    for done, row in enumerate(rows):
        if progress is not None:
            progress(done / len(rows))
        seed = int(jax.random.bits(jax.random.fold_in(key, row)))
        try:
            path = None if record_of is None else record_of(row)
            records.append(_kept(path, take(observations, row), forward_model, settings, seed))
            failures.append("")
        except (ValueError, RuntimeError, ArithmeticError) as error:
            records.append(None)
            failures.append(f"nested sampling failed too: {error}")
    _, *shape = draws.log_density.shape
    found, judged = (
        draws_of(records, draws.names, draws.free, (n_chains, n_draws), 0, [""] * len(rows))
        for n_chains, n_draws in (shape, (N_CHAINS, settings.n_draws))
    )
    own = diagnose_records(records, judged, Thresholds())
    found = found._replace(log_density=_log_posterior(found, take(observations, rows), forward_model))
    flags = list(diagnostics.flag)
    for row, failure in zip(rows, failures, strict=True):
        flags[row] = "; ".join(filter(None, (flags[row], failure)))
    diagnostics = diagnostics._replace(
        flag=tuple(flags), weights=diagnostics.weights or _of_chains(diagnostics)
    )
    return _joined(draws, diagnostics, found, own, records, rows)


def _kept(
    path: Path | None,
    observation: Observation,
    forward_model: ForwardModel,
    settings: NestedSettings,
    seed: int,
) -> Record:
    """The record of a galaxy: the one on disk, if it is of this run, or a new one, which is kept there."""
    about = {"seed": seed, "settings": asdict(settings)}
    found = None if path is None else load_record(path, about)
    if found is None:
        found = sample_galaxy(observation, forward_model, settings, seed)
        if path is not None:
            save_record(found, path, about)
    return found


def _of_chains(diagnostics: Diagnostics) -> Weights:
    """What settled the galaxies where there were no weights before."""
    n = len(diagnostics.passed)
    none = np.full(n, np.nan)
    stages = tuple("chains" if passed else "unsettled" for passed in diagnostics.passed)
    return Weights(stages, none, none, none.copy(), none.copy(), ("",) * n)


def _log_posterior(draws: Draws, observations: Observation, forward_model: ForwardModel) -> np.ndarray:
    """As chains have it: over coordinates in which the prior is a standard normal. ``draws`` have the likelihood."""

    @jax.jit
    @jax.vmap
    def log_prior(theta: Array, fixed: dict[str, Array]) -> Array:
        x = jax.vmap(jax.vmap(lambda one: forward_model.space.unconstrain(one, tuple(fixed))))(theta)
        return -0.5 * jnp.sum(x**2 + jnp.log(2.0 * jnp.pi), axis=-1)

    return np.asarray(draws.log_density + log_prior(jnp.asarray(draws.theta), observations.fixed))


def _joined(
    draws: Draws,
    diagnostics: Diagnostics,
    found: Draws,
    own: Diagnostics,
    records: list[Record | None],
    rows: list[int],
) -> tuple[Draws, Diagnostics]:
    """With what nested sampling found, where that passed."""
    chosen = [i for i in range(len(rows)) if own.passed[i]]
    where = [rows[i] for i in chosen]

    def put(before: np.ndarray, new: np.ndarray) -> np.ndarray:
        after = before.copy()
        after[where] = new[chosen]
        return after

    arrays: dict[str, Any] = {
        name: put(value, getattr(found, name))
        for name, value in draws._asdict().items()
        if isinstance(value, np.ndarray)
    }
    extra = {
        name: put(value, found.extra[name]) for name, value in draws.extra.items() if name in found.extra
    }
    changed: dict[str, Any] = {
        name: put(getattr(diagnostics, name), getattr(own, name))
        for name in ("rhat", "ess_bulk", "ess_tail", "divergences", "outside", "passed")
    }
    flags, weights = list(diagnostics.flag), diagnostics.weights
    assert weights is not None
    stages, evidence = list(weights.stage), (weights.log_evidence.copy(), weights.log_evidence_err.copy())
    for i, row in zip(chosen, where, strict=True):
        record = records[i]
        assert record is not None
        flags[row], stages[row] = "", "nested"
        evidence[0][row], evidence[1][row] = record.log_evidence, record.log_evidence_err
    weights = weights._replace(stage=tuple(stages), log_evidence=evidence[0], log_evidence_err=evidence[1])
    return (
        draws._replace(**arrays, extra={**draws.extra, **extra}),
        diagnostics._replace(**changed, flag=tuple(flags), weights=weights),
    )
