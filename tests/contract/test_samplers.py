"""Every kernel through one set of checks: known moments, shapes and records, one key one result."""

import jax
import numpy as np
import pytest
from blackjax.mcmc.hmc import HMCState
from jax import numpy as jnp
from numpyro import deterministic, factor, sample
from numpyro.distributions import Normal

from starling.inference.chains import advance, begin
from starling.inference.density import flat_density
from starling.inference.kernels import KERNELS

DIM = 2


def correlated():
    """A normal with correlation 0.8 and widths 1 and 3."""
    x = sample("x", Normal(0.0, 10.0).expand([DIM]).to_event(1))
    deterministic("flux", x)
    precision = jnp.linalg.inv(jnp.array([[1.0, 2.4], [2.4, 9.0]])) - 0.01 * jnp.eye(DIM)
    factor("likelihood", -0.5 * x @ precision @ x)


def run(kernel, key, n_draws=1500):
    density = flat_density(correlated)
    positions = jax.random.normal(jax.random.fold_in(key, 1), (4, DIM))
    value, gradient = jax.vmap(jax.value_and_grad(density.log_density))(positions)
    chains = begin(HMCState(positions, value, gradient), jnp.diag(jnp.array([1.0, 9.0])), 0.8)

    @jax.jit
    def go(chains, iterations, adapt):
        return advance(
            key,
            density,
            chains,
            iterations,
            jnp.asarray(5.0),
            adapt,
            kernel=kernel,
            target=0.8,
            max_doublings=5,
        )

    chains, _ = go(chains, jnp.arange(n_draws), jnp.asarray(True))
    return go(chains, n_draws + jnp.arange(n_draws), jnp.asarray(False))


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request):
    return request.param


@pytest.fixture(scope="module")
def result(kernel):
    return run(kernel, jax.random.key(7))


def test_moments_of_a_known_density(result):
    draws = np.asarray(result[1].position).reshape(-1, DIM)
    # at least 1500 independent draws among 6000: 4.5 standard errors of means, widths and the correlation
    assert np.all(np.abs(draws.mean(0)) < 4.5 * np.array([1.0, 3.0]) / np.sqrt(1500))
    np.testing.assert_allclose(draws.std(0), [1.0, 3.0], rtol=4.5 / np.sqrt(2 * 1500))
    np.testing.assert_allclose(np.corrcoef(draws.T)[0, 1], 0.8, atol=4.5 * (1 - 0.64) / np.sqrt(1500))


def test_records(result):
    _, record = result
    assert record.position.shape == (1500, 4, DIM)
    assert record.log_density.shape == record.n_steps.shape == record.diverging.shape == (1500, 4)
    assert np.all(np.isfinite(record.position))
    assert np.all((np.asarray(record.acceptance_rate) >= 0) & (np.asarray(record.acceptance_rate) <= 1))
    assert np.all(np.asarray(record.n_steps) >= 1)
    assert abs(float(np.mean(record.acceptance_rate)) - 0.8) < 0.15
    density = flat_density(correlated)
    expected = jax.vmap(jax.vmap(density.log_density))(record.position[:5])
    np.testing.assert_allclose(record.log_density[:5], expected, rtol=1e-4, atol=1e-4)


def test_one_key_one_result(kernel, result):
    np.testing.assert_array_equal(run(kernel, jax.random.key(7))[1].position, result[1].position)
