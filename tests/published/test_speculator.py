"""Speculator's files: every item checked, and the same numbers as a plain evaluation in numpy."""

import pickle
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.published import SpeculatorPhotometry, SpeculatorSpectrum, read_speculator
from starling.published.files import read_pickle
from starling.published.speculator import SPECTRUM_ITEMS
from starling.spaces import prospector_alpha_14

RANGES = {"100_400": (673, 50, 4), "400_1100": (3929, 30, 3), "1100_30000": (630, 30, 3)}


def write(path: Path, items: dict[str, Any]) -> Path:
    path.write_bytes(pickle.dumps(list(items.values())))
    return path


def hidden(items: dict[str, Any], inputs: np.ndarray) -> np.ndarray:
    """The last layer's output in double precision, with eq. 8 of the paper."""
    x = (inputs - items["parameters_shift"]) / items["parameters_scale"].astype(float)
    for i in range(len(items["n_hidden"])):
        h = x @ items["W"][i].astype(float) + items["b"][i]
        gamma, beta = items["betas"][i].astype(float), items["alphas"][i].astype(float)
        x = (gamma + (1.0 - gamma) / (1.0 + np.exp(-beta * h))) * h
    return x @ items["W"][-1].astype(float) + items["b"][-1]


def log_spectrum(items: dict[str, Any], inputs: np.ndarray) -> np.ndarray:
    coefficients = hidden(items, inputs) * items["pca_scale"] + items["pca_shift"]
    spectrum = coefficients @ items["pca_transform_matrix"].astype(float)
    return spectrum * items["log_spectrum_scale"] + items["log_spectrum_shift"]


def network_inputs(n: int) -> np.ndarray:
    """Draws from the prior of the published model as its networks take them."""
    space = prospector_alpha_14()
    theta = space.unpack(space.sample(jax.random.key(5), (n,)))
    theta = {name: np.asarray(value, float) for name, value in theta.items()}
    names = ["logzsol", *(f"logsfr_ratios_{i}" for i in range(1, 7)), "dust2", "dust_index", "dust1_fraction"]
    columns = [theta[name] for name in (*names, "log_fagn", "log_agn_tau", "gas_logz", "zred")]
    columns[7] = np.sqrt(columns[7])
    columns[10], columns[11] = columns[10] * np.log(10.0), columns[11] * np.log(10.0)
    return np.stack(columns, axis=1).astype(np.float32).astype(float)


def test_a_written_spectrum_network(items: dict[str, Any], tmp_path: Path) -> None:
    model = read_speculator(write(tmp_path / "model.pkl", items))
    assert isinstance(model, SpeculatorSpectrum)
    assert model.n_inputs == 14
    inputs = np.random.default_rng(2).normal(size=(20, 14)).astype(np.float32)
    found = jax.jit(jax.vmap(model))(jnp.asarray(inputs))
    assert np.allclose(found, log_spectrum(items, inputs.astype(float)), rtol=0, atol=2e-5)
    assert np.allclose(model.wave_aa, items["wavelengths"])


def test_a_written_photometry_network(photometry_items: dict[str, Any], tmp_path: Path) -> None:
    model = read_speculator(write(tmp_path / "model.pkl", photometry_items))
    assert isinstance(model, SpeculatorPhotometry)
    assert model.filters == ("u", "g", "r")
    inputs = np.random.default_rng(2).normal(size=(20, 14)).astype(np.float32)
    expected = hidden(photometry_items, inputs.astype(float)) * photometry_items["magnitudes_scale"]
    found = jax.vmap(model)(jnp.asarray(inputs))
    assert np.allclose(found, expected + photometry_items["magnitudes_shift"], rtol=0, atol=3e-5)


@pytest.mark.parametrize("name", RANGES)
def test_the_published_networks_agree_with_numpy(name: str, speculator_folder: Path) -> None:
    """To 1e-5: in double precision everywhere, in single precision in 99% of the pixels of draws from the prior.

    In the ultraviolet of dusty galaxies ln of the spectrum is a sum of terms of up to 60 that cancel, of which single
    precision keeps 1e-5 (99.9% of the pixels) to 5e-5 (where next to no light is left).
    """
    path = speculator_folder / name / "model.pkl"
    items = dict(zip(SPECTRUM_ITEMS, read_pickle(path), strict=True))
    model = read_speculator(path)
    assert isinstance(model, SpeculatorSpectrum)
    n_wave, n_pca, depth = RANGES[name]
    assert model.basis.shape == (n_pca, n_wave)
    assert model.coefficients.network.shape.depth == depth
    inputs = network_inputs(100)
    expected = log_spectrum(items, inputs)
    single = np.abs(np.asarray(jax.jit(jax.vmap(model))(jnp.asarray(inputs, jnp.float32)), float) - expected)
    assert np.quantile(single, 0.99) < 1e-5
    assert single.max() < 5e-5
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model)
        error = np.abs(np.asarray(jax.jit(jax.vmap(double))(jnp.asarray(inputs))) - expected)
    assert error.max() < 1e-5


BROKEN: list[tuple[str, Any, str]] = [
    ("W", [np.ones((14, 16))], "list of 3 arrays"),
    ("b", [np.ones(16), np.ones(15), np.ones(5)], r"b\[1\]"),
    ("alphas", "text", "list of 2 arrays"),
    ("betas", [np.ones(16), np.full(16, np.nan)], "not finite"),
    ("parameters_scale", np.zeros(14), "zero"),
    ("parameters_shift", np.ones((14, 1)), r"shape \(14,\)"),
    ("pca_transform_matrix", np.ones((40, 5)), r"shape \(5, 40\)"),
    ("wavelengths", np.ones(40), "ascend"),
    ("wavelengths", np.array(["a"] * 40), "numbers"),
    ("n_pcas", -1, "million"),
    ("n_wavelengths", 2.5, "million"),
    ("n_hidden", [16, 12], "architecture"),
    ("architecture", [14, 16, 16, 6], "architecture"),
    ("n_layers", 2, "architecture"),
]


@pytest.mark.parametrize(("name", "value", "message"), BROKEN)
def test_errors_name_the_file_and_the_item(
    name: str, value: Any, message: str, items: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path / "model.pkl", items | {name: value})
    with pytest.raises(ValueError, match=message) as error:
        read_speculator(path)
    assert str(path) in str(error.value)


def test_unequal_layers_are_refused(items: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "model.pkl", items | {"n_hidden": [16, 12], "architecture": [14, 16, 12, 5]})
    with pytest.raises(ValueError, match="equally wide"):
        read_speculator(path)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, np.ones(3), "text"])
def test_other_pickles_are_no_speculator(value: Any, tmp_path: Path) -> None:
    (tmp_path / "other.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match=r"other\.pkl is no Speculator file"):
        read_speculator(tmp_path / "other.pkl")
