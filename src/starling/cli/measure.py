"""An emulator against the model that it imitates, on new galaxies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from starling.cli.source import open_source
from starling.emulators.config import SimulatorConfig
from starling.emulators.files import load_emulator, read_header
from starling.emulators.stored import ASKED
from starling.validation.emulator import NewErrors, errors_on_new_draws
from starling.validation.gradients import gradient_errors

# what headers of earlier emulators, or of those of components, do not say
_LATER = {ASKED, "tables_sha256", "gives"}


class Measurements(NamedTuple):
    """Errors of fluxes and, of a model that has them, of gradients; in what it differs from that of the training."""

    errors: NewErrors
    gradient: dict[str, Any] | None
    differing: list[str]


def measure(path: Path, n: int, n_gradients: int, seed: int, sps_home: Path | None) -> Measurements:
    """Simulate ``n`` galaxies from the prior, and the gradients of ``n_gradients`` others."""
    header, emulator = read_header(path), load_emulator(path)
    settings = SimulatorConfig.model_validate(header["config"]["simulator"])
    with open_source(settings, emulator.space, emulator.bands, sps_home) as source:
        errors = errors_on_new_draws(emulator, source.simulate, n, seed)
    differing = differing_keys(source.description, header["simulator"])
    gradient = None
    if source.exact is not None:
        gradient = gradient_errors(emulator, source.exact, emulator.softening, n_gradients, seed + 1)
    return Measurements(errors, gradient, differing)


def differing_keys(now: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """In what a simulator differs from what a header says of that of the training."""
    unsaid = _LATER - known.keys()
    return sorted(key for key, value in now.items() if value != known.get(key) and key not in unsaid)
