"""Rest-frame colours and infrared luminosity from photometry alone, against a model that knows them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.emulators import load_default
from starling.lines import REST_FRAME_BANDS
from starling.photometry import load_bands
from starling.published.from_bands import (
    log_infrared_luminosity,
    quantile_wavelengths,
    rest_frame_colours,
)


@pytest.mark.slow
def test_in_the_filters_of_the_paper() -> None:
    """What the forward model of a Parrot emulator says of itself, measured with the emulator of this package."""
    model = load_default()
    model = model.select([model.bands[i] for i in np.argsort(model.wave_effective_aa)])
    rest = jnp.asarray(np.stack([quantile_wavelengths(band) for band in load_bands(REST_FRAME_BANDS)]))
    theta = model.space.sample(jax.random.key(0), (200,))

    @jax.jit
    @jax.vmap
    def errors(t: jax.Array) -> jax.Array:
        zred, known = t[model.space.index("zred")], model.properties(t)
        colours = rest_frame_colours(model(t), model.wave_effective_aa, zred, rest)
        bare = model.rest_flux(t.at[model.space.index("log_fagn")].set(-5.0))
        infrared = log_infrared_luminosity(bare, model.wave_effective_aa, zred) + t[0]
        known_colours = jnp.stack([known["u_minus_v"], known["v_minus_j"]])
        return jnp.append(colours - known_colours, infrared - known["log_lir"])

    typical = np.quantile(np.abs(np.asarray(errors(theta))), 0.68, axis=0)
    assert typical[0] < 0.2
    assert typical[1] < 0.05
    assert typical[2] < 0.1


def test_a_flat_spectrum_has_no_colour_and_a_known_luminosity() -> None:
    wave = jnp.geomspace(1e3, 1e7, 20)
    rest = jnp.asarray([[3000.0, 4000.0], [5000.0, 6000.0], [12000.0, 13000.0]])
    assert np.allclose(rest_frame_colours(jnp.full(20, 2e-9), wave, jnp.asarray(1.0), rest), 0.0, atol=1e-5)
    # f_nu of 1 maggie at 10 pc: 1.131e-13 Lsun / Hz, over c / 8 um - c / 1 mm
    expected = np.log10(4 * np.pi * (3.0857e19) ** 2 * 3.631e-20 / 3.828e33 * 2.998e14 * (1 / 8.0 - 1e-3))
    found = log_infrared_luminosity(jnp.ones(20), wave, jnp.asarray(0.0))
    assert float(found) == pytest.approx(expected, abs=2e-3)


def test_no_light_is_finite() -> None:
    wave = jnp.geomspace(1e3, 1e7, 5)
    assert np.isfinite(log_infrared_luminosity(jnp.zeros(5), wave, jnp.asarray(1.0)))
