"""Pareto smoothing, masses, and adaptation: what turns draws of a flow into a posterior."""

import itertools

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.scipy.special import logsumexp

from starling.amortised.adapt import Adaptation, adapt, both, draw, log_density, of_flow, temper
from starling.amortised.mass import Amplitude, draw_log_mass
from starling.amortised.psis import fit_pareto, pareto_quantile, resample, smooth


@pytest.mark.parametrize("shape", [0.2, 0.6, 1.2])
def test_shape_of_a_pareto_tail_is_found(shape: float) -> None:
    excess = np.sort(pareto_quantile(np.random.default_rng(0).uniform(size=3000), shape, 2.0))
    found, scale = fit_pareto(excess)
    # the standard error of the shape is (1 + k) / sqrt(n)
    assert found == pytest.approx(shape, abs=4.0 * (1.0 + shape) / np.sqrt(3000))
    assert scale == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("width", [0.7, 1.0, 2.0])
def test_smoothing_is_that_of_arviz(width: float) -> None:
    z = width * np.random.default_rng(1).normal(size=4000)
    log_weights = -0.5 * z**2 + 0.5 * (z / width) ** 2 + (0.1 * np.random.default_rng(2).normal(size=4000))
    smoothed = smooth(log_weights)
    theirs, k_hat = arviz_stats.base.array_stats.psislw(-log_weights)  # it takes log likelihoods
    assert smoothed.k_hat == pytest.approx(float(k_hat), abs=0.02)
    np.testing.assert_allclose(smoothed.weights, np.exp(theirs) / np.exp(theirs).sum(), rtol=0.03, atol=1e-7)
    assert smoothed.log_mean == pytest.approx(np.log(np.mean(np.exp(log_weights))))


def test_weights_that_say_nothing_fail() -> None:
    nothing = smooth(np.full(500, -np.inf))
    assert nothing.k_hat == np.inf
    assert nothing.ess == 0.0
    one = np.full(500, -np.inf)
    one[3] = 0.0
    assert smooth(one).k_hat == np.inf
    assert smooth(one).ess == pytest.approx(1.0)


def test_weights_that_span_all_of_float64_fail_and_stay_numbers() -> None:
    """Most of the tail is next to nothing, so that the inverse of its quartile is no number."""
    log_weights = np.concatenate([-np.linspace(0.0, 1.0, 30), -np.linspace(715.0, 740.0, 370)])
    found = smooth(log_weights)
    assert found.k_hat > 0.7
    assert np.isfinite(found.weights).all()
    assert found.weights.sum() == pytest.approx(1.0)


def test_resampling_keeps_the_weights() -> None:
    weights = np.array([0.5, 0.0, 0.3, 0.2])
    kept = resample(np.random.default_rng(0), weights, 1000)
    np.testing.assert_allclose(np.bincount(kept, minlength=4) / 1000, weights, atol=1.5e-3)


@pytest.mark.parametrize(("mean", "sigma"), [(1.0, 0.02), (1.0, 0.7), (-0.3, 0.5), (1e6, 10.0)])
def test_density_of_the_mass_is_that_of_the_draws(mean: float, sigma: float) -> None:
    uniforms = jax.random.uniform(jax.random.key(0), (20000, 2))
    amplitude = Amplitude(jnp.asarray(mean), jnp.asarray(sigma))
    mass, log_q = jax.vmap(lambda u: draw_log_mass(u, amplitude, 10.0, 8.0, 12.0))(uniforms)
    mass, density = np.asarray(mass, float), np.exp(np.asarray(log_q, float))
    assert np.all((mass >= 8.0) & (mass <= 12.0))
    edges = np.quantile(mass, np.linspace(0.02, 0.98, 9))
    for low, high in itertools.pairwise(edges):
        # importance sampling of a box: its width, within the scatter of the weights
        weight = ((mass > low) & (mass < high)) / density
        error = weight.std() / np.sqrt(weight.size)
        assert weight.mean() == pytest.approx(high - low, abs=5.0 * error)


MEANS = jnp.asarray([[2.0, -1.5, 0.0], [0.5, 0.0, 0.5]])
SCALES = jnp.asarray([[0.1, 0.3, 1.0], [0.3, 0.3, 0.3]])


@pytest.mark.parametrize("n_modes", [1, 2])
def test_adaptation_finds_distant_narrow_posteriors(n_modes: int) -> None:
    def target(key: Array | None, z: Array) -> Array:
        del key
        white = (z - MEANS[:n_modes, :, None]) / SCALES[:n_modes, :, None]
        return logsumexp(-0.5 * jnp.sum(white**2, axis=1), axis=0)

    def evaluate(key: Array | None, z: Array) -> tuple[Array, Array]:
        return target(key, z), z.T

    plan, start = Adaptation(8, 1000, 0.2), of_flow(jax.random.key(2), 3, 4)
    found = jax.jit(lambda key: adapt(key, evaluate, start, plan))(jax.random.key(0))
    assert found.values.shape == (8000, 3)
    exact = float(1.5 * np.log(2.0 * np.pi) + np.log(np.sum(np.prod(np.asarray(SCALES[:n_modes]), axis=1))))
    proposal = both(found.halves)
    fresh = draw(jax.random.key(1), proposal, 4000)
    # what all rounds say, and what draws say that had no part in them
    for log_weight in (found.log_weight, target(None, fresh) - log_density(proposal, fresh)):
        smoothed = smooth(np.asarray(log_weight, float))
        assert smoothed.ess > (1500 if n_modes == 1 else 800)
        assert smoothed.k_hat < 0.5
        assert smoothed.log_mean == pytest.approx(exact, abs=0.1)
    mean = smooth(np.asarray(found.log_weight, float)).weights @ np.asarray(found.values)
    mass = np.prod(np.asarray(SCALES[:n_modes]), axis=1)
    np.testing.assert_allclose(mean, mass @ np.asarray(MEANS[:n_modes]) / mass.sum(), atol=0.05)


def test_tempered_weights_are_worth_what_was_asked_for() -> None:
    weights, power = temper(-50.0 * jnp.abs(jax.random.normal(jax.random.key(0), (1000,))), 100.0)
    assert 1.0 / float(jnp.sum(weights**2)) == pytest.approx(100.0, rel=0.02)
    assert 0.0 < float(power) < 1.0
    weights, power = temper(jnp.zeros(10), 5.0)
    np.testing.assert_allclose(weights, 0.1, rtol=1e-6)
    assert float(power) == 1.0


def test_weights_of_all_rounds_are_not_biased_by_the_fit() -> None:
    """Few draws in many dimensions: fitted to the draws that they weigh, proposals make the evidence too low."""
    scale = jnp.linspace(0.3, 1.5, 10)[:, None]

    def evaluate(key: Array | None, z: Array) -> tuple[Array, tuple[()]]:
        del key
        return -0.5 * jnp.sum((z / scale) ** 2, axis=0), ()

    plan, exact = Adaptation(6, 300, 0.2), 5.0 * np.log(2.0 * np.pi) + np.sum(np.log(np.asarray(scale)))
    keys = jax.random.split(jax.random.key(3), 64)
    run = jax.jit(jax.vmap(lambda key: adapt(key, evaluate, of_flow(key, 10, 2), plan).log_weight))
    found = np.asarray([smooth(np.asarray(one, float)).log_mean for one in run(keys)]) - exact
    assert abs(found.mean()) < 3.0 * found.std() / 8.0 + 0.02
