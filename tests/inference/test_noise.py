"""Errors of the forward model in the likelihood, against linear algebra in float64 and mock data drawn from them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from starling.forward import KnowsDomain, KnowsErrors
from starling.inference import (
    diagnose,
    fit,
    galaxy_model,
    log_likelihood,
    log_likelihood_at,
    observe,
    prepare_noise,
    summary_table,
    take,
    to_datatree,
)
from starling.inference.density import flat_density
from starling.inference.initialise import evaluate
from starling.inference.likelihood import independent_residuals
from starling.inference.noise import prepare_all
from tests.inference.conftest import LinearModel

FLUX = 1e-9 * np.array([1.0, 2.0, 3.0, 0.5, 1.5, 2.5])
ERROR = 1e-11 * np.array([2.0, 1.0, 3.0, 1.0, 2.0, 4.0])
NUMBER = {f"band_{i}": i for i in range(6)}


@jax.tree_util.register_pytree_node_class
class KnowingModel(LinearModel):
    """Errors of 3%, correlated as 0.9^distance of bands, larger by exp(0.3 theta_0); trained where |theta_0| < 0.9."""

    def error_correlation(self):
        number = np.array([NUMBER[band] for band in self.bands])
        return jnp.asarray(0.9 ** np.abs(number[:, None] - number))

    def flux_error_at(self, theta, flux):
        return jnp.exp(0.3 * theta[0]) * self.flux_error(flux)

    def remoteness(self, theta):
        return (theta[0] / 0.9) ** 2

    def select(self, bands):
        part = super().select(bands)
        return KnowingModel(part.matrix, part.offset, part.space, part.bands, part.model_error)


@pytest.fixture(scope="module")
def knowing(linear_model):
    return KnowingModel(
        linear_model.matrix, linear_model.offset, linear_model.space, linear_model.bands, 0.03
    )


def one(flux=FLUX, error=ERROR, **options):
    return observe(flux, error, fixed={"zred": 0.5}, **options)


def full_covariance(model, observation, floor):
    """diag(e^2 + f^2) + m R m, float64, maggies^2."""
    flux, error = (np.asarray(array, float) for array in observation[:2])
    own = np.asarray(model.flux_error(observation.flux), float)
    return np.diag(error**2 + (floor * flux) ** 2) + np.outer(own, own) * np.asarray(
        model.error_correlation(), float
    )


def test_who_knows_what(linear_model, knowing):
    assert isinstance(knowing, KnowsErrors)
    assert isinstance(knowing, KnowsDomain)
    assert not isinstance(linear_model, KnowsErrors)
    assert not isinstance(linear_model, KnowsDomain)
    for kind in ("covariance", "local"):
        with pytest.raises(ValueError, match=f"model_error: {kind} needs a forward model"):
            prepare_noise(one(), linear_model, 0.05, kind)
    assert prepare_noise(one(), linear_model, 0.05, "none").whiten is None


def test_an_exact_model_has_the_same_errors_with_and_without_its_own(linear_model):
    band, none = (prepare_noise(one(), linear_model, 0.05, kind) for kind in ("band", "none"))
    np.testing.assert_allclose(band.error, none.error, rtol=1e-6)


def test_none_leaves_the_models_error_out(knowing):
    noise = prepare_noise(one(), knowing, 0.02, "none")
    np.testing.assert_allclose(noise.error, np.hypot(ERROR, 0.02 * FLUX), rtol=1e-6)


def test_covariance_against_linear_algebra_with_masks_and_limits(knowing):
    flux, limits = FLUX.copy(), np.array([False, False, True, False, False, False])
    flux[4] = np.nan
    observation = one(flux, upper_limit=limits)
    model_flux = 1.02 * FLUX
    noise = prepare_noise(observation, knowing, 0.01, "covariance")
    kept = [0, 1, 3, 5]
    covariance = full_covariance(knowing, one(), 0.01)
    off = (FLUX - model_flux)[kept]
    marginal = np.sqrt(np.diag(covariance))
    expected = -0.5 * off @ np.linalg.solve(covariance[np.ix_(kept, kept)], off)
    expected += norm.logcdf((FLUX - model_flux)[2] / marginal[2])
    np.testing.assert_allclose(noise.error[jnp.array(kept)], marginal[kept], rtol=1e-5)
    # float32 knows the inverse of a matrix of condition 100 to about 1e-4
    assert float(log_likelihood(observation, jnp.asarray(model_flux), noise)) == pytest.approx(
        expected, rel=3e-4
    )


def test_bands_that_err_alike_are_nearly_one_band_and_still_finite(linear_model):
    """The worst of conditions: no other error, and errors of the model that are the same in all bands."""

    @jax.tree_util.register_pytree_node_class
    class Alike(KnowingModel):
        def error_correlation(self):
            return jnp.ones((len(self.bands),) * 2)

    model = Alike(linear_model.matrix, linear_model.offset, linear_model.space, linear_model.bands, 0.03)
    observation = one(error=1e-6 * FLUX)
    noise = prepare_noise(observation, model, 0.0, "covariance")
    # a common factor of 3% is one sigma in one direction
    z = independent_residuals(observation, jnp.asarray(1.03 * FLUX, jnp.float32), noise)
    assert float(jnp.sum(z**2)) == pytest.approx(1.0, rel=0.05)


def test_mock_errors_drawn_from_the_covariance_have_a_chi2_of_one_per_band(knowing):
    rng, n = np.random.default_rng(8), 4000
    truth = one(error=0.2 * 0.03 * FLUX)
    drawn = rng.multivariate_normal(np.zeros(6), full_covariance(knowing, truth, 0.0) / 1e-20, n) * 1e-10
    mock = observe(
        FLUX + drawn, np.broadcast_to(truth.flux_err, drawn.shape), fixed={"zred": np.full(n, 0.5)}
    )
    chi2 = {}
    for kind in ("band", "covariance"):
        noise = prepare_all(mock, knowing, 0.0, kind)
        z = jax.vmap(lambda o, e: independent_residuals(o, jnp.asarray(FLUX, jnp.float32), e))(mock, noise)
        chi2[kind] = np.sum(np.asarray(z, float) ** 2, axis=1)
    # chi2 of 6 degrees of freedom has variance 12; errors at the observed flux shift it by their square, 0.1%
    assert chi2["covariance"].mean() / 6 == pytest.approx(1.0, abs=5 * np.sqrt(12 / n) / 6 + 0.01)
    assert np.var(chi2["covariance"]) == pytest.approx(12.0, rel=0.15)
    # each band alone is right on average, but the bands err together
    assert chi2["band"].mean() / 6 == pytest.approx(1.0, abs=0.1)
    assert np.var(chi2["band"]) > 30.0


def closed(model, observation, covariance):
    matrix = np.asarray(model.matrix, float)
    data = np.asarray(observation.flux, float) - np.asarray(model.offset, float) - 0.5 * matrix[:, 3]
    weighted = np.linalg.solve(covariance, matrix[:, :3])
    posterior = np.linalg.inv(matrix[:, :3].T @ weighted + np.eye(3))
    return posterior @ weighted.T @ data, posterior


def test_posterior_of_a_linear_model(knowing, quick):
    """Width and centre against the closed form, which differs from that of independent errors; the draws' domain."""
    theta = np.array([0.9, -0.2, 0.4, 0.5])
    covariance = full_covariance(knowing, one(np.asarray(knowing(jnp.asarray(theta)), float)), 0.0)
    flux = np.asarray(knowing(jnp.asarray(theta, jnp.float32)), float)
    observation = one(flux)
    mean, expected = closed(knowing, observation, covariance)
    _, independent = closed(knowing, observation, np.diag(np.diag(covariance)))
    assert np.max(np.abs(np.sqrt(np.diag(independent) / np.diag(expected)) - 1.0)) > 0.2
    batch = jax.tree.map(lambda leaf: leaf[None], observation)
    settings = replace(quick, model_error="covariance")
    draws = fit(jax.random.key(2), batch, knowing, settings=settings)
    found = diagnose(draws)
    samples = draws.theta[0, :, :, :3].reshape(-1, 3)
    least = min(found.ess_bulk.min(), found.ess_tail.min())
    sigma = np.sqrt(np.diag(expected))
    assert np.all(np.abs(samples.mean(0) - mean) < 4.5 * sigma / np.sqrt(least))
    scaled = (np.cov(samples.T) - expected) / np.outer(sigma, sigma)
    assert np.all(np.abs(scaled) < 4.5 * np.sqrt(2 / least))

    outside = np.mean(np.abs(draws.theta[0, ..., 0]) > 0.9)
    assert 0.01 < outside < 0.99
    assert found.outside[0] == pytest.approx(outside)
    assert "outside what the emulator was trained on" in found.flag[0]
    tree = to_datatree(draws, batch, knowing, found, galaxy=["a"], settings=settings)
    np.testing.assert_allclose(
        tree["sample_stats"]["remoteness"][..., 0], (draws.theta[0, ..., 0] / 0.9) ** 2, rtol=1e-5
    )
    np.testing.assert_allclose(
        tree["observed_data"]["flux_err_total"][0], np.sqrt(np.diag(covariance)), rtol=1e-4
    )
    assert summary_table(tree)["outside_domain"][0] == pytest.approx(outside)


