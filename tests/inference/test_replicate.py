"""Data that are drawn as the likelihood has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.inference.replicate import as_observed


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.2])
def test_noise_is_that_of_the_likelihood_although_its_size_follows_the_observed_flux(floor: float) -> None:
    n, true, depth = 200_000, 1.0, 0.05
    ones = jnp.ones((n, 1))
    flux = np.asarray(as_observed(jax.random.key(0), true * ones, depth * ones, floor * ones))
    error = np.hypot(depth, floor * flux)
    f = np.linspace(0.3, 6.0, 400_001)
    s = np.hypot(depth, floor * f)
    density = np.exp(-0.5 * ((f - true) / s) ** 2) / s
    density /= density.sum()
    for power in (1, 2):
        wanted = np.sum(density * ((f - true) / s) ** power)
        assert np.mean(((flux - true) / error) ** power) == pytest.approx(wanted, abs=0.035)
    # noise of the size that the TRUE flux would give has mean 0: what the test can tell apart
    if floor == 0.2:
        assert np.sum(density * (f - true) / s) > 0.15


def test_faint_fluxes_do_not_get_lost_in_single_precision() -> None:
    flux = as_observed(jax.random.key(1), jnp.full((1000, 1), 1e-12), jnp.full(1, 1e-11), jnp.full(1, 0.05))
    assert np.std(np.asarray(flux, float)) == pytest.approx(1e-11, rel=0.1)
