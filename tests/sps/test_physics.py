"""Attenuation curves, IGM and dust templates against published values."""

import jax.numpy as jnp
import numpy as np
import pytest

from starling import igm
from starling.sps import dust


def test_calzetti_curve() -> None:
    """k(V) = R_V = 4.05, and the values of Calzetti et al. (2000) at 1500 and 2500 A, 1.6 um."""
    wave = jnp.asarray([5500.0, 1500.0, 2500.0, 16000.0, 1e5])
    got = np.asarray(dust.calzetti(wave)) * 4.05
    um = np.array([0.55, 0.15, 0.25])
    blue = 2.659 * (-2.156 + 1.509 / um - 0.198 / um**2 + 0.011 / um**3) + 4.05
    assert np.allclose(got[:3], blue, rtol=1e-4)
    assert got[0] == pytest.approx(4.05, abs=0.01)
    assert got[3] == pytest.approx(2.659 * (-1.857 + 1.04 / 1.6) + 4.05, rel=1e-4)
    assert got[4] == 0.0


@pytest.mark.parametrize("index", [-1.0, 0.0, 0.4])
def test_kriek_conroy_bump_and_slope(index: float) -> None:
    wave = jnp.asarray([5500.0, 2175.0, 20000.0])
    curve = np.asarray(dust.kriek_conroy(wave, jnp.asarray(index)))
    plain = np.asarray(dust.calzetti(wave)) * (np.asarray(wave) / 5500.0) ** index
    bump = (0.85 - 1.9 * index) / 4.05 * (2175.0 / 5500.0) ** index
    assert curve[1] - plain[1] == pytest.approx(bump, rel=1e-3)
    # at V the bump's wing adds less than two per cent
    assert curve[0] == pytest.approx(plain[0], rel=0.02)


def test_birth_clouds_are_a_power_law() -> None:
    assert np.allclose(dust.birth_cloud(jnp.asarray([5500.0, 11000.0])), [1.0, 0.5])


def test_igm_against_madau() -> None:
    """Madau (1995): no absorption redward of Lyman alpha; at z = 3.5 a mean decrement D_A near 0.4."""
    wave = jnp.asarray([1216.0, 1500.0, 1e4])
    assert np.all(np.asarray(igm.transmission(wave, jnp.asarray(3.5))) == 1.0)
    between = jnp.linspace(1050.0, 1170.0, 200)
    decrement = 1.0 - float(jnp.mean(igm.transmission(between, jnp.asarray(3.5))))
    assert 0.35 < decrement < 0.50
    deep = igm.transmission(jnp.asarray([700.0]), jnp.asarray(4.0))
    assert float(deep[0]) < 0.05
    assert np.all(np.asarray(igm.transmission(jnp.linspace(100.0, 3000.0, 300), jnp.asarray(0.0))) <= 1.0)


def test_dust_template_weights() -> None:
    qpah, umin = jnp.asarray([0.5, 2.5, 4.6]), jnp.asarray([0.1, 1.0, 25.0])
    luminosity = jnp.stack([jnp.broadcast_to(umin, (3, 3)), jnp.broadcast_to(umin + 5.0, (3, 3))])
    weights = dust.emission_weights(
        jnp.asarray(2.5), jnp.asarray(1.0), jnp.asarray(0.01), qpah, umin, luminosity
    )
    assert float(jnp.sum(weights)) == pytest.approx(1.0)
    # one template each: mass fractions 0.99 and 0.01 with luminosities 1 and 6
    assert float(weights[1, 1, 1]) == pytest.approx(0.06 / 1.05, rel=1e-5)
    assert int(jnp.sum(weights > 0)) == 2
