import jax.numpy as jnp
import numpy as np
import pytest

from starling.inference import observe, take
from starling.inference.nested import NestedSettings, sample_galaxy
from tests.inference.conftest import SCALE, LinearModel, linear_space

SETTINGS = NestedSettings(n_live=200, dlogz=0.05, lanes=32, n_draws=250, error_floor=0.0)


@pytest.fixture(scope="module")
def model():
    """Two standard-normal parameters and three bands; float32 sees no edge of the prior."""
    space = linear_space(("a", "b", "zred"))
    matrix = SCALE * jnp.asarray([[1.0, 0.3, 0.1], [0.2, 1.0, 0.0], [0.5, -0.7, 0.2]], jnp.float32)
    return LinearModel(matrix, jnp.full(3, SCALE, jnp.float32), space, ("u", "v", "w"))


@pytest.fixture(scope="module")
def observations():
    flux = SCALE * np.asarray([[1.9, 1.6, 0.7], [0.1, 2.4, 0.3]])
    return observe(flux, np.full((2, 3), 0.3 * SCALE), fixed={"zred": np.zeros(2)})


def exact(model, observation):
    """Mean, covariance and ln evidence of the linear model; without the constants that the likelihood leaves out."""
    design = np.asarray(model.matrix, float)[:, :2] / np.asarray(observation.flux_err, float)[:, None]
    data = (np.asarray(observation.flux, float) - np.asarray(model.offset, float)) / np.asarray(
        observation.flux_err, float
    )
    covariance = np.linalg.inv(np.eye(2) + design.T @ design)
    marginal = np.eye(3) + design @ design.T
    log_evidence = -0.5 * data @ np.linalg.solve(marginal, data) - 0.5 * np.linalg.slogdet(marginal)[1]
    return covariance @ design.T @ data, covariance, log_evidence


@pytest.fixture(scope="module")
def records(model, observations):
    return [sample_galaxy(take(observations, i), model, SETTINGS, seed=i) for i in range(2)]


def test_evidence_and_posterior_are_the_closed_ones(model, observations, records):
    for i, record in enumerate(records):
        mean, covariance, log_evidence = exact(model, take(observations, i))
        assert abs(record.log_evidence - log_evidence) < 3.0 * record.log_evidence_err
        assert 0.02 < record.log_evidence_err < 0.3
        error = np.sqrt(np.diag(covariance) / record.n_effective)
        assert np.all(np.abs(record.weight @ record.theta[:, :2] - mean) < 4.0 * error)
        found = np.cov(record.theta[:, :2].T, aweights=record.weight)
        np.testing.assert_allclose(
            found, covariance, atol=5.0 * covariance.max() / np.sqrt(record.n_effective)
        )
        assert record.finished
        assert record.n_calls > record.n_iterations > 200


def test_point_by_point_is_dynesty_and_agrees(model, observations, records):
    lone = NestedSettings(n_live=100, dlogz=0.1, lanes=1, n_draws=50, error_floor=0.0)
    record = sample_galaxy(take(observations, 0), model, lone, seed=3)
    both = np.hypot(record.log_evidence_err, records[0].log_evidence_err)
    assert abs(record.log_evidence - records[0].log_evidence) < 3.0 * both
