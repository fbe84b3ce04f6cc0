"""Galaxies with one parameter, whose posteriors are sums over a grid: what messy photometry does to them is known."""

import jax
import jax.numpy as jnp
import numpy as np

from starling.inference import galaxy_model, prepare_noise
from starling.inference.density import flat_density
from tests.inference.conftest import SCALE, LinearModel, linear_space

GRID = jnp.linspace(-5.0, 5.0, 801)


def amplitude_model(n_bands, level=5.0, slope=1.0):
    """Every band has the flux level + slope a, in units of SCALE; a has the standard normal for its prior."""
    bands = tuple(f"band_{i}" for i in range(n_bands))
    matrix = jnp.full((n_bands, 1), slope * SCALE, jnp.float32)
    return LinearModel(matrix, jnp.full(n_bands, level * SCALE, jnp.float32), linear_space(("a",)), bands)


def posteriors(observations, model, errors=None, error_floor=0.0):
    """Probabilities of the grid's points for every galaxy, with the density that the samplers see."""

    @jax.jit
    @jax.vmap
    def on_grid(observation):
        noise = prepare_noise(observation, model, error_floor, "none", errors)
        density = flat_density(galaxy_model, observation, model, noise=noise)
        return jax.nn.softmax(jax.vmap(lambda a: density.log_density(a[None]))(GRID))

    return np.asarray(on_grid(observations), float)


def moments(probabilities):
    """Posterior means and deviations."""
    grid = np.asarray(GRID, float)
    mean = probabilities @ grid
    return mean, np.sqrt(probabilities @ grid**2 - mean**2)


def below(probabilities, truth):
    """Posterior probability of being below the truth: uniform over galaxies where the posterior is right."""
    cumulative = np.cumsum(probabilities, axis=1) - 0.5 * probabilities
    return np.asarray([np.interp(t, GRID, c) for t, c in zip(truth, cumulative, strict=True)])
