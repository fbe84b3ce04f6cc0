"""The posteriors of galaxies by whatever it takes: a flow's weighted draws, chains in its coordinates, plain chains."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from starling.amortised.engine import amortised_posterior
from starling.amortised.files import Archive
from starling.amortised.outcome import Amortised
from starling.amortised.settings import AmortisedSettings
from starling.forward import ForwardModel
from starling.inference import Draws, Progress, SamplerSettings, diagnose, fit, take
from starling.inference.convergence import Thresholds
from starling.inference.diagnostics import Diagnostics, Weights, outside_domain
from starling.inference.nested import RecordOf, nested_for_the_rest
from starling.inference.observation import Observation

_TOGETHER = 4  # galaxies for the plain chains, few as they are, so that they compile once


class Settled(NamedTuple):
    """Draws of all galaxies, and by what each was settled."""

    draws: Draws
    diagnostics: Diagnostics


def settle(
    key: Array,
    observations: Observation,
    forward_model: ForwardModel,
    archive: Archive,
    sampler: SamplerSettings,
    settings: AmortisedSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
    record_of: RecordOf | None = None,
) -> Settled:
    """Posterior draws for a batch of galaxies, as ``starling.inference.fit`` makes them.

    First the stages of ``settings`` (draws of the flow, then chains in its coordinates); galaxies that pass none of
    them and that the flow misses (``settings.astray``) are sampled as ``sampler`` says, which also gives the number of
    draws and the errors; all that are left by nested sampling where it asks for that, ``record_of`` saying where
    its records are kept (``nested_for_the_rest``).
    """
    settings = replace(
        settings or AmortisedSettings(),
        n_chains=sampler.n_chains,
        n_draws=sampler.n_draws,
        error_floor=sampler.error_floor,
        model_error=sampler.model_error,
        errors=sampler.errors,
    )
    n = len(observations.flux)

    def show(now: Progress) -> None:
        if progress is not None:
            progress(
                now._replace(
                    fraction=0.9 * now.fraction, stage="chains" if now.stage == "done" else now.stage
                )
            )

    found = amortised_posterior(
        jax.random.fold_in(key, 0),
        observations,
        forward_model,
        archive.proposal,
        archive.trained,
        settings,
        show,
    )
    draws, diagnostics = found.draws, diagnose_amortised(found, settings)
    by_own = settings.chains is not None and found.k_hat <= settings.astray
    rest = np.flatnonzero((found.stage == 0) & ~np.asarray(by_own))
    if rest.size:
        rows = np.append(rest, np.full(-rest.size % min(_TOGETHER, n), rest[0]))
        plain = fit(
            jax.random.fold_in(key, 1),
            take(observations, rows),
            forward_model,
            settings=replace(sampler, together=min(_TOGETHER, n)),
            numbers=rows,
            progress=None
            if progress is None
            else lambda now: progress(now._replace(fraction=0.9 + 0.05 * now.fraction)),
        )
        draws, diagnostics = _joined(draws, diagnostics, plain, rest, settings.k_hat)
    draws, diagnostics = nested_for_the_rest(
        jax.random.fold_in(key, 2),
        observations,
        forward_model,
        sampler,
        draws,
        diagnostics,
        None
        if progress is None
        else lambda share: progress(Progress(0.95 + 0.05 * share, n, n, "nested sampling")),
        record_of,
    )
    if progress is not None:
        progress(Progress(1.0, n, n, "done"))
    return Settled(draws, diagnostics)


def diagnose_amortised(found: Amortised, settings: AmortisedSettings) -> Diagnostics:
    """As ``diagnose``, with what weights have in place of R-hat."""
    limits = Thresholds()
    outside = outside_domain(found.draws.remoteness)
    n_stages = len(settings.stages)
    flags, stages = [], []
    for row, stage in enumerate(found.stage.tolist()):
        words = [found.draws.problems[row]] if found.draws.problems[row] else []
        if stage == 0:
            words += _unsettled(found, row, settings)
        if outside[row] > limits.outside:
            words.append(
                f"{100 * outside[row]:.1f}% of the draws are outside what the emulator was trained on "
                f"(limit {100 * limits.outside:g}%)"
            )
        flags.append("; ".join(words))
        stages.append(
            "unsettled" if stage == 0 else f"weights {stage}" if stage <= n_stages else "latent chains"
        )
    return Diagnostics(
        found.draws.free,
        found.rhat,
        found.ess_bulk,
        found.ess_tail,
        found.divergences,
        outside,
        np.asarray([not flag for flag in flags]),
        tuple(flags),
        Weights(
            tuple(stages), found.k_hat, found.ess, found.log_evidence, found.log_evidence_error, found.outside
        ),
    )


def _unsettled(found: Amortised, row: int, settings: AmortisedSettings) -> list[str]:
    """Why a galaxy passed by no stage."""
    words = []
    if not found.k_hat[row] < settings.k_hat:
        words.append(
            f"the proposal misses part of the posterior: k-hat {found.k_hat[row]:.2f} (limit {settings.k_hat:g})"
        )
    if not found.ess[row] >= settings.ess:
        words.append(f"the weights are worth {found.ess[row]:.0f} draws (limit {settings.ess:g})")
    if found.by_chains[row]:
        words.append(
            f"the chains in the proposal's coordinates have R-hat {np.max(found.rhat[row]):.3f} and bulk ESS "
            f"{np.min(found.ess_bulk[row]):.0f} in the worst parameter"
        )
        words += [found.draws.gave_up[row]] if found.draws.gave_up[row] else []
    return words


def _joined(
    draws: Draws, diagnostics: Diagnostics, plain: Draws, rows: np.ndarray, most_k_hat: float
) -> tuple[Draws, Diagnostics]:
    """With plain chains for those of these galaxies where they passed, or where nothing else is less bad."""
    own, before = diagnose(plain), diagnostics.weights
    assert before is not None
    worst, worst_before = np.max(own.rhat[: len(rows)], axis=1), np.max(diagnostics.rhat[rows], axis=1)
    worse_before = (before.k_hat[rows] >= most_k_hat) & ~(worst_before <= worst)
    chosen = np.flatnonzero(own.passed[: len(rows)] | worse_before)
    rows = rows[chosen]
    arrays: dict[str, Any] = {}
    for name, values in draws._asdict().items():
        if isinstance(values, np.ndarray):
            arrays[name] = values.copy()
            arrays[name][rows] = getattr(plain, name)[chosen]
    stages, flags = list(before.stage), list(diagnostics.flag)
    every, gave_up = list(draws.every), list(draws.gave_up)
    for i, row in zip(chosen.tolist(), rows.tolist(), strict=True):
        every[row], gave_up[row] = plain.every[i], plain.gave_up[i]
        stages[row] = "chains" if own.passed[i] else "unsettled"
        flags[row] = own.flag[i]
    changed: dict[str, Any] = {}
    for name in ("rhat", "ess_bulk", "ess_tail", "divergences", "outside", "passed"):
        changed[name] = getattr(diagnostics, name).copy()
        changed[name][rows] = getattr(own, name)[chosen]
    diagnostics = diagnostics._replace(
        **changed, flag=tuple(flags), weights=before._replace(stage=tuple(stages))
    )
    return draws._replace(**arrays, every=tuple(every), gave_up=tuple(gave_up)), diagnostics
