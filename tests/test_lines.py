"""Emission lines in filters: against narrow lines in a fine spectrum, the IGM, differentiability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling import igm
from starling.lines import AT_TEN_PC, REST_FRAME_BANDS, line_light, line_table
from starling.photometry import load_bands, synthetic_maggies

BANDS = ("subaru_suprimecam_ia738", "acs_wfc_f814w", "spitzer_irac_ch1")
# op by op a second each
at = jax.jit(lambda light, zred: light(zred))
WAVES = np.array([1215.67, 4862.7, 5008.2, 6564.6, 10832.0])


@pytest.mark.parametrize("zred", [0.02, 0.47, 1.9, 4.6])
def test_a_line_counts_like_a_narrow_line_in_a_spectrum(zred: float) -> None:
    bands = load_bands(BANDS)
    light = line_light(WAVES, bands, 5.0)
    seen = np.asarray(at(light, jnp.asarray(zred)))
    for wave, row in zip(WAVES[1:], seen[1:], strict=True):
        observed = wave * (1.0 + zred)
        grid = observed * (1.0 + 1e-5 * np.linspace(-5.0, 5.0, 401))
        shape = np.exp(-0.5 * ((grid / observed - 1.0) / 1e-5) ** 2)
        shape *= AT_TEN_PC / np.trapezoid(shape, grid)
        expected = [synthetic_maggies(band, grid, shape) for band in bands]
        # curves are linear between their own points and between ours
        top = np.asarray(light.table).max(axis=0)
        np.testing.assert_allclose(row[: len(bands)], expected, atol=3e-3 * top.max(), rtol=3e-3)


def test_rest_frame_channels_do_not_move_and_bands_can_be_chosen() -> None:
    light = line_light(WAVES, load_bands(BANDS), 5.0)
    one, two = (np.asarray(at(light, jnp.asarray(z))) for z in (0.1, 3.0))
    assert one.shape == (len(WAVES), len(BANDS) + len(REST_FRAME_BANDS))
    np.testing.assert_array_equal(one[:, len(BANDS) :], two[:, len(BANDS) :])
    part = np.asarray(at(light.select([2, 0]), jnp.asarray(0.1)))
    np.testing.assert_array_equal(part[:, :2], one[:, [2, 0]])


def test_a_table_over_redshift_has_the_lines_that_show_and_their_light() -> None:
    bounds = (0.5, 3.0)
    light = line_light(WAVES, load_bands(BANDS), bounds[1])
    table, seen = line_table(light, bounds).select([1, 0])
    redshifts = jnp.linspace(*bounds, 300)
    exact = jax.jit(jax.vmap(light))(redshifts)[:, :, jnp.asarray([1, 0])]
    shown = np.flatnonzero(np.asarray(exact).max(axis=(0, 2)) > 0)
    assert list(seen) == list(shown)
    assert len(seen) < len(WAVES)
    luminosities = jnp.asarray([1.0, 0.5, 2.0, 3.0, 0.7])
    flux = jax.jit(jax.vmap(lambda z: table.flux(luminosities[seen], z)))(redshifts)
    expected = jnp.einsum("l,zlb->zb", luminosities, exact)
    np.testing.assert_allclose(flux, expected, atol=3e-3 * float(expected.max()))


def test_half_of_lyman_alpha_is_on_the_absorbed_side() -> None:
    bands = load_bands(("cfht_megacam_gs_9401",))
    zred = jnp.asarray(2.9)
    light = line_light(WAVES[:1], bands, 5.0)
    blue = float(igm.transmission(jnp.asarray([1215.0]), zred)[0])
    open_table = float(at(light, zred)[0, 0])
    observed = 1215.67 * 3.9
    curve = np.interp(observed, bands[0].wave_aa, bands[0].transmission)
    assert curve > 0.1
    expected = np.interp(
        np.log(observed), light.log_start + 5e-4 * np.arange(light.table.shape[0]), light.table[:, 0]
    )
    assert open_table == pytest.approx(0.5 * (1.0 + blue) * expected, rel=2e-3)


def test_no_lines_are_no_light_and_gradients_are_finite() -> None:
    none = line_light(np.zeros(0), load_bands(BANDS), 3.0)
    assert at(none, jnp.asarray(1.0)).shape == (0, len(BANDS) + len(REST_FRAME_BANDS))
    light = line_light(WAVES, load_bands(BANDS), 3.0)
    slope = jax.jit(jax.jacfwd(light))(jnp.asarray(0.47))
    assert bool(jnp.all(jnp.isfinite(slope)))
