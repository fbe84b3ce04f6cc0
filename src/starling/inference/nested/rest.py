"""The last resort of a fit: nested sampling for the galaxies that nothing else has settled."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from starling.forward import ForwardModel
from starling.inference.convergence import Thresholds
from starling.inference.diagnostics import Diagnostics
from starling.inference.fit import Draws
from starling.inference.nested.record import Record
from starling.inference.nested.result import N_CHAINS, diagnose_records, draws_of
from starling.inference.nested.sample import require_dynesty, sample_galaxy
from starling.inference.nested.settings import preset
from starling.inference.observation import Observation, take
from starling.inference.settings import SamplerSettings


def nested_for_the_rest(
    key: Array,
    observations: Observation,
    forward_model: ForwardModel,
    sampler: SamplerSettings,
    draws: Draws,
    diagnostics: Diagnostics,
    progress: Callable[[float], None] | None = None,
) -> tuple[Draws, Diagnostics]:
    """``draws`` and ``diagnostics`` with those of nested sampling where nothing passed and it does.

    ``sampler.nested`` names the preset; with "none" nothing happens. Galaxies with something wrong in their data, or
    whose posterior is outside what the emulator was trained on, stay as they are. ``progress`` is told the share that
    is done. Raises ImportError where dynesty is not installed, whether or not a galaxy needs it.
    """
    if sampler.nested == "none":
        return draws, diagnostics
    require_dynesty()
    hopeless = diagnostics.passed | (diagnostics.outside > Thresholds().outside)
    rows = [row for row in np.flatnonzero(~hopeless).tolist() if not draws.problems[row]]
    if not rows:
        return draws, diagnostics
    errors = {name: getattr(sampler, name) for name in ("error_floor", "model_error", "errors")}
    settings = preset(sampler.nested, **errors)
    records: list[Record | None] = []
    for done, row in enumerate(rows):
        if progress is not None:
            progress(done / len(rows))
        seed = int(jax.random.bits(jax.random.fold_in(key, row)))
        records.append(sample_galaxy(take(observations, row), forward_model, settings, seed))
    _, *shape = draws.log_density.shape
    found, judged = (
        draws_of(records, draws.names, draws.free, (n_chains, n_draws), 0, [""] * len(rows))
        for n_chains, n_draws in (shape, (N_CHAINS, settings.n_draws))
    )
    own = diagnose_records(records, judged, Thresholds())
    return _joined(draws, diagnostics, found, own, records, rows)


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
    for row in where:
        flags[row] = ""
    if weights is not None:
        stages, evidence = list(weights.stage), (weights.log_evidence.copy(), weights.log_evidence_err.copy())
        for i, row in zip(chosen, where, strict=True):
            record = records[i]
            assert record is not None
            stages[row] = "nested"
            evidence[0][row], evidence[1][row] = record.log_evidence, record.log_evidence_err
        weights = weights._replace(
            stage=tuple(stages), log_evidence=evidence[0], log_evidence_err=evidence[1]
        )
    return (
        draws._replace(**arrays, extra={**draws.extra, **extra}),
        diagnostics._replace(**changed, flag=tuple(flags), weights=weights),
    )
