"""Have the chains converged? For many galaxies in one go, in words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from starling.inference.convergence import Thresholds, convergence, latents_of
from starling.inference.fit import Draws


class Weights(NamedTuple):
    """Per galaxy, where weighted draws of a proposal came first: what settled it, and how good the weights were."""

    stage: tuple[str, ...]  # "weights 1" ..., "latent chains", "chains" or "unsettled"
    k_hat: np.ndarray  # PSIS
    ess: np.ndarray
    log_evidence: np.ndarray  # of the likelihood without its constants
    log_evidence_err: np.ndarray
    outside: tuple[
        str, ...
    ]  # how a galaxy is unlike what the proposal was trained for; empty where it is not


class Diagnostics(NamedTuple):
    """Convergence per galaxy (and free parameter); ``flag`` is empty where ``passed``.

    Where ``weights`` settled a galaxy, R-hat is NaN and the ESS is that of the weights.
    """

    names: tuple[str, ...]
    rhat: Float[np.ndarray, "galaxy free"]
    ess_bulk: Float[np.ndarray, "galaxy free"]
    ess_tail: Float[np.ndarray, "galaxy free"]
    divergences: np.ndarray  # number of divergent transitions, also of those between the draws
    outside: np.ndarray  # share of the draws outside the forward model's domain, NaN where it does not know
    passed: np.ndarray
    flag: tuple[str, ...]
    weights: Weights | None = None


def diagnose(draws: Draws, thresholds: Thresholds | None = None) -> Diagnostics:
    """Convergence of every galaxy in every free parameter, and in words what keeps a galaxy from passing.

    Further latent sites of the model (sampled zero points) are judged like parameters where they move: they have no
    column in the arrays, but a galaxy passes only with them, and its flag names them.
    """
    thresholds = thresholds or Thresholds()
    columns = [draws.names.index(name) for name in draws.free]
    series = np.moveaxis(draws.theta[..., columns], 0, 2)  # chain, draw, galaxy, parameter
    rhat, bulk, tail = convergence(series)
    latents = latents_of(draws.extra)
    names, further = ((), ()) if latents is None else (latents.names, convergence(latents.draws))
    fraction = draws.share_diverging
    outside = outside_domain(draws.remoteness)
    flags = tuple(
        "; ".join(
            [
                *_sentences(
                    *_with_latents(
                        draws.free, (rhat[i], bulk[i], tail[i]), names, [one[i] for one in further]
                    ),
                    fraction[i],
                    draws.problems[i],
                    thresholds,
                    draws.gave_up[i] if draws.gave_up else "",
                ),
                *_of_domain(outside[i], thresholds),
            ]
        )
        for i in range(rhat.shape[0])
    )
    passed = np.array([flag == "" for flag in flags])
    divergences = draws.diverging.sum(axis=(1, 2))
    return Diagnostics(draws.free, rhat, bulk, tail, divergences, outside, passed, flags)


def outside_domain(remoteness: Float[np.ndarray, "galaxy chain draw"]) -> np.ndarray:
    """Share of the draws of each galaxy that are outside the domain; NaN where none can be told."""
    return np.where(np.isnan(remoteness).all(axis=(1, 2)), np.nan, (remoteness > 1.0).mean(axis=(1, 2)))


def _of_domain(outside: float, thresholds: Thresholds) -> list[str]:
    if not outside > thresholds.outside:
        return []
    limit = f"(limit {100 * thresholds.outside:g}%)"
    return [f"{100 * outside:.1f}% of the draws are outside what the emulator was trained on {limit}"]


def _with_latents(
    free: tuple[str, ...], own: Sequence[np.ndarray], names: tuple[str, ...], further: Sequence[np.ndarray]
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """Names, R-hat and ESS of one galaxy's parameters, and of the latent sites that move."""
    rhat, bulk, tail = own
    if not names:
        return free, rhat, bulk, tail
    moves = np.isfinite(further[0])
    moving = tuple(name for name, yes in zip(names, moves, strict=True) if yes)
    rhat, bulk, tail = (np.append(a, b[moves]) for a, b in zip(own, further, strict=True))
    return (*free, *moving), rhat, bulk, tail


def _sentences(
    names: tuple[str, ...],
    rhat: np.ndarray,
    bulk: np.ndarray,
    tail: np.ndarray,
    diverging: float,
    problem: str,
    thresholds: Thresholds,
    gave_up: str,
) -> list[str]:
    """What is wrong with one galaxy, worst parameters first."""
    words = [problem] if problem else []
    stuck = np.isnan(rhat)
    if stuck.all():
        return [*words, "the chains never moved: the likelihood is not finite at the starts"]
    if stuck.any():
        words.append(f"no movement in {', '.join(np.asarray(names)[stuck])}")

    def worst(value: np.ndarray, bad: np.ndarray, form: str) -> str:
        order = [i for i in np.argsort(value)[::-1] if bad[i]]
        listed = ", ".join(f"{names[i]} ({format(abs(value[i]), form)})" for i in order[:3])
        return listed + (f" and {len(order) - 3} more" if len(order) > 3 else "")

    bad = rhat >= thresholds.rhat
    if bad.any():
        words.append(f"the chains disagree: R-hat not below {thresholds.rhat:g} in {worst(rhat, bad, '.3f')}")
    for name, ess, least in (("bulk", bulk, thresholds.ess_bulk), ("tail", tail, thresholds.ess_tail)):
        bad = ess < least
        if bad.any():
            words.append(
                f"too few independent draws: {name} ESS below {least:g} in {worst(-ess, bad, '.0f')}"
            )
    if diverging >= thresholds.diverging:
        words.append(
            f"{100 * diverging:.1f}% of the transitions diverged (limit {100 * thresholds.diverging:g}%)"
        )
    return [*words, gave_up] if words and gave_up else words
