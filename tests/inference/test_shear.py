"""The coordinates without the bent mass: the same density, the same posterior."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.forward import PROPERTIES
from starling.inference import SamplerSettings, compiled, diagnose, fit, galaxy_model, observe, take
from starling.inference.density import flat_density
from starling.inference.error_model import ErrorModel, ZeroPoint
from starling.inference.noise import prepare_all, prepare_noise
from starling.inference.shear import best_mass, can_shear, sheared
from starling.inference.target import galaxy_density
from starling.parameters import Parameter, ParameterSpace
from starling.priors import MassMetallicity, TruncatedNormal, Uniform

SCALE = 1e-9  # maggies
BANDS = tuple(f"band_{i}" for i in range(5))
NAMES = ("a", "logmass", "logzsol")


@jax.tree_util.register_pytree_node_class
class MassiveModel:
    """Fluxes linear in 10**logmass; the metallicity's prior depends on the mass."""

    def __init__(self, matrix, space, bands):
        self.matrix, self.space, self.bands = matrix, space, bands

    def tree_flatten(self):
        return (self.matrix,), (self.space, self.bands)

    @classmethod
    def tree_unflatten(cls, static, leaves):
        return cls(*leaves, *static)

    @property
    def wave_effective_aa(self):
        return jnp.linspace(4e3, 2e4, len(self.bands))

    def __call__(self, theta):
        values = self.space.unpack(theta)
        shape = jnp.exp(self.matrix @ jnp.stack([values["a"], values["logzsol"]]))
        return SCALE * shape * 10.0 ** (values["logmass"] - 10.0)

    linear_in_mass = True

    def flux_error(self, flux):
        return 0.01 * jnp.abs(flux)

    def properties(self, theta):
        return dict.fromkeys(PROPERTIES, theta[0])

    def select(self, bands):
        return MassiveModel(self.matrix[: len(bands)], self.space, tuple(bands))


@pytest.fixture(scope="module")
def model():
    priors = (TruncatedNormal(0.0, 1.0, -9.0, 9.0), Uniform(8.0, 12.0), MassMetallicity(-1.98, 0.19))
    space = ParameterSpace(
        "massive", tuple(Parameter(name, p) for name, p in zip(NAMES, priors, strict=True))
    )
    matrix = 0.4 * np.random.default_rng(8).normal(size=(len(BANDS), 2))
    return MassiveModel(jnp.asarray(matrix, jnp.float32), space, BANDS)


@pytest.fixture(scope="module")
def data(model):
    """Three galaxies: well seen; with a limit; hardly seen, with a negative flux."""
    theta = jnp.array([[0.4, 10.3, -0.6], [-0.8, 9.6, -1.0], [0.2, 8.2, -1.5]])
    flux = np.array(jax.vmap(model)(theta), float)
    error = np.array([0.1, 0.2, 0.0])[:, None] * flux
    error[2] = SCALE
    flux = flux + error * np.random.default_rng(1).normal(size=flux.shape)
    flux[2, 0] = -0.5 * SCALE
    limit = np.zeros(flux.shape, bool)
    limit[1, 3] = True
    return observe(flux, error, upper_limit=limit)


@pytest.mark.parametrize("galaxy", [0, 1, 2])
def test_the_density_is_that_of_the_model(model, data, galaxy):
    observation = take(data, galaxy)
    noise = jax.tree.map(lambda leaf: leaf[galaxy], prepare_all(data, model, 0.0, "band"))
    plain = flat_density(galaxy_model, observation, model, noise=noise)
    assert can_shear(model, observation)
    bent = sheared(observation, model, noise)

    @jax.jit
    def both(position):
        x = bent.sites(position)["x"]
        volume = jnp.linalg.slogdet(jax.jacfwd(lambda p: bent.sites(p)["x"])(position))[1]
        value, slope = jax.value_and_grad(bent.log_density)(position)
        return value, bent.reported(position), plain.log_density(x) + volume, plain.log_density(x), slope

    for position in 0.5 * jax.random.normal(jax.random.key(galaxy), (5, 3)):
        value, reported, expected, expected_reported, slope = both(position)
        np.testing.assert_allclose(value, expected, rtol=2e-3, atol=5e-3)
        np.testing.assert_allclose(reported, expected_reported, rtol=2e-3, atol=5e-3)
        assert np.all(np.isfinite(slope))


