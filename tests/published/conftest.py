"""Files in the formats of others, written by the tests, and the published networks where they are."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import parrot_files
import pytest

from starling.published.speculator import PHOTOMETRY_ITEMS, SPECTRUM_ITEMS

N_INPUTS, HIDDEN, N_PCA, N_WAVE = 14, (16, 16), 5, 40


@pytest.fixture(scope="session")
def speculator_folder(shared_data: Path) -> Path:
    """The published networks."""
    return shared_data / "speculator"


@pytest.fixture
def items() -> dict[str, Any]:
    """A small spectrum network by item."""
    return speculator_items(np.random.default_rng(0))


@pytest.fixture
def photometry_items(items: dict[str, Any]) -> dict[str, Any]:
    """A small photometry network by item."""
    rng = np.random.default_rng(1)
    sizes = (N_INPUTS, *HIDDEN, 3)
    own = {
        "magnitudes_shift": rng.uniform(20, 25, 3),
        "magnitudes_scale": rng.uniform(1, 2, 3),
        "n_filters": 3,
        "filters": ["u", "g", "r"],
        "architecture": list(sizes),
    }
    own["W"] = [*items["W"][:-1], rng.normal(size=(HIDDEN[-1], 3)).astype("f4")]
    own["b"] = [*items["b"][:-1], rng.normal(size=3).astype("f4")]
    return {name: (items | own)[name] for name in PHOTOMETRY_ITEMS}


def speculator_items(rng: np.random.Generator) -> dict[str, Any]:
    sizes = (N_INPUTS, *HIDDEN, N_PCA)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype("f4")

    values = {
        "W": [normal(a, b) / np.float32(np.sqrt(a)) for a, b in pairwise(sizes)],
        "b": [normal(n) for n in sizes[1:]],
        "alphas": [normal(n) for n in HIDDEN],
        "betas": [normal(n) for n in HIDDEN],
        "parameters_shift": normal(N_INPUTS),
        "parameters_scale": rng.uniform(0.5, 2, N_INPUTS).astype("f4"),
        "pca_shift": normal(N_PCA),
        "pca_scale": rng.uniform(0.5, 2, N_PCA).astype("f4"),
        "log_spectrum_shift": normal(N_WAVE) - 5.0,
        "log_spectrum_scale": rng.uniform(0.5, 1, N_WAVE).astype("f4"),
        "pca_transform_matrix": normal(N_PCA, N_WAVE),
        "n_parameters": N_INPUTS,
        "n_wavelengths": N_WAVE,
        "wavelengths": np.linspace(4000.0, 5000.0, N_WAVE),
        "n_pcas": N_PCA,
        "n_hidden": list(HIDDEN),
        "n_layers": len(sizes) - 1,
        "architecture": list(sizes),
    }
    return {name: values[name] for name in SPECTRUM_ITEMS}


@pytest.fixture
def single() -> list[Any]:
    """The six objects of a single Parrot emulator."""
    return parrot_files.single()
