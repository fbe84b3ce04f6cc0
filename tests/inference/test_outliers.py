"""Likelihoods that allow for outliers, against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from starling.inference import ErrorModel, log_likelihood, log_likelihood_at, observe, prepare_noise
from starling.inference.likelihood import curvature
from starling.inference.noise import prepare_all
from starling.inference.outliers import Mixture, log_t_cdf, outliers_of, suspects
from tests.inference.conftest import LinearModel
from tests.inference.toy_amplitude import amplitude_model

ERROR = 2e-10
Z = np.array([0.3, -1.2, 0.8, 0.0, 20.0, -2.0])  # the fifth is an outlier, the last one a limit
LIMIT = np.array([False] * 5 + [True])
STUDENT = ErrorModel(likelihood="student_t", degrees_of_freedom=3.0)
MIXTURE = ErrorModel(likelihood="mixture", f_outlier_phot=0.1, nsigma_outlier_phot=10.0)
FREE = ErrorModel(likelihood="mixture", f_outlier_phot="free", nsigma_outlier_phot=10.0)


@pytest.fixture(scope="module")
def model():
    return amplitude_model(6)


def of_residuals(z, model, errors, limit=LIMIT):
    flux = 5e-9 + ERROR * np.asarray(z)
    observation = observe(flux, np.full(len(z), ERROR), upper_limit=limit)
    noise = prepare_noise(observation, model, 0.0, "none", errors)
    return observation, noise


def value(z, model, errors, limit=LIMIT):
    observation, noise = of_residuals(z, model, errors, limit)
    return float(log_likelihood(observation, jnp.full(len(z), 5e-9), noise))


def mixed(fraction):
    """In float64, over the constant of a standard normal."""
    good = np.append(stats.norm.pdf(Z[:5]), stats.norm.cdf(Z[5]))
    bad = np.append(stats.norm.pdf(Z[:5], scale=10.0), stats.norm.cdf(Z[5] / 10.0))
    return np.prod((1 - fraction) * good + fraction * bad) * (2 * np.pi) ** 2.5


def test_student_t_against_scipy(model):
    expected = stats.t.logpdf(Z[:5], 3.0).sum() + 2.5 * np.log(2 * np.pi) + stats.t.logcdf(Z[5], 3.0)
    assert value(Z, model, STUDENT) == pytest.approx(expected, rel=2e-5)


def test_mixture_against_scipy(model):
    assert value(Z, model, MIXTURE) == pytest.approx(np.log(mixed(0.1)), rel=2e-5)


def test_a_free_fraction_is_integrated_out_exactly(model):
    marginal, _ = integrate.quad(mixed, 1e-5, 0.5, epsrel=1e-10)
    assert value(Z, model, FREE) == pytest.approx(np.log(marginal / (0.5 - 1e-5)), abs=2e-4)


def test_a_narrow_mixture_without_outliers_is_the_gaussian(model):
    errors = ErrorModel(likelihood="mixture", f_outlier_phot=1e-7)
    ordinary = np.where(Z > 5.0, 1.0, Z)
    assert value(ordinary, model, errors) == pytest.approx(value(ordinary, model, ErrorModel()), abs=1e-5)


@pytest.mark.parametrize("errors", [STUDENT, MIXTURE, FREE])
def test_slopes_are_those_of_differences_and_finite_anywhere(model, errors):
    observation, noise = of_residuals(Z, model, errors)

    def at(shift):
        return log_likelihood(observation, 5e-9 + ERROR * shift, noise)

    shifts = jnp.asarray([0.1, 0.0, -0.4, 0.0, 0.3, 0.2])  # the fourth band is where Student's t is flat
    slope = jax.jit(jax.grad(at))(shifts)
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf, float if leaf.dtype.kind == "f" else bool)),
            (observation, noise),
        )
        steps = 1e-5 * np.eye(6)
        both = [
            float(
                log_likelihood(wide[0], jnp.asarray(5e-9 + ERROR * (np.asarray(shifts, float) + s)), wide[1])
            )
            for s in (*steps, *-steps)
        ]
    np.testing.assert_allclose(slope, (np.array(both[:6]) - both[6:]) / 2e-5, rtol=2e-4, atol=2e-4)
    far = jax.jit(jax.grad(at))(jnp.asarray([1e4, -1e4, 0.0, 0.0, 1e4, 1e4]))
    assert np.all(np.isfinite(far))


@pytest.mark.parametrize("freedom", [1.0, 4.0, 30.0, 100.0])
def test_the_tail_of_students_distribution(freedom):
    z = np.array([-1e4, -300.0, -100.0, -30.0, -20.0, -10.0, -1.0, 0.0, 2.0, 50.0])
    found = log_t_cdf(jnp.asarray(z, jnp.float32), jnp.asarray(freedom))
    np.testing.assert_allclose(found, stats.t.logcdf(z, freedom), rtol=1e-4, atol=1e-5)


def test_weights_are_those_of_reweighted_least_squares(model):
    """The slope of the log density is minus weight times residual."""
    detected = np.zeros(6, bool)
    for errors in (STUDENT, MIXTURE, FREE):
        observation, noise = of_residuals(Z, model, errors, detected)
        weight = curvature(observation, jnp.asarray(Z, jnp.float32), noise)
        slope = jax.grad(lambda f, o=observation, n=noise: log_likelihood(o, f, n))(jnp.full(6, 5e-9))
        np.testing.assert_allclose(np.asarray(slope) * ERROR, np.asarray(weight) * Z, rtol=2e-3, atol=2e-3)
        assert weight[4] < 0.05


def test_probabilities_of_outliers_by_bayes(model):
    observation, noise = of_residuals(Z, model, MIXTURE, np.zeros(6, bool))
    found = suspects(noise.outliers, jnp.asarray(Z, jnp.float32), observation.mask, observation.upper_limit)
    good, bad = 0.9 * stats.norm.pdf(Z), 0.1 * stats.norm.pdf(Z, scale=10.0)
    np.testing.assert_allclose(found.probability, bad / (good + bad), rtol=1e-3)
    assert float(found.fraction) == pytest.approx(0.1)


def test_nodes_of_a_free_fraction_serve_a_polynomial():
    mixture = outliers_of(FREE, 9)
    assert isinstance(mixture, Mixture)
    assert mixture.fraction.size == 5
    ninth = float(jnp.sum(jnp.exp(mixture.log_share) * mixture.fraction**9))
    assert ninth == pytest.approx((0.5**10 - 1e-50) / 10 / (0.5 - 1e-5), rel=1e-5)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"likelihood": "cauchy"}, "likelihood"),
        ({"degrees_of_freedom": 0.5}, "degrees_of_freedom must be 1 or more"),
        ({"f_outlier_phot": 1.0}, "f_outlier_phot must lie between 0 and 1, or be free"),
        ({"f_outlier_phot": "some"}, "f_outlier_phot"),
        ({"nsigma_outlier_phot": 1.0}, "nsigma_outlier_phot must be above 1"),
        ({"error_floors": (("band_1", 1.5),)}, "error_floor of band_1"),
    ],
)
def test_settings_say_what_is_wrong(wrong, words):
    # the tests' own check of types may be first
    with pytest.raises((ValueError, TypeError), match=words):
        ErrorModel(**wrong)


def test_correlated_errors_and_outliers_do_not_go_together(model):
    with pytest.raises(ValueError, match="use model_error: band"):
        prepare_noise(of_residuals(Z, model, STUDENT)[0], model, 0.0, "covariance", STUDENT)


def test_floors_of_single_bands():
    model = amplitude_model(3)
    errors = ErrorModel(error_floors=(("band_1", 0.3), ("band_2", 0.0)))
    flux = np.full((2, 3), 5e-9)
    noise = prepare_all(observe(flux, np.full((2, 3), ERROR)), model, 0.04, "none", errors)
    expected = np.hypot(ERROR, [0.04 * 5e-9, 0.3 * 5e-9, 0.0])
    np.testing.assert_allclose(noise.error, np.broadcast_to(expected, (2, 3)), rtol=1e-6)
    with pytest.raises(ValueError, match=r"error_floors names 'band_9', which is no band in use"):
        prepare_noise(
            observe(flux[0], np.full(3, ERROR)),
            model,
            0.0,
            "none",
            ErrorModel(error_floors=(("band_9", 0.1),)),
        )


def test_errors_of_the_parameters_scale_outliers_too():
    """With errors that depend on the parameters the density stays one: its integral over the data is constant."""

    @jax.tree_util.register_pytree_node_class
    class Local(LinearModel):
        def error_correlation(self):
            return jnp.eye(1)

        def flux_error_at(self, theta, flux):
            return jnp.exp(theta[0]) * self.flux_error(flux)

    plain = amplitude_model(1)
    model = Local(plain.matrix, plain.offset, plain.space, plain.bands, 0.1)
    observation = observe(np.array([5e-9]), np.array([1e-12]))
    for errors in (STUDENT, MIXTURE):
        noise = prepare_noise(observation, model, 0.0, "local", errors)
        totals = []
        for a in (-0.5, 0.5):
            theta = jnp.asarray([a])
            values = jax.vmap(
                lambda f, theta=theta, noise=noise: log_likelihood_at(observation, model, theta, f, noise)
            )(jnp.linspace(-4e-7, 4e-7, 40001)[:, None])
            totals.append(float(jnp.sum(jnp.exp(values))))
        assert totals[0] == pytest.approx(totals[1], rel=0.01)
