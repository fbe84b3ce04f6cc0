"""Runs simulators over the same galaxies, and keeps those that all of them can compute."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from starling.simulation import FAILURE, Simulator
from starling.validation.simulators import Fluxes

_CHUNK = 512


class Run(NamedTuple):
    """Fluxes of all galaxies, and reasons of those that failed by row."""

    fluxes: Fluxes
    failed: dict[int, str]


def run_simulator(
    simulate: Simulator,
    theta: Float[np.ndarray, "row param"],
    advance: Callable[[int], None] = lambda _: None,
) -> Run:
    """All galaxies, some hundreds at a time; ``advance`` is told how many are done.

    A galaxy fails where the simulator says so or a flux is not a number. Properties may be infinite: without dust
    emission there is no infrared luminosity.
    """
    n = len(theta)
    chunk = -(-n // -(-n // _CHUNK))  # equal parts, so that little is computed twice
    fluxes, properties, failed = [], [], dict[int, str]()
    for start in range(0, n, chunk):
        rows = np.minimum(np.arange(start, start + chunk), n - 1)  # of one shape, which compiles once
        kept = min(chunk, n - start)
        outputs = simulate(theta[rows])
        flux, said = np.asarray(outputs["rest_flux"])[:kept], outputs.get(FAILURE, [""] * chunk)[:kept]
        for row, reason in enumerate(said):
            if reason or not np.isfinite(flux[row]).all():
                failed[start + row] = str(reason) or "a flux is not finite"
        fluxes.append(flux)
        properties.append(np.asarray(outputs["properties"])[:kept])
        advance(start + kept)
    return Run(Fluxes(np.concatenate(fluxes), np.concatenate(properties)), failed)


def good_rows(labels: tuple[str, str], runs: tuple[Run, Run]) -> np.ndarray:
    """Rows that both could compute; ValueError with the commonest reason where there are none."""
    good = np.ones(len(runs[0].fluxes.flux), bool)
    for run in runs:
        good[list(run.failed)] = False
    if not good.any():
        label, run = max(zip(labels, runs, strict=True), key=lambda pair: len(pair[1].failed))
        reasons = list(run.failed.values())
        raise ValueError(
            f"no galaxy could be computed by both; {label}: {max(set(reasons), key=reasons.count)}"
        )
    return good
