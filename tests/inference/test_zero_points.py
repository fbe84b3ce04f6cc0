"""Zero points of groups of bands: integrated out against linear algebra, sampled against integrated out."""

import json
from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from starling.inference import (
    ErrorModel,
    ZeroPoint,
    diagnose,
    fit,
    galaxy_model,
    log_likelihood,
    observe,
    prepare_noise,
    summary_table,
    to_datatree,
)
from starling.inference.density import flat_density
from starling.inference.initialise import evaluate
from starling.inference.likelihood import independent_residuals
from tests.inference.test_noise import ERROR, FLUX, KnowingModel, full_covariance
from tests.inference.toy_amplitude import amplitude_model, below, moments, posteriors

GROUPS = (
    ZeroPoint("red", ("band_0", "band_3", "band_5"), 0.1),
    ZeroPoint("blue", ("band_1", "band_2"), 0.05),
)
MARGINAL = ErrorModel(zero_points=GROUPS)
FREE = ErrorModel(zero_points=GROUPS, treatment="free")
MEMBER = np.array([[1, 0, 0, 1, 0, 1], [0, 1, 1, 0, 0, 0]], bool)
SIGMA = np.array([0.1, 0.05])


@pytest.fixture(scope="module")
def knowing(linear_model):
    return KnowingModel(
        linear_model.matrix, linear_model.offset, linear_model.space, linear_model.bands, 0.03
    )


def one(**options):
    return observe(FLUX, 10 * ERROR, fixed={"zred": 0.5}, **options)


@pytest.mark.parametrize("kind", ["none", "covariance"])
def test_integrated_out_against_linear_algebra(knowing, kind):
    """With a limit, a missing band, and two model fluxes, between which the determinant differs."""
    limit = np.array([False, False, False, True, False, False])
    mask = np.array([True, True, True, True, True, False])
    observation = one(upper_limit=limit, mask=mask)
    noise = prepare_noise(observation, knowing, 0.0, kind, MARGINAL)
    kept = mask & ~limit
    before = np.diag((10.0 * ERROR) ** 2)
    if kind == "covariance":
        before = full_covariance(knowing, one(), 0.0)

    def expected(model):
        covariance = before.copy()
        for sigma, member in zip(SIGMA, MEMBER, strict=True):
            covariance += sigma**2 * np.outer(member * model, member * model)
        unit = 1e-9
        detected = stats.multivariate_normal.logpdf(
            (FLUX - model)[kept] / unit, np.zeros(kept.sum()), covariance[np.ix_(kept, kept)] / unit**2
        )
        of_limit = np.sqrt(before[3, 3] + (0.1 * FLUX[3]) ** 2)
        return detected + stats.norm.logcdf((FLUX - model)[3] / of_limit)

    models = [np.array([1.1, 1.9, 3.2, 0.4, 1.6, 2.0]) * 1e-9, 1.3 * FLUX]
    found = [float(log_likelihood(observation, jnp.asarray(m, jnp.float32), noise)) for m in models]
    assert found[0] - found[1] == pytest.approx(expected(models[0]) - expected(models[1]), rel=1e-3)


def test_sampled_and_integrated_out_are_the_same_posterior(knowing):
    """The density with zero points, summed over them by Gauss-Hermite quadrature, is the one without."""
    observation = one()
    free = flat_density(galaxy_model, observation, knowing, error_floor=0.0, model_error="none", errors=FREE)
    marginal = flat_density(
        galaxy_model, observation, knowing, error_floor=0.0, model_error="none", errors=MARGINAL
    )
    assert free.size == 5
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    scores = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    log_weights = np.log(np.outer(weights, weights).reshape(-1)) + 0.5 * np.sum(scores**2, axis=1)

    @jax.jit
    def both(x):
        def at(score):
            return free.log_density(free.ravel({"x": x, "zero_points": score}))

        values = jax.vmap(at)(jnp.asarray(scores, jnp.float32))
        return jax.nn.logsumexp(values + log_weights), marginal.log_density(x)

    points = np.array([[0.3, -0.2, 0.8], [0.0, 0.1, -0.4], [0.4, 0.4, 0.9]])
    found = np.asarray([both(jnp.asarray(x, jnp.float32)) for x in points])
    assert np.ptp(found[:, 1]) > 1.0
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=0.02)


def test_residuals_for_the_starts_have_the_chi2_of_the_likelihood(knowing):
    observation = one()
    for kind in ("none", "covariance"):
        noise = prepare_noise(observation, knowing, 0.0, kind, MARGINAL)
        flux = jnp.asarray(1.1 * FLUX, jnp.float32)
        z = independent_residuals(observation, flux, noise)
        before = (
            full_covariance(knowing, observation, 0.0) if kind == "covariance" else np.diag((10 * ERROR) ** 2)
        )
        covariance = before + sum(
            s**2 * np.outer(m * 1.1 * FLUX, m * 1.1 * FLUX) for s, m in zip(SIGMA, MEMBER, strict=True)
        )
        off = FLUX - 1.1 * FLUX
        assert float(jnp.sum(z**2)) == pytest.approx(off @ np.linalg.solve(covariance, off), rel=1e-3)