def test_the_first_metric_is_that_of_the_covariance(knowing):
    observation, x = one(), jnp.array([0.3, -0.2, 0.8])
    noise = prepare_noise(observation, knowing, 0.0, "covariance")
    density = flat_density(galaxy_model, observation, knowing, noise=noise)
    hessian = jax.jit(lambda x: evaluate(density, observation, noise, x).hessian)(x)
    _, posterior = closed(knowing, observation, full_covariance(knowing, observation, 0.0))
    np.testing.assert_allclose(np.linalg.inv(hessian), posterior, rtol=2e-3, atol=1e-5)


def test_errors_that_depend_on_the_parameters_against_scipy(knowing):
    limits = np.array([False, True, False, False, False, False])
    flux = FLUX.copy()
    flux[3] = np.inf
    observation = one(flux, upper_limit=limits)
    noise = prepare_noise(observation, knowing, 0.02, "local")
    used = [0, 2, 4, 5]

    def expected(theta):
        model = 1.01 * FLUX
        own = 0.03 * np.exp(0.3 * theta[0]) * FLUX
        error = np.sqrt(ERROR**2 + (0.02 * FLUX) ** 2 + own**2)
        detected = norm.logpdf(FLUX[used], model[used], error[used]).sum()
        return detected + norm.logcdf((FLUX[1] - model[1]) / error[1])

    points = [np.array([0.4, 0.1, 0.0, 0.5]), np.array([-1.3, 0.1, 0.0, 0.5])]
    value = jax.jit(
        lambda theta: log_likelihood_at(
            observation, knowing, theta, jnp.asarray(1.01 * FLUX, jnp.float32), noise
        )
    )
    found = [float(value(jnp.asarray(theta, jnp.float32))) for theta in points]
    assert found[0] - found[1] == pytest.approx(expected(points[0]) - expected(points[1]), rel=1e-4)


