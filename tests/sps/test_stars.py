"""Weights on SSP nodes: they integrate the interpolated table exactly, and move smoothly with time."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.sps.grids import SSPGrid
from starling.sps.stars import age_weights, formed_at_nodes, hat_weights, ionising_photon_rate, whole_ionising

LOG_AGE = np.log(np.array([1e-4, 1e-3, 3e-3, 1e-2, 0.05, 0.3, 1.0, 4.0, 13.0]))


def brute_force(edges: tuple[float, float], nodes: np.ndarray) -> np.ndarray:
    times = np.linspace(*edges, 400_001)
    times = 0.5 * (times[1:] + times[:-1])
    log_nodes = np.log(nodes)
    hats = [np.interp(np.log(times), log_nodes, row).mean() for row in np.eye(nodes.size)]
    return np.array(hats) * (edges[1] - edges[0])


@pytest.mark.parametrize("edges", [(0.0, 5e-5), (0.0, 0.03), (0.03, 0.1), (2.2, 8.5), (10.0, 16.0)])
def test_weights_integrate_the_interpolation(edges: tuple[float, float]) -> None:
    log_age, log_step = jnp.asarray(LOG_AGE), jnp.asarray(np.diff(LOG_AGE))
    masses = jnp.asarray([edges[1] - edges[0]])
    got = age_weights(masses, jnp.asarray(edges), log_age, log_step)
    want = brute_force(edges, np.exp(LOG_AGE))
    assert np.max(np.abs(np.asarray(got) - want)) < 2e-4 * (edges[1] - edges[0])
    assert np.isclose(float(jnp.sum(got)), edges[1] - edges[0], rtol=1e-5)


def test_young_mass_is_cut_at_the_age() -> None:
    log_age, log_step = jnp.asarray(LOG_AGE), jnp.asarray(np.diff(LOG_AGE))
    edges, masses = jnp.asarray([0.0, 0.03, 0.1, 5.0]), jnp.asarray([1.0, 2.0, 3.0])
    young = age_weights(masses, edges, log_age, log_step, 0.01)
    assert np.isclose(float(jnp.sum(young)), 1.0 / 3.0, rtol=1e-5)
    assert np.all(np.asarray(young)[5:] == 0.0)


def test_weights_have_continuous_slopes_in_the_edges() -> None:
    log_age, log_step = jnp.asarray(LOG_AGE), jnp.asarray(np.diff(LOG_AGE))
    slope = jax.jacfwd(lambda t: formed_at_nodes(t[None], log_age, log_step)[0])
    before, after = slope(jnp.asarray(0.3 * (1 - 1e-5))), slope(jnp.asarray(0.3 * (1 + 1e-5)))
    assert np.max(np.abs(np.asarray(after - before))) < 1e-3
    assert np.all(np.isfinite(np.asarray(slope(jnp.asarray(0.0)))))


def test_hat_weights() -> None:
    nodes = jnp.asarray([-1.0, 0.0, 2.0])
    assert np.allclose(hat_weights(jnp.asarray(1.5), nodes), [0.0, 0.25, 0.75])
    assert np.allclose(hat_weights(jnp.asarray(-3.0), nodes), [1.0, 0.0, 0.0])
    assert np.allclose(hat_weights(jnp.asarray(9.0), nodes), [0.0, 0.0, 1.0])


def test_trim_keeps_all_nodes_that_count() -> None:
    wave = np.linspace(100.0, 2000.0, 50)
    grid = SSPGrid(
        "toy",
        np.array([-2.0, -1.0, 0.0, 1.0]),
        np.exp(LOG_AGE),
        wave,
        np.ones((4, LOG_AGE.size, 50)),
        np.ones((4, LOG_AGE.size)),
    )
    trimmed = grid.trim(3.0, (-0.9, -0.1))
    assert trimmed.age_gyr[-1] == pytest.approx(4.0)
    assert list(trimmed.log_z) == [-1.0, 0.0]
    assert trimmed.l_lambda.shape == (2, 8, 50)
    untouched = grid.trim(99.0, (-5.0, 5.0))
    assert untouched.l_lambda.shape == grid.l_lambda.shape


def test_ionising_photon_rate_of_a_flat_spectrum() -> None:
    wave = np.linspace(100.0, 2000.0, 500)
    grid = SSPGrid("toy", np.zeros(1), np.ones(1), wave, np.full((1, 1, 500), 1e-3), np.ones((1, 1)))
    want = 1e-3 * 0.5 * (911.75**2 - 100.0**2) * 3.828e33 / 1.986445857e-8
    assert np.isclose(ionising_photon_rate(grid)[0, 0], want, rtol=1e-3)


def test_fsps_counts_whole_points_of_a_table() -> None:
    wave = np.array([400.0, 600.0, 800.0, 905.0, 912.0, 920.0, 1500.0])
    flat = np.full((1, 1, wave.size), 1e-3)
    grid = SSPGrid("toy", np.zeros(1), np.ones(1), wave, flat, np.ones((1, 1)))
    # linear in frequency of L_nu / nu, which is l_lambda * wave**3, up to the point at 912 A
    parts = [0.5 * (a**3 + b**3) * (1.0 / a - 1.0 / b) for a, b in pairwise(wave[:5])]
    want = 1e-3 * sum(parts) * 3.828e33 / 1.986445857e-8
    assert np.isclose(ionising_photon_rate(grid, whole_wavelengths=True)[0, 0], want, rtol=1e-9)
    assert list(whole_ionising(wave)) == [True] * 5 + [False] * 2
