"""Where an emulator is weakest, read from its numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from starling.components import SPECTRAL_PROPERTIES
from starling.validation.emulator import NewErrors
from starling.validation.gradients import gradient_rows

SIGMA_MAG = 0.01
TAIL_MAG = 0.05
GRADIENT = 0.1
_BINS = 12
_FACTOR = 1.3
_NAMED = 5


def weaknesses(
    header: Mapping[str, Any], errors: NewErrors | None, gradient: Mapping[str, Any] | None
) -> list[str]:
    """What the numbers warn of, in sentences; ``errors`` and ``gradient`` are None where nothing was simulated."""
    found = [*_bands(header), *([] if errors is None else _places(errors))]
    return [*found, *([] if gradient is None else _slopes(gradient))]


def _bands(header: Mapping[str, Any]) -> list[str]:
    """Bands whose standard deviation or tail is too large on held-out draws from the prior."""
    statistics = header["accuracy"]["prior"]
    n_bands = len(header["bands"])
    sentences = []
    for key, limit, what in (
        (
            "std",
            SIGMA_MAG,
            "Work that needs {:g} mag in these bands, whose standard deviation on the prior is larger",
        ),
        (
            "abs_999",
            TAIL_MAG,
            "Single galaxies at {:g} mag in these bands, where one in a thousand is further off",
        ),
    ):
        values = np.asarray(statistics[key])[:n_bands]
        named = [f"`{header['bands'][i]}` {values[i]:.3f}" for i in np.argsort(-values) if values[i] > limit]
        if named:
            sentences.append(f"{what.format(limit)}: {', '.join(named)}.")
    return sentences


def _places(errors: NewErrors) -> list[str]:
    """Ranges of parameters in which errors are largest, compared with those of all galaxies."""
    bands = [i for i, name in enumerate(errors.names) if name not in SPECTRAL_PROPERTIES]
    square = np.mean(np.square(errors.error[:, bands]), axis=1)
    whole = float(np.sqrt(square.mean()))
    found = []
    for column, name in enumerate(errors.parameters):
        values = errors.theta[:, column]
        for rows in np.array_split(np.argsort(values), min(_BINS, len(values))):
            ratio = float(np.sqrt(square[rows].mean())) / whole
            found.append((ratio, f"`{name}` from {values[rows].min():.3g} to {values[rows].max():.3g}"))
    worst = [
        f"{place} ({ratio:.1f} times)"
        for ratio, place in sorted(found, reverse=True)[:_NAMED]
        if ratio > _FACTOR
    ]
    if not worst:
        return []
    prior = f"the {whole:.4f} mag (rms of all bands) of the prior as a whole"
    return [f"Blind trust where errors are larger than {prior}: {'; '.join(worst)}."]


def _slopes(gradient: Mapping[str, Any]) -> list[str]:
    """Parameters along which the gradient is worst."""
    poor = [
        f"`{row.parameter}` {100 * row.relative:.0f}%"
        for row in gradient_rows(gradient)
        if row.relative > GRADIENT
    ]
    if not poor:
        return []
    return [
        f"Derivatives along these parameters, whose error is above {100 * GRADIENT:g}%: {', '.join(poor)}."
    ]