@pytest.mark.parametrize("kind", ["none", "covariance", "local"])
def test_a_masked_band_is_a_dropped_band_and_slopes_are_finite(knowing, kind):
    flux, error = FLUX.copy(), ERROR.copy()
    flux[1], error[4] = np.nan, np.nan
    limits = np.array([False, False, False, True, False, False])
    kept = np.array([0, 2, 3, 5])
    masked = one(flux, error, upper_limit=limits)
    dropped = one(flux[kept], error[kept], upper_limit=limits[kept])
    fewer = knowing.select([knowing.bands[i] for i in kept])
    x = jnp.array([0.3, -0.2, 0.8])
    whole, part = (
        jax.jit(jax.value_and_grad(flat_density(galaxy_model, o, m, model_error=kind).log_density))(x)
        for o, m in ((masked, knowing), (dropped, fewer))
    )
    assert np.isfinite(whole[0])
    assert np.all(np.isfinite(whole[1]))
    np.testing.assert_allclose(whole[0], part[0], rtol=1e-4)
    np.testing.assert_allclose(whole[1], part[1], rtol=1e-3)


def test_prepared_noise_is_the_same_density(knowing):
    observation, x = one(), jnp.array([0.3, -0.2, 0.8])
    for kind in ("band", "covariance", "local", "none"):
        noise = prepare_noise(observation, knowing, 0.05, kind)
        prepared = flat_density(galaxy_model, observation, knowing, noise=noise)
        asked = flat_density(galaxy_model, observation, knowing, error_floor=0.05, model_error=kind)
        assert float(prepared.log_density(x)) == pytest.approx(float(asked.log_density(x)), rel=1e-6)


def test_float32_and_float64_agree_on_a_covariance(knowing):
    observation, x = one(), jnp.array([0.3, -0.2, 0.8])

    def gradient(observation, model, x):
        density = flat_density(galaxy_model, observation, model, error_floor=0.0, model_error="covariance")
        return jax.jit(jax.grad(density.log_density))(x)

    single = gradient(observation, knowing, x)
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf, float if leaf.dtype.kind == "f" else bool)),
            (observation, knowing),
        )
        double = gradient(*wide, jnp.asarray(np.asarray(x, float)))
        assert double.dtype == jnp.float64
    np.testing.assert_allclose(single, double, rtol=1e-3)


def old_model(observation, forward_model, *, error_floor=0.05):
    galaxy_model(observation, forward_model, error_floor=error_floor)


def test_a_users_model_that_takes_no_noise_is_told(knowing, linear_data, quick):
    with pytest.raises(ValueError, match=r"takes no `noise`.*hand it on to galaxy_model"):
        fit(
            jax.random.key(1),
            take(linear_data, [0]),
            knowing,
            settings=replace(quick, model_error="local"),
            model=old_model,
        )
    # the tests' own check of types is before that of the settings
    with pytest.raises((ValueError, TypeError), match="model_error"):
        replace(quick, model_error="ful")