def by_quadrature(model, observation, noise):
    """Means and covariance of theta on a grid of the unit cube."""
    # the mass is known far better than the others
    ends = [(np.arange(n) + 0.5) / n for n in (40, 400, 40)]
    cube = jnp.asarray(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3), jnp.float32)
    theta = jax.vmap(model.space.from_unit_cube)(cube)
    plain = jax.vmap(lambda u: flat_density(galaxy_model, observation, model, noise=noise).log_density(u))
    x = jax.scipy.special.ndtri(cube)
    value = np.asarray(jax.jit(plain)(x) - jnp.sum(jax.scipy.stats.norm.logpdf(x), axis=1), float)
    weight = np.exp(value - value.max())
    theta = np.asarray(theta, float)
    return np.average(theta, axis=0, weights=weight), np.cov(theta.T, aweights=weight)


def test_rounds_in_these_coordinates_find_the_posterior(model, data):
    settings = SamplerSettings(
        n_warmup=200,
        n_draws=150,
        patience=16,
        mean_steps=5.0,
        target_accept=0.8,
        n_descents=3,
        descent_steps=10,
        together=3,
        error_floor=0.0,
    )
    draws = fit(jax.random.key(2), data, model, settings=settings)
    found = diagnose(draws)
    assert found.passed.all(), found.flag
    # 600 draws are worth 400 only where they are some transitions apart
    assert np.all(draws.n_steps.sum(axis=(1, 2)) > 1.5 * 600 * 5.0)
    noise = prepare_all(data, model, 0.0, "band")
    for galaxy in range(3):
        mean, covariance = by_quadrature(
            model, take(data, galaxy), jax.tree.map(lambda leaf, g=galaxy: leaf[g], noise)
        )
        sigma = np.sqrt(np.diag(covariance))
        samples = draws.theta[galaxy].reshape(-1, 3)
        least = min(found.ess_bulk[galaxy].min(), found.ess_tail[galaxy].min())
        assert np.all(np.abs(samples.mean(axis=0) - mean) < 4.5 * sigma / np.sqrt(least))
        difference = (np.cov(samples.T) - covariance) / np.outer(sigma, sigma)
        assert np.all(np.abs(difference) < 4.5 * np.sqrt(3 / least))


def test_neighbours_change_nothing_however_many_rounds(model, data):
    settings = SamplerSettings(
        n_warmup=50, n_draws=150, patience=3, mean_steps=4.0, n_descents=2, descent_steps=8, error_floor=0.0
    )
    settings, before = replace(settings, together=2), compiled.advance._cache_size()
    whole = fit(jax.random.key(5), data, model, settings=settings)
    some = fit(jax.random.key(5), take(data, [2, 0]), model, settings=settings, numbers=[2, 0])
    np.testing.assert_array_equal(some.theta, whole.theta[[2, 0]])
    assert compiled.advance._cache_size() == before + 1  # first rounds and later ones are one program


def test_other_models_and_spaces_go_without(model, data):
    def own(observation, forward_model, *, error_floor=0.05):
        galaxy_model(observation, forward_model, error_floor=error_floor)

    observation = take(data, 0)
    noise = jax.tree.map(lambda leaf: leaf[0], prepare_all(data, model, 0.0, "band"))
    density = galaxy_density(own, observation, model, noise, 0.0)
    x = jnp.array([0.1, -0.2, 0.3])
    np.testing.assert_array_equal(density.white(x), x)
    known = observation._replace(fixed={"logmass": jnp.asarray(10.0)})
    assert not can_shear(model, known)


def test_a_flux_that_is_not_linear_in_the_mass_is_not_sheared(data):
    @jax.tree_util.register_pytree_node_class
    class Saturated(MassiveModel):
        linear_in_mass = False

    space = ParameterSpace("massive", tuple(Parameter(n, Uniform(8.0, 12.0)) for n in NAMES))
    arguments = jnp.ones((5, 2)), space, BANDS
    assert can_shear(MassiveModel(*arguments), take(data, 0))
    assert not can_shear(Saturated(*arguments), take(data, 0))


def test_the_best_mass_does_not_depend_on_where_it_is_looked_for(model, data):
    """Zero points that are integrated out have a covariance that follows the flux; h must not."""
    observation = take(data, 0)
    errors = ErrorModel(zero_points=(ZeroPoint("camera", BANDS[:3], 0.05),))
    noise = prepare_noise(observation, model, 0.0, "none", errors)
    theta = jnp.array([0.4, 10.3, -0.6])
    found = [
        float(best_mass(model(theta.at[1].set(mass)), observation, noise)[0]) + mass
        for mass in (8.5, 10.3, 12.0)
    ]
    np.testing.assert_allclose(found, found[1], atol=1e-3)
    assert abs(found[1] - 10.3) < 0.1
