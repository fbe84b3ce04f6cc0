"""Priors: densities integrate to one, quantiles invert the CDF, tails behave, all is differentiable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from starling.priors import (
    MassMetallicity,
    Prior,
    StudentT2,
    TruncatedNormal,
    Uniform,
    prior_from_dict,
)

PRIORS: tuple[Prior, ...] = (
    Uniform(-1.2, 0.4),
    TruncatedNormal(0.3, 1.0, 0.0, 4.0),
    TruncatedNormal(1.0, 10.0, 0.1, 25.0),
    StudentT2(0.3, -5.0, 5.0),
    MassMetallicity().given({"logmass": jnp.asarray(11.3)}),
)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: f"{type(p).__name__}-{p.low}")
def test_density_integrates_to_one_and_quantile_inverts_cdf(prior: Prior) -> None:
    x = jnp.linspace(prior.low, prior.high, 20_001)
    density = np.exp(np.asarray(prior.log_prob(x), float))
    assert np.trapezoid(density, np.asarray(x, float)) == pytest.approx(1.0, abs=2e-4)
    p = jnp.linspace(0.001, 0.999, 101)
    assert np.allclose(prior.cdf(prior.icdf(p)), p, atol=3e-6)
    assert float(prior.cdf(prior.low)) == pytest.approx(0.0, abs=1e-6)
    assert float(prior.cdf(prior.high)) == pytest.approx(1.0, abs=1e-6)
    assert np.all(np.isneginf(prior.log_prob(jnp.asarray([prior.low - 0.1, prior.high + 0.1]))))
    assert np.all(np.isfinite(jax.jit(jax.vmap(jax.grad(prior.icdf)))(p)))


def test_against_scipy() -> None:
    p = np.linspace(0.01, 0.99, 33)
    t2 = stats.t(2, scale=0.3)
    low, high = t2.cdf([-5, 5])
    assert np.allclose(
        StudentT2(0.3, -5.0, 5.0).icdf(p), t2.ppf(low + p * (high - low)), rtol=2e-4, atol=1e-6
    )
    normal = stats.truncnorm(-0.3, 3.7, loc=0.3, scale=1.0)
    assert np.allclose(TruncatedNormal(0.3, 1.0, 0.0, 4.0).icdf(p), normal.ppf(p), rtol=1e-4, atol=1e-5)
    x = np.linspace(0.05, 3.9, 20)
    assert np.allclose(TruncatedNormal(0.3, 1.0, 0.0, 4.0).log_prob(x), normal.logpdf(x), atol=1e-4)


@settings(deadline=None, max_examples=50)
@given(p=st.floats(0.0, 1.0, width=32), index=st.integers(0, len(PRIORS) - 1))
def test_quantiles_stay_inside_and_finite(p: float, index: int) -> None:
    prior = PRIORS[index]
    x = float(prior.icdf(jnp.asarray(p, jnp.float32)))
    span = prior.high - prior.low
    assert prior.low - 1e-5 * span <= x <= prior.high + 1e-5 * span


def test_mass_metallicity_follows_gallazzi() -> None:
    """Gallazzi et al. (2005): -0.11 (-0.65, 0.17) at log M = 10.27; twice the scatter; constant beyond the table."""
    given_mass = MassMetallicity().given({"logmass": jnp.asarray(10.27)})
    assert float(given_mass.mean) == pytest.approx(-0.11, abs=1e-5)
    assert float(given_mass.sigma) == pytest.approx(0.82, abs=1e-5)
    low, lowest = (MassMetallicity().given({"logmass": jnp.asarray(m)}) for m in (8.87, 6.0))
    assert float(low.mean) == float(lowest.mean)


def test_round_trip_and_errors() -> None:
    for prior in (*PRIORS[:4], MassMetallicity()):
        assert prior_from_dict(prior.to_dict()) == prior
    with pytest.raises(ValueError, match="unknown prior kind 'gauss'"):
        prior_from_dict({"kind": "gauss"})
    with pytest.raises(ValueError, match="uniform"):
        prior_from_dict({"kind": "uniform", "low": 0.0, "hgih": 1.0})
    with pytest.raises(ValueError, match="swap or widen"):
        Uniform(1.0, 0.0)
