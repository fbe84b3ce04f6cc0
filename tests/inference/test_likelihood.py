import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import log_density
from scipy.stats import norm

from starling.inference import galaxy_model, log_likelihood, observe, total_error
from starling.inference.density import flat_density
from starling.inference.observation import check, stack, take


def one(linear_model, flux=None, error=None, **options):
    flux = 1e-9 * np.array([1.0, 2.0, 3.0, 0.5, 1.5, 2.5]) if flux is None else flux
    error = np.full(6, 2e-10) if error is None else error
    return observe(flux, error, fixed={"zred": 0.5}, **options)


def test_errors_add_in_quadrature_at_the_observed_flux(linear_model):
    linear_model = type(linear_model)(
        *linear_model.tree_flatten()[0], linear_model.space, linear_model.bands, 0.03
    )
    error = total_error(one(linear_model), linear_model, 0.05)
    # flux 3e-9, error 2e-10, floor 1.5e-10, model 0.9e-10
    np.testing.assert_allclose(error[2], np.sqrt(4 + 2.25 + 0.81) * 1e-10, rtol=1e-6)


def test_faint_errors_survive_float32(linear_model):
    tiny = one(linear_model, flux=np.full(6, 1e-22), error=np.full(6, 3e-23))
    np.testing.assert_allclose(total_error(tiny, linear_model, 0.4), 5e-23, rtol=1e-5)


def test_detections_and_limits_against_scipy(linear_model):
    limits = np.array([False, True, False, False, True, False])
    observation = one(linear_model, upper_limit=limits)
    model = 1e-9 * np.array([1.1, 1.5, 3.3, 0.2, 4.5, 2.5])
    z = (np.asarray(observation.flux) - model) / 2e-10
    expected = -0.5 * np.sum(z[~limits] ** 2) + norm.logcdf(z[limits]).sum()
    error = total_error(observation, linear_model, 0.0)
    np.testing.assert_allclose(log_likelihood(observation, jnp.asarray(model), error), expected, rtol=1e-5)


def test_a_model_far_above_a_limit_has_a_finite_slope(linear_model):
    observation = one(linear_model, upper_limit=np.ones(6, bool))
    error = total_error(observation, linear_model, 0.0)
    slope = jax.grad(lambda flux: log_likelihood(observation, flux, error))(jnp.full(6, 5e-8))
    assert np.all(np.isfinite(slope))
    assert np.all(slope < 0)


def test_a_masked_band_is_a_dropped_band(linear_model):
    flux, error = 1e-9 * np.arange(1.0, 7.0), np.full(6, 2e-10)
    flux[1], error[4] = np.nan, np.nan
    masked = one(linear_model, flux, error)
    kept = [0, 2, 3, 5]
    dropped = one(linear_model, flux[kept], error[kept])
    fewer = linear_model.select([linear_model.bands[i] for i in kept])
    x = jnp.array([0.3, -0.2, 0.8])
    whole = jax.jit(jax.value_and_grad(flat_density(galaxy_model, masked, linear_model).log_density))(x)
    part = jax.jit(jax.value_and_grad(flat_density(galaxy_model, dropped, fewer).log_density))(x)
    assert np.isfinite(whole[0])
    np.testing.assert_allclose(whole[0], part[0], rtol=1e-5)
    np.testing.assert_allclose(whole[1], part[1], rtol=1e-5)


def test_float32_and_float64_agree(linear_model):
    observation = one(linear_model)
    x = jnp.array([0.3, -0.2, 0.8])
    single = jax.jit(jax.value_and_grad(flat_density(galaxy_model, observation, linear_model).log_density))(x)
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf, float if leaf.dtype.kind == "f" else bool)),
            (observation, linear_model),
        )
        double = jax.jit(jax.value_and_grad(flat_density(galaxy_model, *wide).log_density))(
            jnp.asarray(np.asarray(x, float))
        )
        assert double[0].dtype == jnp.float64
    np.testing.assert_allclose(single[0], double[0], atol=2e-4)
    np.testing.assert_allclose(single[1], double[1], rtol=2e-5, atol=2e-4)


def test_the_sampled_density_is_that_of_the_numpyro_model(linear_model):
    observation = one(linear_model)
    x = jnp.array([0.3, -0.2, 0.8])
    density = flat_density(galaxy_model, observation, linear_model)
    expected, sites = log_density(galaxy_model, (observation, linear_model), {}, {"x": x})
    assert density.log_density(x) == expected
    error = total_error(observation, linear_model)
    by_hand = norm.logpdf(np.asarray(x)).sum() + float(
        log_likelihood(observation, sites["flux"]["value"], error)
    )
    np.testing.assert_allclose(expected, by_hand, rtol=1e-6)
    assert set(linear_model.space.names) <= set(sites)


