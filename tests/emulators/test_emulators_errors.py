"""The error model and the domain: right on errors that are known, kept by files, sliced with the bands."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2
from typer.testing import CliRunner

from starling.cli import app
from starling.emulators import PhotometryEmulator, load_default, load_emulator, read_header, save_emulator
from starling.emulators.calibrate import calibration_statistics, read_theta
from starling.emulators.domain import Domain, fit_domain
from starling.emulators.errors import Residuals, fit_error_model
from starling.emulators.pipeline import simulate_sets, train_emulator
from starling.forward import KnowsDomain, KnowsErrors
from starling.spaces import training_space
from tests.emulators.conftest import (
    BANDS,
    DESCRIPTION,
    SPACE,
    jax_simulator,
    make_config,
    toy_simulator,
)
from tests.emulators.test_emulators_files import read_raw, write_raw

MIX = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.3, 1.0]])


def made_up(key: int, n: int, space: Any = SPACE) -> tuple[Residuals, np.ndarray]:
    """Normal errors in three bands that grow with dust, and their true sigma."""
    theta = np.asarray(space.sample(jax.random.key(key), (n,)))
    dust = theta[:, SPACE.index("dust2")]
    sigma = 0.01 * np.exp(0.8 * (dust[:, None] - 1.0) * np.array([1.0, 0.5, 0.0]))
    independent = np.random.default_rng(key).normal(size=(n, 3))
    size = np.sqrt(np.sum(MIX**2, axis=1))
    return Residuals(theta, (sigma * (independent @ MIX.T) / size).astype(np.float32)), sigma


@pytest.fixture(scope="module")
def fitted() -> Any:
    return fit_error_model(SPACE, made_up(1, 12000)[0], made_up(2, 12000, training_space(SPACE))[0], seed=0)


def test_the_local_sigma_is_that_of_the_errors(fitted: Any) -> None:
    judged, sigma = made_up(3, 4000)
    found = np.asarray(jax.jit(jax.vmap(fitted.sigma_mag))(jnp.asarray(judged.theta)))
    ratio = np.log(found / sigma)
    # maximum likelihood: n errors know the p weights of ln sigma to a mean square of p / 2n, and a tenth is held back
    n_weights = sum(weight.size for weight in jax.tree.leaves(fitted.local.network))
    assert np.all(ratio.std(axis=0) < np.sqrt(n_weights / (2 * 0.9 * 24000 * 3)))
    pulls = np.sqrt(np.mean((judged.error / found) ** 2, axis=0))
    np.testing.assert_allclose(pulls, 1.0, atol=0.05)
    constant = np.sqrt(np.diag(fitted.covariance))
    assert np.std(np.log(constant / sigma)[:, 0]) > 0.4


def test_the_covariance_is_that_of_the_errors(fitted: Any) -> None:
    _, sigma = made_up(1, 12000)
    size = np.sqrt(np.sum(MIX**2, axis=1))
    expected = (MIX / size[:, None]) @ (MIX / size[:, None]).T * (sigma.T @ sigma) / len(sigma)
    np.testing.assert_allclose(fitted.covariance, expected, rtol=0.1, atol=3e-6)
    correlation = np.asarray(fitted.correlation())
    np.testing.assert_allclose(np.diag(correlation), 1.0)
    assert correlation[0, 1] == pytest.approx(
        expected[0, 1] / np.sqrt(expected[0, 0] * expected[1, 1]), abs=0.05
    )


def test_a_part_of_the_bands_has_a_part_of_the_errors(fitted: Any) -> None:
    part, theta = fitted.select([2, 0]), jnp.asarray(made_up(3, 1)[0].theta[0])
    np.testing.assert_allclose(part.covariance, np.asarray(fitted.covariance)[np.ix_([2, 0], [2, 0])])
    np.testing.assert_allclose(part.sigma_mag(theta), fitted.sigma_mag(theta)[jnp.array([2, 0])], rtol=1e-5)


def test_slopes_are_finite_on_the_edges_of_the_prior(fitted: Any) -> None:
    for edge in SPACE.bounds:
        slope = jax.jit(jax.jacfwd(fitted.sigma_mag))(jnp.asarray(edge, jnp.float32))
        assert bool(jnp.all(jnp.isfinite(slope)))


@pytest.fixture(scope="module")
def emulator(toy_file: Path) -> PhotometryEmulator:
    return load_emulator(toy_file)


def test_training_ends_with_errors_and_a_domain(emulator: PhotometryEmulator, toy_file: Path) -> None:
    assert isinstance(emulator, KnowsErrors)
    assert isinstance(emulator, KnowsDomain)
    assert emulator.errors is not None
    # both are the standard deviation over the test draws from the prior
    np.testing.assert_allclose(jnp.sqrt(jnp.diag(emulator.errors.covariance)), emulator.sigma_mag, rtol=1e-3)
    calibration = read_header(toy_file)["calibration"]
    assert calibration["n"] == 500
    assert calibration["local_surprise"] < calibration["constant_surprise"]
    order = (BANDS[3], BANDS[0])
    whole, part = emulator.error_correlation(), emulator.select(order).error_correlation()
    np.testing.assert_allclose(part, whole[jnp.array([3, 0])][:, jnp.array([3, 0])], rtol=1e-5)
    theta, flux = SPACE.sample(jax.random.key(1)), jnp.full(5, 1e-8)
    local = emulator.flux_error_at(theta, flux)
    ratio = emulator.errors.sigma_mag(theta) / emulator.sigma_mag
    np.testing.assert_allclose(local, emulator.flux_error(flux) * ratio, rtol=1e-5)
    np.testing.assert_allclose(
        emulator.select(order).flux_error_at(theta, flux[:2]), local[jnp.array([3, 0])], rtol=1e-5
    )


def test_the_domain_holds_all_but_a_few_of_the_training_draws(emulator: PhotometryEmulator) -> None:
    wide = training_space(SPACE)
    theta = wide.sample(jax.random.key(9), (20000,))
    remoteness = np.asarray(jax.jit(jax.vmap(emulator.remoteness))(theta))
    # each of at most 4 networks leaves out 1e-4 of its 6000 draws, a number that a sample of 0.6 knows badly
    assert np.mean(remoteness > 1.0) < 4e-3


def test_what_is_taken_exactly_has_no_say_in_the_domain(emulator: PhotometryEmulator) -> None:
    theta = SPACE.sample(jax.random.key(4))
    middle = emulator.remoteness(theta)
    exact = {"logmass": 30.0} | ({"log_fagn": 5.0} if "stars" in emulator.core.branches() else {})
    for name, value in exact.items():
        assert emulator.remoteness(theta.at[SPACE.index(name)].set(value)) == middle
    for name, value in {"dust2": 4.5, "zred": 3.2, "gas_logz": -2.1}.items():
        assert emulator.remoteness(theta.at[SPACE.index(name)].set(value)) == np.inf
    low, _ = SPACE.bounds
    corner = emulator.remoteness(jnp.asarray(low, jnp.float32))
    assert 1.0 < corner < np.inf


def test_the_distance_of_a_domain_is_chi2(emulator: PhotometryEmulator) -> None:
    """In the coordinates of the training draws their squared distance is chi^2 with one degree per input."""
    wide = training_space(SPACE)
    branches = emulator.core.branches()
    theta = np.asarray(wide.sample(jax.random.key(6), (40000,)))
    domain = fit_domain(branches, wide, theta)
    expected = [chi2.ppf(0.9999, len(names)) for names in domain.inputs]
    # four draws of 40,000 are beyond: their quantile is known to about a tenth
    np.testing.assert_allclose(domain.limit, expected, rtol=0.15)
    again = Domain.from_dict(json.loads(json.dumps(domain.to_dict())))
    assert again.inputs == domain.inputs
    np.testing.assert_allclose(again.limit, domain.limit)


def test_files_without_them_are_read(toy_file: Path, tmp_path: Path) -> None:
    arrays, header = read_raw(toy_file)
    kept = {name: array for name, array in arrays.items() if not name.startswith("error")}
    plain = {name: value for name, value in header.items() if name not in ("error_model", "domain")}
    old = load_emulator(write_raw(tmp_path / "old.safetensors", kept, plain))
    assert old.errors is None
    theta = SPACE.sample(jax.random.key(1))
    assert np.isnan(old.remoteness(theta))
    with pytest.raises(ValueError, match="starling calibrate EMULATOR"):
        old.error_correlation()
    again = tmp_path / "again.safetensors"
    save_emulator(again, old, plain)
    assert "error_model" not in read_header(again)
    assert load_emulator(again).select(BANDS[:2]).errors is None


def test_damaged_errors_are_refused(toy_file: Path, tmp_path: Path) -> None:
    arrays, header = read_raw(toy_file)
    small = arrays | {"error_covariance": arrays["error_covariance"][:2, :2]}
    with pytest.raises(ValueError, match=r"5 bands, but errors of \(2, 2\)"):
        load_emulator(write_raw(tmp_path / "small.safetensors", small, header))
    del arrays["error.network.head.bias"]
    with pytest.raises(ValueError, match=r"head.bias .*found none"):
        load_emulator(write_raw(tmp_path / "less.safetensors", arrays, header))


def test_calibrate_adds_to_a_file_what_training_does(tmp_path: Path) -> None:
    config = make_config(
        sets={"n_train": 512, "n_validation": 256, "n_test": 256, "chunk": 256, "prior_fraction": 0.5},
        training={"stages": [{"epochs": 1, "batch_size": 128}]},
    )
    sets = simulate_sets(config, jax_simulator(toy_simulator), DESCRIPTION, tmp_path / "sets")
    path = tmp_path / "toy.safetensors"
    trained = train_emulator(config, sets, DESCRIPTION, workdir=tmp_path, out=path)
    assert read_theta(tmp_path / "sets" / "train", 256).shape == (256, len(SPACE))
    arrays, header = read_raw(path)
    kept = {name: array for name, array in arrays.items() if not name.startswith("error")}
    plain = {k: v for k, v in header.items() if k not in ("error_model", "domain", "calibration")}
    write_raw(path, kept, plain)
    command = ["calibrate", str(path), "--workdir", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "within 10% of 1" in " ".join(result.output.split())
    calibrated = load_emulator(path)
    assert jax.tree.structure(calibrated) == jax.tree.structure(trained)
    for one, other in zip(jax.tree.leaves(calibrated), jax.tree.leaves(trained), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)

    write_raw(path, kept, plain | {"simulator": DESCRIPTION | {"tables": "others"}})
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "another simulator" in " ".join(result.output.split())


def test_the_shipped_emulator_knows_its_errors() -> None:
    emulator = load_default()
    assert emulator.errors is not None
    assert emulator.domain is not None
    # the sets were simulated twice; the sampling error of the sigma of 32,768 errors of kurtosis 10 is 0.8%
    np.testing.assert_allclose(jnp.sqrt(jnp.diag(emulator.errors.covariance)), emulator.sigma_mag, rtol=8e-3)


def test_statistics_tell_right_from_wrong_sigmas(emulator: PhotometryEmulator) -> None:
    """Normal errors of exactly the predicted size are standard in every bin; twice as large ones are 2 in all."""
    assert emulator.errors is not None
    theta = np.asarray(SPACE.sample(jax.random.key(2), (4000,)))
    sigma = np.asarray(jax.jit(jax.vmap(emulator.errors.sigma_mag))(jnp.asarray(theta)))
    normal = np.random.default_rng(2).normal(size=sigma.shape)
    for factor in (1.0, 2.0):
        found = calibration_statistics(
            emulator, emulator.errors, Residuals(theta, (factor * sigma * normal).astype(np.float32))
        )
        # 2000 errors in a bin: 1.6% each
        np.testing.assert_allclose(found["local"], factor, rtol=0.08)
        assert found["local_within_10"] == pytest.approx(1.0 if factor == 1.0 else 0.0, abs=0.05)
        assert found["local_kurtosis"] == pytest.approx(3.0, abs=0.4)
