"""An emulator against the exact model that it imitates, on new galaxies."""

from pathlib import Path
from typing import Any, NamedTuple

from starling.cli.simulator import build_model, describe_model, make_simulator
from starling.emulators.files import load_emulator, read_header
from starling.validation.emulator import NewErrors, errors_on_new_draws
from starling.validation.gradients import gradient_errors


class Measurements(NamedTuple):
    """Errors of fluxes and of gradients; in what the exact model differs from the one of the training."""

    errors: NewErrors
    gradient: dict[str, Any]
    differing: list[str]


def measure(path: Path, n: int, n_gradients: int, seed: int, sps_home: Path | None) -> Measurements:
    """Simulate ``n`` galaxies from the prior, and the gradients of ``n_gradients`` others."""
    header, emulator = read_header(path), load_emulator(path)
    settings = header["config"]["simulator"]
    exact = build_model(settings["tables"], emulator.space, emulator.bands, sps_home)
    description = describe_model(exact)
    differing = sorted(key for key in description if description[key] != header["simulator"].get(key))
    simulator = make_simulator(exact, settings["batch"], components=False)
    errors = errors_on_new_draws(emulator, simulator, n, seed)
    gradient = gradient_errors(emulator, exact, emulator.softening, n_gradients, seed + 1)
    return Measurements(errors, gradient, differing)