def with_offset(observation, forward_model, *, error_floor=0.05):
    """A user's model: one more latent site with bounded support."""
    numpyro.sample("width", dist.Uniform(1.0, 3.0))
    galaxy_model(observation, forward_model, error_floor=error_floor)


def test_sites_with_bounded_support_get_their_jacobian(linear_model):
    observation = one(linear_model)
    density = flat_density(with_offset, observation, linear_model)
    plain = flat_density(galaxy_model, observation, linear_model)
    position = density.ravel({"width": jnp.asarray(0.4), "x": jnp.array([0.3, -0.2, 0.8])})
    logistic = 1.0 / (1.0 + np.exp(-0.4))
    assert density.size == 4
    np.testing.assert_allclose(density.sites(position)["width"], 1.0 + 2.0 * logistic, rtol=1e-6)
    np.testing.assert_allclose(
        density.log_density(position) - plain.log_density(jnp.array([0.3, -0.2, 0.8])),
        np.log(logistic * (1 - logistic)),
        atol=2e-4,
    )


def population(observations, forward_model):
    """A user's model over galaxies: a common scatter, each galaxy under its own scope."""
    numpyro.sample("scatter", dist.HalfNormal(1.0))
    for i in range(observations.flux.shape[0]):
        with numpyro.handlers.scope(prefix=f"galaxy_{i}"):
            galaxy_model(take(observations, i), forward_model)


def vectorised(observations, forward_model):
    """The same as a plate: the single-galaxy likelihood under vmap."""
    space, n = forward_model.space, observations.flux.shape[0]
    n_free = len(space.free(observations.fixed))
    with numpyro.plate("galaxy", n):
        x = numpyro.sample("x", dist.Normal(0, 1).expand([n_free]).to_event(1))

        def likelihood(x, observation):
            error = total_error(observation, forward_model)
            return log_likelihood(observation, forward_model(space.constrain(x, observation.fixed)), error)

        numpyro.factor("photometry", jax.vmap(likelihood)(x, observations))


def test_inside_a_users_model_of_many_galaxies(linear_model):
    single = one(linear_model)
    both = stack([single, single._replace(flux=2 * single.flux)])
    x = jnp.array([[0.3, -0.2, 0.8], [1.0, 0.0, -0.5]])
    alone = sum(
        float(flat_density(galaxy_model, take(both, i), linear_model).log_density(x[i])) for i in range(2)
    )
    plate, _ = log_density(vectorised, (both, linear_model), {}, {"x": x})
    values = {"scatter": jnp.asarray(0.5), "galaxy_0/x": x[0], "galaxy_1/x": x[1]}
    scoped, sites = log_density(population, (both, linear_model), {}, values)
    np.testing.assert_allclose(plate, alone, rtol=1e-5)
    np.testing.assert_allclose(scoped - sites["scatter"]["fn"].log_prob(0.5), alone, rtol=1e-5)


def test_models_that_cannot_be_sampled_say_why(linear_model):
    with pytest.raises(ValueError, match="no latent site"):
        flat_density(lambda: numpyro.deterministic("a", 1.0))
    with pytest.raises(ValueError, match="'kind' is discrete"):
        flat_density(lambda: numpyro.sample("kind", dist.Bernoulli(0.5)))


def test_checks_name_the_galaxy_and_the_band(linear_model, linear_data):
    words = check(linear_data, linear_model)
    assert words[0] == words[1] == words[4] == ""
    assert "band_0" in words[2]
    assert "no band is used" in words[3]
    far = linear_data._replace(fixed={"zred": jnp.array([0.0, 99.0, 0.0, 0.0, 0.0])})
    assert "zred lies outside -9 to 9" in check(far, linear_model)[1]
    with pytest.raises(ValueError, match="select"):
        check(take(linear_data, [0]), linear_model.select(linear_model.bands[:3]))


def test_observations_of_odd_shapes_are_refused(linear_data):
    with pytest.raises(ValueError, match="flux_err has shape"):
        observe(np.ones((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match="one value per galaxy"):
        observe(np.ones((2, 3)), np.ones((2, 3)), fixed={"zred": 1.0})
    with pytest.raises(ValueError, match="fix the same parameters"):
        stack([take(linear_data, 0), take(linear_data, 0)._replace(fixed={})])
