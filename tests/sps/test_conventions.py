"""Each of FSPS's conventions does what it says, and no more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.sps import ExactModel, Tables, exact_model
from starling.sps.conventions import FSPS, OWN
from starling.sps.screens import escaping, screens

BANDS = ("sdss_r0",)


@pytest.fixture(scope="module")
def tables(toy_tables: Tables) -> Tables:
    """Toy tables with luminosities of isochrones that are 5% above those of the spectra, and a faint torus."""
    ssp, torus = toy_tables.ssp, toy_tables.torus
    assert torus is not None
    light = np.trapezoid(ssp.l_lambda, ssp.wave_aa, axis=-1)
    return toy_tables._replace(
        ssp=ssp._replace(bolometric=1.05 * light), torus=torus._replace(l_lambda=0.9 * torus.l_lambda)
    )


@pytest.fixture(scope="module")
def own(tables: Tables) -> ExactModel:
    return exact_model(tables, BANDS)


def with_one(tables: Tables, name: str) -> ExactModel:
    return exact_model(tables, BANDS, conventions=OWN._replace(**{name: True}))


def test_tables_say_which_are_followed(tables: Tables, own: ExactModel) -> None:
    assert own.conventions == OWN
    of_fsps = tables._replace(ssp=tables.ssp._replace(as_fsps=True))
    assert exact_model(of_fsps, BANDS).conventions == FSPS
    assert exact_model(of_fsps, BANDS, conventions=OWN).conventions == OWN
    assert all(FSPS)
    assert not any(OWN)


def test_the_torus_is_as_given_or_of_unit_luminosity(tables: Tables, own: ExactModel) -> None:
    for model, light in ((own, 1.0), (with_one(tables, "torus_as_given"), 0.9)):
        assert model.prepared.torus is not None
        found = np.asarray(model.prepared.torus.spectra, float) @ model.pixels.widths_aa
        # pixels interpolate the coarse table in the logarithm
        np.testing.assert_allclose(found, light, rtol=0.01)


def test_the_torus_is_measured_by_the_isochrones(tables: Tables, own: ExactModel) -> None:
    one = with_one(tables, "torus_by_isochrones")
    # pixels begin at 90 A: the light of the hottest stars before is not among theirs
    ratio = np.asarray(one.prepared.stars.bolometric / own.prepared.stars.bolometric)
    np.testing.assert_allclose(ratio, 1.05, rtol=2e-3)


def test_the_curve_is_lower_by_a_constant() -> None:
    wave, values = (
        jnp.asarray([3000.0, 5500.0, 9000.0]),
        {"dust2": jnp.ones(()), "dust1_fraction": jnp.zeros(())},
    )
    both = [screens("calzetti", each, values, wave)[1] for each in (OWN, OWN._replace(calzetti=True))]
    lower = np.log(np.asarray(both[1] / both[0]))
    assert np.all((lower > 5e-4) & (lower < 2e-3))


def test_light_up_to_the_first_point_beyond_the_limit_is_taken(tables: Tables, own: ExactModel) -> None:
    one = with_one(tables, "whole_wavelengths")
    wave, points = own.pixels.wave_aa, tables.ssp.wave_aa
    beyond = points[np.searchsorted(points, 912.0) + np.arange(2)]
    ramp = (wave > 911.75) & (wave < beyond[0] - 2.0)
    before, after = (np.asarray(model.prepared.stars.young) for model in (own, one))
    assert ramp.sum() > 1
    assert np.all(after[..., ramp] < before[..., ramp])
    assert np.all(after[..., wave < 890.0] == 0.0)
    np.testing.assert_allclose(after[..., wave > beyond[1]], before[..., wave > beyond[1]], rtol=1e-6)
    photons = np.asarray(one.prepared.stars.photon_rate / own.prepared.stars.photon_rate)
    assert np.all((photons > 0.9) & (photons < 1.0))


def test_nodes_are_whole(tables: Tables, own: ExactModel) -> None:
    one = with_one(tables, "whole_nodes")
    stars, age = one.prepared.stars, tables.ssp.age_gyr
    assert not own.prepared.stars.whole_nodes
    assert stars.whole_nodes
    assert tables.nebular is not None
    assert stars.young.shape[1] == np.sum(age <= 0.01)
    assert stars.photon_rate.shape[1] == np.sum(age <= tables.nebular.age_gyr[-1] * 1.0001)


def test_dust_absorbs_its_own_light_and_emits_it_again(tables: Tables, own: ExactModel) -> None:
    """Energy is conserved, and what dust is opaque to is fainter."""
    theta = own.space.sample(jax.random.key(2), (1,))[0].at[own.space.index("dust2")].set(4.0)
    found = []
    for model in (own, with_one(tables, "self_absorption")):
        spectrum = jax.jit(lambda model, theta: model.spectrum(theta))(model, theta)
        total = float(np.asarray(spectrum.dust, float) @ model.pixels.widths_aa)
        assert total == pytest.approx(float(spectrum.absorbed), rel=1e-3)
        found.append(np.asarray(spectrum.dust))
    opaque = (own.pixels.wave_aa > 1.1e4) & (own.pixels.wave_aa < 1.6e4) & (found[0] > 0.0)
    assert opaque.any()
    assert np.all(found[1][opaque] < 0.9 * found[0][opaque])


def test_what_escapes_of_what_is_emitted() -> None:
    """Half of the light of one pixel is lost at every emission: the sum of a geometric series."""
    emitted, widths = jnp.asarray([0.3, 0.35]), jnp.asarray([1.0, 2.0])
    found = escaping(emitted, jnp.asarray([0.5, 1.0]), widths)
    np.testing.assert_allclose(found, np.array([0.15, 0.35]) / (1.0 - 0.15), rtol=1e-6)
    assert float(found @ widths) == pytest.approx(1.0)
