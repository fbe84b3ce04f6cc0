"""Distances and ages against astropy; star-formation histories against their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import WMAP9

from starling.cosmology import age_gyr, flux_scale, luminosity_distance_mpc
from starling.sfh import bin_edges_gyr, history_properties, mass_fractions

REDSHIFTS = np.array([0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 3.0, 6.0, 12.0])


def test_distances_and_ages_agree_with_astropy() -> None:
    distance = np.asarray(luminosity_distance_mpc(REDSHIFTS))
    assert np.max(np.abs(distance / WMAP9.luminosity_distance(REDSHIFTS).value - 1)) < 1e-5
    assert np.max(np.abs(np.asarray(age_gyr(REDSHIFTS)) / WMAP9.age(REDSHIFTS).value - 1)) < 1e-5
    assert float(age_gyr(0.0)) == pytest.approx(WMAP9.age(0).value, rel=1e-5)


def test_distance_gradient() -> None:
    slope = float(jax.grad(luminosity_distance_mpc)(1.0))
    want = (WMAP9.luminosity_distance(1.001) - WMAP9.luminosity_distance(0.999)).value / 0.002
    assert slope == pytest.approx(want, rel=1e-3)


def test_flux_scale_is_the_inverse_square_law() -> None:
    want = 10**10.5 * (1e-5 / WMAP9.luminosity_distance(0.8).value) ** 2
    assert float(flux_scale(10.5, 0.8)) == pytest.approx(want, rel=1e-5)


def test_bins() -> None:
    """0, 30 and 100 Myr, four bins equal in log time to 85% of the age of the universe, the rest."""
    edges = np.asarray(bin_edges_gyr(jnp.asarray(1.2)), float)
    age = WMAP9.age(1.2).value
    assert np.allclose(edges[[0, 1, 2, 6, 7]], [0.0, 0.03, 0.1, 0.85 * age, age], rtol=1e-5)
    assert np.allclose(np.diff(np.log(edges[2:7])), np.log(8.5 * age) / 4, rtol=1e-4)


def test_ratios_are_of_adjacent_rates_young_over_old() -> None:
    ratios = jnp.asarray([0.5, -0.3, 0.0, 1.0, -2.0, 0.2])
    edges = bin_edges_gyr(jnp.asarray(0.7))
    fractions = np.asarray(mass_fractions(ratios, edges), float)
    assert fractions.sum() == pytest.approx(1.0, abs=1e-6)
    rates = fractions / np.diff(np.asarray(edges, float))
    assert np.allclose(np.log10(rates[:-1] / rates[1:]), ratios, atol=1e-4)


def test_extreme_ratios_stay_finite() -> None:
    edges = bin_edges_gyr(jnp.asarray(3.0))
    for sign in (-5.0, 5.0):
        fractions = mass_fractions(jnp.full(6, sign), edges)
        assert np.all(np.isfinite(fractions))
        assert float(jnp.sum(fractions)) == pytest.approx(1.0, abs=1e-6)


def test_history_of_constant_star_formation() -> None:
    age = WMAP9.age(1.0).value
    properties = history_properties(jnp.asarray(10.0), jnp.zeros(6), jnp.asarray(1.0), jnp.asarray(-0.2))
    rate = 10.0 / age
    assert float(properties["sfr_30"]) == pytest.approx(rate, rel=1e-4)
    assert float(properties["sfr_100"]) == pytest.approx(rate, rel=1e-4)
    assert np.allclose(properties["sfh"], rate, rtol=1e-4)
    assert float(properties["mwa"]) == pytest.approx(age / 2, rel=1e-4)
    assert float(properties["t50"]) == pytest.approx(age / 2, rel=1e-4)
    assert float(properties["log_stellar_mass"]) == pytest.approx(9.8)
    assert float(properties["log_ssfr_100"]) == pytest.approx(np.log10(rate) - 9.8, abs=1e-4)


def test_short_averages_follow_the_youngest_bins() -> None:
    ratios = jnp.asarray([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    properties = history_properties(jnp.asarray(10.0), ratios, jnp.asarray(1.0))
    young, second = properties["sfh"][:2]
    assert float(properties["sfr_30"]) == pytest.approx(float(young), rel=1e-4)
    assert float(properties["sfr_100"]) == pytest.approx(0.3 * float(young) + 0.7 * float(second), rel=1e-4)
