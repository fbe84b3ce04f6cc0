"""The weights' reliability while they grow in number, against that of all of them at once."""

import jax.numpy as jnp
import numpy as np
import pytest

from starling.amortised.psis import smooth
from starling.amortised.reliability import reliability


@pytest.mark.parametrize("shape", [0.2, 0.65, 1.1])
@pytest.mark.parametrize("n", [400, 2000, 6000])
def test_it_is_that_of_the_draws_so_far(shape: float, n: int) -> None:
    log_weight = shape * np.random.default_rng(1).exponential(size=n)
    room = np.append(log_weight, np.full(8000 - n, -np.inf))
    found, exact = reliability(jnp.asarray(room), jnp.asarray(n)), smooth(log_weight)
    assert float(found.k_hat) == pytest.approx(exact.k_hat, abs=1e-3)
    assert float(found.ess) == pytest.approx(exact.ess, rel=1e-3)


def test_draws_without_weight_count_as_draws() -> None:
    log_weight = np.where(np.arange(4000) % 2, np.random.default_rng(1).normal(size=4000), -np.inf)
    room = np.append(log_weight, np.full(4000, -np.inf))
    found, exact = reliability(jnp.asarray(room), jnp.asarray(4000)), smooth(log_weight)
    assert float(found.k_hat) == pytest.approx(exact.k_hat, abs=1e-3)


@pytest.mark.parametrize("log_weight", [np.full(100, -np.inf), np.append(0.0, np.full(99, -np.inf))])
def test_hardly_any_weights_are_not_reliable(log_weight: np.ndarray) -> None:
    found = reliability(jnp.asarray(log_weight), jnp.asarray(100))
    assert np.isinf(found.k_hat)
    assert float(found.ess) <= 1.0