def test_the_first_metric_of_sampled_zero_points(knowing):
    """Gauss-Newton's Hessian against that of the density, where the residuals are small."""
    x = jnp.array([0.3, -0.2, 0.8])
    truth = knowing(knowing.space.constrain(x, {"zred": jnp.asarray(0.5)}))
    observation = observe(np.asarray(truth), 10 * ERROR, fixed={"zred": 0.5})
    noise = prepare_noise(observation, knowing, 0.0, "none", FREE)
    density = flat_density(galaxy_model, observation, knowing, noise=noise)
    position = density.ravel({"x": x, "zero_points": jnp.zeros(2)})
    found = jax.jit(lambda at: evaluate(density, observation, noise, at))(position)
    exact = -jax.jit(jax.hessian(density.log_density))(position)
    np.testing.assert_allclose(found.hessian, exact, rtol=0.02, atol=0.02 * float(jnp.max(jnp.abs(exact))))


def scattered(n, n_bands, sigma, rng):
    """Galaxies with a common factor on all bands, and their amplitudes."""
    truth = rng.normal(size=n)
    model = np.broadcast_to(5.0 + truth[:, None], (n, n_bands))
    flux = (1.0 + sigma * rng.normal(size=(n, 1))) * model + 0.3 * rng.normal(size=(n, n_bands))
    return truth, observe(1e-9 * flux, np.full(flux.shape, 0.3e-9))


def test_posteriors_with_a_zero_point_are_calibrated_and_without_are_not():
    """Twelve bands with a common zero point of 10%, over 600 simulated galaxies."""
    truth, observations = scattered(600, 12, 0.1, np.random.default_rng(1))
    model = amplitude_model(12)
    known = ErrorModel(zero_points=(ZeroPoint("all", model.bands, 0.1),))
    for errors, right in ((known, True), (None, False)):
        found = posteriors(observations, model, errors)
        p_value = stats.kstest(below(found, truth), "uniform").pvalue
        inside = np.mean(np.abs(below(found, truth) - 0.5) < 0.34)
        assert (p_value > 1e-3) == right
        assert (abs(inside - 0.68) < 4 * np.sqrt(0.68 * 0.32 / 600)) == right
        if right:
            mean, sigma = moments(found)
            assert abs(np.mean((mean - truth) / sigma)) < 4 / np.sqrt(600)


def test_fit_samples_zero_points(quick):
    """Two groups of four bands, one of them 8% too bright: chains against the sum over the grid."""
    model = amplitude_model(8)
    rng = np.random.default_rng(3)
    flux = 5.5 + 0.2 * rng.normal(size=(2, 8))
    flux[:, :4] *= 1.08
    observations = observe(1e-9 * flux, np.full(flux.shape, 0.2e-9))
    groups = (ZeroPoint("one", model.bands[:4], 0.05), ZeroPoint("other", model.bands[4:], 0.05))
    expected = moments(posteriors(observations, model, ErrorModel(zero_points=groups)))
    errors = ErrorModel(zero_points=groups, treatment="free")
    settings = replace(quick, model_error="none", errors=errors)
    draws = fit(jax.random.key(4), observations, model, settings=settings)
    found = diagnose(draws)
    assert np.all(found.rhat < 1.02)
    least = np.minimum(found.ess_bulk.min(axis=1), found.ess_tail.min(axis=1))
    samples = draws.theta[..., 0].reshape(2, -1)
    assert np.all(np.abs(samples.mean(1) - expected[0]) < 4.5 * expected[1] / np.sqrt(least))
    np.testing.assert_allclose(samples.std(1), expected[1], rtol=0.15)
    counted = draws._replace(diverging=2 * draws.diverging)
    tree = to_datatree(counted, observations, model, found, galaxy=["a", "b"], settings=settings)
    assert tree["sample_stats"]["diverging"].dtype == bool
    zero = tree["posterior"]["zero_points"]
    assert zero.dims == ("chain", "draw", "galaxy", "zero_point")
    assert zero["zero_point"].values.tolist() == ["one", "other"]
    # the first group is the brighter one, by about 8% less what the prior takes off
    assert np.all((zero.sel(zero_point="one") - zero.sel(zero_point="other")).mean(("chain", "draw")) > 0.04)
    assert "zero points sampled: one 5.0%" in tree.attrs["likelihood"]
    error = np.hypot(0.2e-9, 0.05 * 1e-9 * flux)
    np.testing.assert_allclose(tree["observed_data"]["flux_err_total"], error, rtol=1e-4)
    assert np.all(np.isfinite(summary_table(tree)["chi2"]))


def test_groups_that_cannot_be_are_refused(knowing):
    with pytest.raises(ValueError, match="band_0 is in two zero points, 'red' and 'again'"):
        ErrorModel(zero_points=(*GROUPS, ZeroPoint("again", ("band_0",), 0.1)))
    with pytest.raises(ValueError, match="has no bands"):
        ZeroPoint("empty", (), 0.1)
    with pytest.raises(ValueError, match="'off' is a fraction"):
        ZeroPoint("off", ("band_0",), 2.0)
    with pytest.raises(ValueError, match="'off' names 'band_7', which is no band in use"):
        prepare_noise(
            one(), knowing, 0.0, "none", ErrorModel(zero_points=(ZeroPoint("off", ("band_7",), 0.1),))
        )
    with pytest.raises(ValueError, match="use treatment: free"):
        ErrorModel(likelihood="student_t", zero_points=GROUPS)


def test_settings_survive_json():
    errors = replace(FREE, likelihood="mixture", f_outlier_phot="free", error_floors=(("band_1", 0.1),))
    assert ErrorModel.from_dict(json.loads(json.dumps(asdict(errors)))) == errors
