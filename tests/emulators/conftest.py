"""A made-up galaxy: smooth in every parameter, cheap, and with the traits that matter to an emulator."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from starling.components import (
    Components,
    mixture_of,
    spectral_properties,
    terms,
)
from starling.emulators.config import TrainingConfig
from starling.emulators.pipeline import simulate_sets, train_emulator
from starling.lines import REST_FRAME_BANDS, line_light
from starling.photometry import load_bands
from starling.sfh import bin_edges_gyr
from starling.simulation import Simulator
from starling.spaces import prospector_alpha

BANDS = ("sdss_g0", "sdss_i0", "twomass_J", "twomass_Ks", "spitzer_irac_ch1")
LINES_AA = np.array([1215.67, 5006.84, 6562.8])
DESCRIPTION = {"tables": "a made-up galaxy", "surrogate": True, "line_wave_aa": LINES_AA.tolist()}
SPACE = prospector_alpha()
LIGHT = line_light(LINES_AA, load_bands(BANDS), 3.0)


def toy_components(theta: Array) -> Components:
    """Components in ``BANDS`` and the rest-frame bands."""
    values = SPACE.unpack(theta)
    edges = bin_edges_gyr(values["zred"])
    age = 0.5 * (edges[1:] + edges[:-1])
    observed, rest = (
        jnp.asarray([band.wave_effective_aa for band in load_bands(names)]) / 5500.0
        for names in (BANDS, REST_FRAME_BANDS)
    )
    wave = jnp.concatenate([observed / (1.0 + values["zred"]), rest])
    light = (0.1 + age) ** -0.8
    colour = 1.0 + jnp.log1p(age)[:, None] * jnp.tanh(2.0 * (wave - 1.0)) * (1.0 + 0.2 * values["logzsol"])
    depth = values["dust2"] * wave ** (-0.7 + 0.2 * values["dust_index"])
    return Components(
        lines=0.1 * jnp.exp(jnp.asarray([1.0, 0.3, 0.2]) * (values["gas_logz"] - 2.0 * values["dust2"])),
        stars=1e-2 * light[:, None] * jnp.exp(0.3 * colour - depth),
        absorbed=light * (0.1 + values["dust2"]),
        bolometric=light,
        mass_fraction=0.6 + 0.3 / (1.0 + age),
        dust=1e-3 * wave * (1.0 + 0.1 * values["duste_qpah"]),
        infrared_share=jnp.asarray(0.9),
        torus=1e-3 * (1.0 + 0.1 * values["log_agn_tau"]) * wave,
    )


def toy_galaxy(theta: Array) -> tuple[Array, Array]:
    """Rest flux per Msun formed in ``BANDS``, and four properties."""
    parts, mixture = toy_components(theta), mixture_of(SPACE, theta)
    flux = jnp.sum(terms(parts, mixture, parts.lines @ LIGHT(SPACE.unpack(theta)["zred"])), axis=0)
    return flux[:-3], spectral_properties(parts, mixture, flux[-3:])


@jax.jit
def toy_totals(theta: Array) -> dict[str, Array]:
    """A simulator that knows no components."""
    return dict(zip(("rest_flux", "properties"), jax.vmap(toy_galaxy)(theta), strict=True))


@jax.jit
def toy_simulator(theta: Array) -> dict[str, Array]:
    return jax.vmap(toy_components)(theta)._asdict()


SMALL = {"width": 48, "depth": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "direct": {"kind": "direct", **SMALL, "features": {"log_bin_masses": True}},
    "mixture": {
        "kind": "mixture",
        "lines": {
            **SMALL,
            "features": {"parameters": ["logzsol", "gas_logz", "dust2", "dust_index", "dust1_fraction"]},
        },
        "stars": {
            **SMALL,
            "features": {
                "parameters": ["logzsol", "gas_logz", "dust2", "dust_index", "dust1_fraction", "zred"],
                "products": [["dust2", "dust_index"]],
            },
        },
        "dust": {
            **SMALL,
            "features": {"parameters": ["duste_qpah", "duste_umin", "log_duste_gamma", "zred"]},
        },
        "torus": {**SMALL, "features": {"parameters": ["log_agn_tau", "dust2", "dust_index", "zred"]}},
    },
}


def make_config(**changes: Any) -> TrainingConfig:
    content: dict[str, Any] = {
        "name": "toy",
        "seed": 3,
        "bands": BANDS,
        "sets": {"n_train": 6000, "n_validation": 500, "n_test": 1000, "chunk": 1024},
        "network": NETWORKS["mixture"],
        "training": {
            "learning_rate": 2e-2,
            "stages": [{"epochs": 30, "batch_size": 128}, {"epochs": 10, "batch_size": 512}],
        },
    }
    return TrainingConfig.model_validate(content | changes)


@pytest.fixture(scope="session")
def toy_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("toy_sets")
    return simulate_sets(make_config(), jax_simulator(toy_simulator), DESCRIPTION, folder)


def jax_simulator(compute: Callable[[Array], dict[str, Array]]) -> Simulator:
    return lambda theta: {name: np.asarray(array) for name, array in compute(jnp.asarray(theta)).items()}


@pytest.fixture(scope="session")
def toy_files(toy_sets: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Emulators of the made-up galaxy by kind, each trained once, for a few seconds."""

    @cache
    def trained(kind: str) -> Path:
        folder = tmp_path_factory.mktemp("toy")
        out = folder / "toy.safetensors"
        config = make_config(network=NETWORKS[kind])
        train_emulator(config, toy_sets, DESCRIPTION, workdir=folder, out=out)
        return out

    return trained


@pytest.fixture(scope="session", params=[pytest.param("direct", marks=pytest.mark.slow), "mixture"])
def toy_file(request: pytest.FixtureRequest, toy_files: Callable[[str], Path]) -> Path:
    """An emulator of the made-up galaxy."""
    return toy_files(request.param)
