"""The folder of a model card: Markdown, its figures, and the configuration that makes the emulator again."""

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from starling.emulators.archive import shipped, shipped_names
from starling.emulators.files import default_path, load_emulator, read_header
from starling.parameters import ParameterSpace
from starling.plotting import accuracy
from starling.simulation.shards import write_atomically
from starling.validation.card import GOAL_MAG, Measured, model_card
from starling.validation.emulator import NewErrors

NAME = "model_card.md"
_DPI = 100
_CAPTIONS = {
    "bands": "Errors of every band: standard deviation, and what 99.9% of the galaxies stay within.",
    "tails": "Tails: errors over the standard deviation of their band, against a normal distribution.",
    "parameters": "Errors of all bands against each parameter: median, central 68% (shaded), 99.9% (outer lines).",
    "correlation": "Correlation of the errors between bands.",
    "gradient": "Error of the gradient by band and parameter, on draws from the prior; grey: no derivative.",
}


def write_card(
    folder: Path,
    path: Path,
    options: str,
    errors: NewErrors | None,
    gradient: Mapping[str, Any] | None,
) -> Path:
    """Write the card of the emulator in ``path``; ``options`` are those of the command that is said to write it."""
    header, emulator = read_header(path), load_emulator(path)
    wave_um = np.asarray(emulator.wave_effective_aa, float) / 1e4
    figures = _figures(header, wave_um, errors, gradient)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(
            folder / f"{name}.png", dpi=_DPI, metadata={"Software": None}, pil_kwargs={"optimize": True}
        )
    config = yaml.safe_dump(header["config"], sort_keys=False, width=110, default_flow_style=None)
    write_atomically(folder / "training.yaml", config.encode())
    torus = " --sps-home DIR" if "log_fagn" in emulator.space else ""
    content = path.read_bytes()
    measured = Measured(
        file_name=path.name,
        file_bytes=len(content),
        file_sha256=hashlib.sha256(content).hexdigest(),
        errors=errors,
        gradient=gradient,
        figures={name: (_CAPTIONS[name], f"{name}.png") for name in figures},
        command=_command(path, folder, options, torus),
        remake=f"starling train training.yaml{torus}",
        wave_um=wave_um.tolist(),
    )
    write_atomically(folder / NAME, model_card(header, measured).encode())
    return folder / NAME


def _command(path: Path, folder: Path, options: str, torus: str) -> str:
    """The command, without folders that only its author has."""
    words = ["starling", "validate", *_name(path)]
    words += ["--card", str(folder) if not folder.is_absolute() else folder.name]
    return " ".join(filter(None, [shlex.join(words), options])) + (torus if options else "")


def _name(path: Path) -> list[str]:
    if path == default_path():
        return []
    return [path.stem if path.stem in shipped_names() and path == shipped(path.stem) else path.name]


def _figures(
    header: Mapping[str, Any],
    wave_um: np.ndarray,
    errors: NewErrors | None,
    gradient: Mapping[str, Any] | None,
) -> dict[str, Figure]:
    n_bands = len(wave_um)
    space = ParameterSpace.from_dict(header["space"])
    labels = {p.name: p.label or p.name for p in space.parameters}
    samples = {
        label: accuracy.BandErrors(
            *(np.asarray(header["accuracy"][kind][key])[:n_bands] for key in ("std", "abs_999"))
        )
        for kind, label in (("prior", "prior"), ("training", "training distribution"))
    }
    prior = header["accuracy"]["prior"]
    of_bands = None if errors is None else errors.error[:, :n_bands]
    figures = {
        "bands": accuracy.plot_band_errors(wave_um, samples, GOAL_MAG),
        "tails": accuracy.plot_error_tails(
            np.asarray(prior["std"])[:n_bands], np.asarray(prior["quantiles"])[:, :n_bands], of_bands
        ),
    }
    if errors is not None and of_bands is not None:
        names = [labels[name] for name in errors.parameters]
        figures["parameters"] = accuracy.plot_errors_by_parameter(errors.theta, of_bands, names)
        figures["correlation"] = accuracy.plot_error_correlation(wave_um, of_bands)
    if gradient is not None:
        figures["gradient"] = accuracy.plot_gradient_errors(
            wave_um,
            np.asarray(gradient["rms_error"]),
            np.asarray(gradient["rms_exact"]),
            [labels[name] for name in gradient["parameters"]],
        )
    return figures
