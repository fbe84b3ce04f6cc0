"""What an instrument sees of a spectrum: smoothing, redshift, lines, wavelengths, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_spectra import LINES_AA, PLAIN, toy_light, toy_pixels, toy_rest, toy_space

from starling.cosmology import luminosity_distance_mpc
from starling.spectroscopy import Library, SpectrumModel, SpectrumObservation, spectrum_model
from starling.spectroscopy.resolution import FWHM, LIGHT_KM_S

STEP = 1e-4
MAP = {"metals": 1.0, "slope": -1.0}


def light_of(model: SpectrumModel) -> jax.Array:
    return model.rest.parts(model.space.pack({"logmass": 10.0, "zred": 0.1, **MAP}))[0]


def expected(
    observation: SpectrumObservation, zred: float, dispersion: float, library: np.ndarray | float
) -> np.ndarray:
    """The made-up spectrum as it should be seen: its lines are Gaussians, so is everything else.

    ``library``: variance in ln(wavelength) that is to be taken off.
    """
    sigma = np.asarray(observation.sigma_ln, float)
    variance = np.maximum((dispersion / LIGHT_KM_S) ** 2 + sigma**2 - library, 0.0)
    return toy_light(np.log(np.asarray(observation.wave_aa) / (1.0 + zred)), **MAP, variance=variance)


@pytest.mark.parametrize("varying", [False, True])
def test_smoothing_is_the_gaussian_convolution(varying: bool) -> None:
    n = 300
    resolution = np.linspace(1500.0, 5500.0, n) if varying else 2000.0
    observation = toy_pixels(n, resolution)
    model = spectrum_model(toy_rest(STEP), observation, PLAIN)
    seen = jax.jit(model.continuum)(light_of(model), 0.1037, 180.0, model.kernel(observation))
    # the made-up library has pixels of its own, which are taken off
    truth = expected(observation, 0.1037, 180.0, STEP**2 / 12.0)
    assert np.max(np.abs(seen / truth - 1.0)) < 2e-3
    blind = expected(observation, 0.1037, 0.0, 0.0)
    assert np.max(np.abs(seen / blind - 1.0)) > 2e-2


def test_the_resolution_of_the_library_is_taken_off() -> None:
    observation = toy_pixels(300, 1500.0)
    fwhm = 2.0
    library = Library("coarse", "vacuum", (fwhm,))
    model = spectrum_model(toy_rest(STEP), observation, library)
    seen = jax.jit(model.continuum)(light_of(model), 0.1, 0.0, model.kernel(observation))
    library_sigma = fwhm / FWHM / (observation.wave_aa / 1.1)
    sharp = expected(observation, 0.1, 0.0, library_sigma**2 + STEP**2 / 12.0)
    assert np.max(np.abs(seen / sharp - 1.0)) < 3e-3
    assert np.max(np.abs(seen / expected(observation, 0.1, 0.0, 0.0) - 1.0)) > 1e-2


def test_where_the_library_is_coarser_nothing_is_sharpened_and_the_dispersion_has_no_gradient() -> None:
    observation = toy_pixels(300, 5000.0)
    model = spectrum_model(toy_rest(STEP), observation, Library("coarse", "vacuum", (6.0,)))
    kernel = model.kernel(observation)
    see = jax.jit(lambda d: model.continuum(light_of(model), jnp.asarray(0.1), d, kernel))
    assert np.all(model.coarse(kernel, jnp.asarray(30.0)))
    assert not np.any(model.coarse(kernel, jnp.asarray(300.0)))
    truth = expected(observation._replace(sigma_ln=0.0 * observation.sigma_ln), 0.1, 0.0, 0.0)
    assert np.allclose(see(jnp.asarray(30.0)), truth, rtol=1e-3)
    slope = jax.jacfwd(see)
    assert np.all(slope(jnp.asarray(30.0)) == 0.0)
    assert np.max(np.abs(slope(jnp.asarray(300.0)))) > 0.0


def test_gradients_in_redshift_and_dispersion_are_those_of_differences() -> None:
    observation = toy_pixels(300, np.linspace(1500.0, 4000.0, 300))
    model = spectrum_model(toy_rest(STEP), observation, PLAIN)
    kernel, light = model.kernel(observation), light_of(model)
    weight = jnp.asarray(np.random.default_rng(0).normal(size=300) * 1e4, jnp.float32)
    total = jax.jit(lambda z, d: weight @ model.continuum(light, z, d, kernel))
    z, d = jnp.asarray(0.1011), jnp.asarray(150.0)
    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))(z, d)
    forward = jax.jit(jax.jacfwd(total, argnums=(0, 1)))(z, d)
    for argument, step in ((0, 2e-5), (1, 2.0)):
        ends = [total(*(v + s * step * (i == argument) for i, v in enumerate((z, d)))) for s in (1.0, -1.0)]
        slope = (ends[0] - ends[1]) / (2.0 * step)
        assert np.isclose(gradient[argument], slope, rtol=2e-2)
        assert np.isclose(gradient[argument], forward[argument], rtol=1e-3)
    assert np.all(np.isfinite(jax.jit(jax.grad(total, argnums=(0, 1)))(z, jnp.asarray(0.0))))


def test_fluxes_and_emission_lines_have_their_units() -> None:
    observation = toy_pixels(1200, 3000.0)
    rest = toy_rest(2e-4)
    model = spectrum_model(rest, observation, PLAIN)
    theta = model.space.pack({"logmass": 10.5, "zred": 0.1, "metals": 1.0, "slope": 0.0})
    kernel = model.kernel(observation)
    see = jax.jit(
        lambda lines: model(theta, jnp.asarray(100.0), jnp.asarray(120.0), kernel, lines), static_argnums=0
    )
    smooth, whole = see(False), see(True)
    distance_cm = float(luminosity_distance_mpc(0.1)) * 3.0856775814913673e24
    scale = 10**10.5 * 3.828e33 / (4 * np.pi * distance_cm**2) / 1e-17
    assert np.isclose(np.median(smooth), scale * 1e-4 / 1.1, rtol=0.1)
    wave = observation.wave_aa
    for line in LINES_AA:
        near = np.abs(wave / (line * 1.1) - 1.0) < 6e-3
        flux = np.trapezoid((whole - smooth)[near], wave[near])
        assert np.isclose(flux, scale * 1e-3, rtol=1e-3)
        centre = np.trapezoid((wave * (whole - smooth))[near], wave[near]) / flux
        assert np.isclose(centre, line * 1.1, atol=0.02)
        width = np.sqrt(np.trapezoid(((wave - centre) ** 2 * (whole - smooth))[near], wave[near]) / flux)
        asked = np.hypot(120.0 / LIGHT_KM_S, 1.0 / (3000.0 * FWHM)) * centre
        assert np.isclose(width, asked, rtol=1e-2)


def test_a_library_in_air_is_moved_to_vacuum() -> None:
    observation = toy_pixels(300, 2000.0)
    air, vacuum = (
        spectrum_model(toy_rest(STEP), observation, Library("made up", medium))
        for medium in ("air", "vacuum")
    )
    kernel = air.kernel(observation)
    shift = 83.0 / LIGHT_KM_S  # 1.4 Angstrom at 5000
    moved = jax.jit(air.continuum)(light_of(air), 0.1, 150.0, kernel)
    same = jax.jit(vacuum.continuum)(light_of(vacuum), 0.1 + 1.1 * shift, 150.0, kernel)
    assert np.allclose(moved, same, rtol=5e-3)


def test_pixels_beyond_the_model_are_refused_with_the_mend() -> None:
    observation = toy_pixels(300, 2000.0)
    with pytest.raises(ValueError, match="mask the other pixels, or narrow zred"):
        spectrum_model(toy_rest(STEP, zred=(0.0, 0.6)), observation, PLAIN)
    mask = observation.mask.at[:180].set(False)
    with pytest.raises(ValueError, match="must ascend"):
        spectrum_model(toy_rest(STEP), observation, PLAIN, zred=(0.2, 0.1))
    rest = toy_rest(STEP, zred=(0.0, 0.3))
    spectrum_model(rest, observation._replace(mask=mask), PLAIN, zred=(0.0, 0.3))
    assert toy_space() != rest.space
