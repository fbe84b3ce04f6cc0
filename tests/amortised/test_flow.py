import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from starling.amortised.flow import Flow, flow_orders
from starling.amortised.local import Local
from starling.amortised.splines import inverse_spline, n_raw, spline

BINS, BOUND = 6, 3.0


def test_spline_is_monotone_and_its_inverse_and_slope_are_right() -> None:
    x = jnp.linspace(-4.0, 4.0, 401)
    raw = 2.0 * jax.random.normal(jax.random.key(0), (n_raw(BINS), 1)) * jnp.ones((1, x.size))
    y, log_slope = spline(x, raw, BINS, BOUND)
    assert np.all(np.diff(y) > 0)
    back, log_inverse = inverse_spline(y, raw, BINS, BOUND)
    np.testing.assert_allclose(back, x, atol=1e-3)
    np.testing.assert_allclose(log_inverse, -log_slope, atol=5e-3)
    exact = jax.vmap(jax.grad(lambda one, r: spline(one, r, BINS, BOUND)[0]), in_axes=(0, 1))(x, raw)
    np.testing.assert_allclose(jnp.exp(log_slope), exact, rtol=1e-3)
    outside = np.abs(x) > BOUND
    np.testing.assert_array_equal(y[outside], x[outside])


def test_raw_zeros_make_the_identity() -> None:
    x = jnp.linspace(-2.9, 2.9, 50)
    y, log_slope = spline(x, jnp.zeros((n_raw(BINS), x.size)), BINS, BOUND)
    np.testing.assert_allclose(y, x, atol=1e-5)
    np.testing.assert_allclose(log_slope, 0.0, atol=1e-5)


def _locals(n: int) -> Local:
    """Gaussians of ``n`` galaxies, none of them the identity."""
    mean = 0.3 * jax.random.normal(jax.random.key(6), (n, 2))
    whitener = jnp.broadcast_to(jnp.asarray([[2.0, 0.0], [0.7, 0.5]]), (n, 2, 2))
    return Local(mean, whitener, jnp.linspace(1.0, 9.0, n))


def test_flow_inverts_itself_and_knows_its_determinant(bent: Flow) -> None:
    features = jax.random.normal(jax.random.key(2), (1, 5))
    context = bent.context(features, _locals(1))
    z = jax.random.normal(jax.random.key(3), (2, 20))
    v, log_slope = bent.from_normal(context, z)
    back, log_back = bent.to_normal(context, v)
    np.testing.assert_allclose(back, z, atol=1e-3)
    np.testing.assert_allclose(log_back, -log_slope, atol=2e-3)

    def one(z: Array) -> Array:
        return bent.from_normal(context, z[:, None])[0][:, 0]

    determinants = jnp.linalg.slogdet(jax.vmap(jax.jacfwd(one), in_axes=1)(z))[1]
    np.testing.assert_allclose(log_slope, determinants, atol=2e-3)


def test_density_integrates_to_one(bent: Flow) -> None:
    context = bent.context(jnp.ones((1, 5)), _locals(1))
    draws, _ = bent.from_normal(context, 1.5 * jax.random.normal(jax.random.key(0), (2, 5000)))
    low, high = np.min(draws, axis=1), np.max(draws, axis=1)
    axes = [np.linspace(a, b, 500) for a, b in zip(low, high, strict=True)]
    grid = np.stack([one.ravel() for one in np.meshgrid(*axes)])
    density = np.exp(np.asarray(bent.log_prob(context, jnp.asarray(grid, jnp.float32)), float))
    assert density.sum() * np.prod((high - low) / 499) == pytest.approx(1.0, abs=0.01)


def test_a_context_per_galaxy_is_that_of_each(bent: Flow) -> None:
    features = jax.random.normal(jax.random.key(4), (3, 5))
    v = jax.random.normal(jax.random.key(5), (2, 3))
    local = _locals(3)
    together = bent.log_prob(bent.context(features, local), v)

    def alone(i: int) -> Array:
        one = jax.tree.map(lambda leaf: leaf[i : i + 1], (features, local))
        return bent.log_prob(bent.context(*one), v[:, i : i + 1])[0]

    apart = [alone(i) for i in range(3)]
    np.testing.assert_allclose(together, jnp.stack(apart), rtol=1e-4, atol=1e-4)


def test_orders_come_in_pairs_that_move_everything() -> None:
    orders = flow_orders(5, 4, 0)
    assert all(sorted(order) == list(range(5)) for order in orders)
    for first, second in (orders[:2], orders[2:]):
        assert set(first[2:]) | set(second[2:]) == set(range(5))
