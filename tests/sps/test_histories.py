"""The DESI model: masses that add up, metallicities where they belong, spectra that are sums over the table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_tables import make_toy_tables

from starling.components import mixture_of
from starling.cosmology import age_gyr
from starling.sfh import metallicity_basis, sfh_basis, stick_fractions
from starling.spaces import desi_bgs
from starling.sps.histories import Z_SUN, HistoryModel, history_model
from starling.sps.pixels import make_pixels

SPACE = desi_bgs()


@pytest.fixture(scope="module")
def model() -> HistoryModel:
    return history_model(make_toy_tables().ssp, make_pixels(((2000.0, 5e-3),), 1e4), SPACE)


def test_the_prior_on_shares_is_flat() -> None:
    """Flat Dirichlet over 4: every share has mean 1/4 and variance 3/80; 1% is three Monte Carlo errors."""
    theta = SPACE.sample(jax.random.key(0), (20000,))
    shares = jax.vmap(lambda t: mixture_of(SPACE, t).fractions)(theta)
    assert np.allclose(shares.sum(axis=1), 1.0, atol=1e-5)
    assert np.allclose(shares.mean(axis=0), 0.25, atol=5e-3)
    assert np.allclose(shares.var(axis=0), 3.0 / 80.0, rtol=0.06)
    assert np.allclose(stick_fractions(jnp.ones(3)), [0, 0, 0, 1])


def test_every_history_forms_one_solar_mass(model: HistoryModel) -> None:
    values = SPACE.unpack(SPACE.sample(jax.random.key(1)))
    weights = model.weights(values)
    assert weights.shape[0] == 4
    assert np.allclose(weights.sum(axis=(1, 2)), 1.0, atol=1e-5)
    assert np.all(np.asarray(weights) >= 0.0)


def test_mean_age_and_metallicity_are_those_of_the_bases(model: HistoryModel) -> None:
    theta = SPACE.sample(jax.random.key(2))
    values = SPACE.unpack(theta)
    weights = np.asarray(model.weights(values))
    x = np.linspace(1e-4, 1.0, 20001)
    sfr = np.asarray(sfh_basis(jnp.asarray(x)))
    lookback = (1.0 - x) * float(age_gyr(values["zred"]))
    log_age = np.log(np.maximum(lookback, 1e-4))
    metals = np.asarray(metallicity_basis(jnp.asarray(x)) @ jnp.stack([values["zh_1"], values["zh_2"]]))
    log_z = np.clip(np.log10(metals / Z_SUN), float(model.log_z[0]), float(model.log_z[-1]))
    for history in range(4):
        share = sfr[:, history] / sfr[:, history].sum()
        expected = share @ np.clip(log_age, float(model.log_age[0]), None)
        assert np.isclose(weights[history].sum(axis=0) @ np.asarray(model.log_age), expected, atol=0.01)
        assert np.isclose(weights[history].sum(axis=1) @ np.asarray(model.log_z), share @ log_z, atol=0.01)


def test_spectra_redden_and_differentiate(model: HistoryModel) -> None:
    theta = SPACE.sample(jax.random.key(3)).at[SPACE.index("dust2")].set(0.0)
    clear = model.component_spectra(theta).stars
    dusty = model.component_spectra(theta.at[SPACE.index("dust2")].set(1.0)).stars
    ratio = np.asarray(dusty / clear)
    # less is absorbed at longer wavelengths; the two polynomials of the curve meet at 6300 A but for 2e-3
    assert np.all(np.diff(ratio, axis=1) > -2e-3)
    v_band = int(np.argmin(np.abs(model.pixels.wave_aa - 5500.0)))
    assert np.allclose(ratio[:, v_band], np.exp(-1.0), rtol=0.02)
    gradient = jax.grad(lambda t: jnp.sum(model.component_spectra(t).stars) * 1e4)(theta)
    assert np.all(np.isfinite(gradient))
