"""A made-up galaxy: smooth in every parameter, cheap, and with the traits that matter to an emulator."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from starling.emulators.config import TrainingConfig
from starling.emulators.pipeline import simulate_sets, train_emulator
from starling.parameters import prospector_alpha
from starling.photometry import load_bands
from starling.sfh import bin_edges_gyr, mass_fractions

BANDS = ("sdss_g0", "sdss_i0", "twomass_J", "twomass_Ks", "spitzer_irac_ch1")
DESCRIPTION = {"tables": "a made-up galaxy", "surrogate": True}
SPACE = prospector_alpha()


def toy_galaxy(theta: Array) -> tuple[Array, Array]:
    """Rest flux per Msun formed in ``BANDS``, and four properties."""
    values = SPACE.unpack(theta)
    edges = bin_edges_gyr(values["zred"])
    ratios = jnp.stack([values[f"logsfr_ratios_{i}"] for i in range(1, 7)])
    fractions = mass_fractions(ratios, edges)
    age = 0.5 * (edges[1:] + edges[:-1])
    wave = (
        jnp.asarray([band.wave_effective_aa for band in load_bands(BANDS)]) / 5500.0 / (1.0 + values["zred"])
    )
    light = (0.1 + age) ** -0.8
    colour = 1.0 + jnp.log1p(age)[:, None] * jnp.tanh(2.0 * (wave - 1.0)) * (1.0 + 0.2 * values["logzsol"])
    stars = jnp.sum((fractions * light)[:, None] * jnp.exp(0.3 * colour), axis=0)
    depth = values["dust2"] * wave ** (-0.7 + 0.2 * values["dust_index"])
    flux = 1e-2 * stars * jnp.exp(-depth)
    hot = 10.0 ** values["log_fagn"] * 1e-3 * (1.0 + 0.1 * values["log_agn_tau"]) * wave
    properties = jnp.stack([-0.2 * age[3] / 5.0, depth[0] - depth[1], depth[1] - depth[2], values["dust2"]])
    return flux + hot, properties


@jax.jit
def toy_simulator(theta: Array) -> tuple[Array, Array]:
    return jax.vmap(toy_galaxy)(theta)


def make_config(**changes: Any) -> TrainingConfig:
    content: dict[str, Any] = {
        "name": "toy",
        "seed": 3,
        "bands": BANDS,
        "sets": {"n_train": 6000, "n_validation": 500, "n_test": 1000, "chunk": 1024},
        "network": {"width": 48, "depth": 2},
        "training": {
            "learning_rate": 2e-2,
            "stages": [{"epochs": 30, "batch_size": 128}, {"epochs": 10, "batch_size": 512}],
        },
    }
    return TrainingConfig.model_validate(content | changes)


@pytest.fixture(scope="session")
def toy_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("toy_sets")
    return simulate_sets(
        make_config(), lambda theta: tuple(map(np.asarray, toy_simulator(theta))), DESCRIPTION, folder
    )


@pytest.fixture(scope="session")
def toy_file(toy_sets: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An emulator of the made-up galaxy, trained for a few seconds."""
    folder = tmp_path_factory.mktemp("toy")
    out = folder / "toy.safetensors"
    train_emulator(make_config(), toy_sets, DESCRIPTION, workdir=folder, out=out)
    return out
