"""Spectra as they come in: units, air and vacuum, resolutions, and what is refused."""

import astropy.units as u
import numpy as np
import pytest

from starling.spectroscopy import Library, observe_spectrum
from starling.spectroscopy.resolution import LIGHT_KM_S, library_variance, sigma_in_log
from starling.spectroscopy.wavelengths import air_to_vacuum, vacuum_to_air

WAVE = np.linspace(4000.0, 5000.0, 50)
ONE = np.ones(50)
CGS = u.erg / u.s / u.cm**2 / u.AA


def test_air_and_vacuum_are_those_of_known_lines() -> None:
    # NIST's Ritz wavelengths: [OII], Hbeta, [OIII], Na D2, Halpha (air, vacuum)
    air = np.array([3726.032, 4861.333, 5006.843, 5889.951, 6562.819])
    vacuum = np.array([3727.092, 4862.683, 5008.240, 5891.583, 6564.632])
    assert np.allclose(air_to_vacuum(air), vacuum, atol=0.01)
    assert np.allclose(vacuum_to_air(vacuum), air, atol=0.01)
    wave = np.geomspace(1000.0, 3e4, 500)
    assert np.allclose(air_to_vacuum(vacuum_to_air(wave[wave > 2001.0])), wave[wave > 2001.0], rtol=1e-9)
    assert np.array_equal(air_to_vacuum(np.array([1215.67])), [1215.67])


def test_every_unit_of_flux_becomes_f_lambda() -> None:
    plain = observe_spectrum(WAVE * u.AA, 3e-17 * ONE * CGS, 1e-17 * ONE * CGS, zred=0.1, resolution=2000.0)
    assert np.allclose(plain.flux, 3.0)
    assert np.allclose(plain.flux_err, 1.0)
    jansky = (3e-17 * ONE * CGS).to(u.mJy, u.spectral_density(WAVE * u.AA))
    other = observe_spectrum((WAVE * u.AA).to(u.um), jansky, jansky / 3.0, zred=0.1, resolution=2000.0)
    assert np.allclose(other.flux, 3.0)
    assert np.allclose(other.flux_err, 1.0)
    assert np.allclose(other.wave_aa, WAVE)
    in_air = observe_spectrum(
        WAVE, ONE, ONE, zred=0.1, resolution=2000.0, medium="air", flux_unit="1e-17 erg/(s cm2 AA)"
    )
    assert np.allclose(in_air.wave_aa, air_to_vacuum(WAVE))


def test_resolutions_of_every_kind() -> None:
    sigma = 1.0 / (2.0 * np.sqrt(2.0 * np.log(2.0)) * 2000.0)
    for value, kind in (
        (2000.0, "R"),
        (5000.0 / 2000.0, "fwhm_aa"),
        (5000.0 * sigma, "sigma_aa"),
        (LIGHT_KM_S * sigma, "sigma_kms"),
    ):
        assert np.isclose(sigma_in_log(value, kind, np.array([5000.0]))[0], sigma)
    kinds = {"flux_unit": "Jy", "zred": 0.1, "resolution": 3000.0}
    with_pixel, without = (
        observe_spectrum(WAVE, ONE, ONE, pixel_in_resolution=inside, **kinds) for inside in (True, False)
    )
    added = np.asarray(without.sigma_ln) ** 2 - np.asarray(with_pixel.sigma_ln) ** 2
    assert np.allclose(added, np.gradient(np.log(WAVE)) ** 2 / 12.0, rtol=1e-3)
    library = Library("two", "vacuum", (10.0, 25.0), (4500.0,))
    variance = library_variance(library, np.linspace(4000.0, 5000.0, 500))
    assert np.isclose(variance[0], (10.0 / 2.35482 / 4000.0) ** 2, rtol=1e-2)
    assert np.isclose(variance[-1], (25.0 / 2.35482 / 5000.0) ** 2, rtol=1e-2)
    with pytest.raises(ValueError, match="ends_aa must ascend"):
        Library("wrong", "vacuum", (1.0, 2.0, 3.0), (5000.0, 4000.0))


def test_pixels_without_a_sound_error_are_left_out() -> None:
    flux, error = ONE.copy(), ONE.copy()
    flux[3], error[7], error[9] = np.nan, 0.0, np.inf
    seen = observe_spectrum(WAVE, flux, error, zred=0.1, resolution=2000.0, flux_unit="Jy")
    assert np.flatnonzero(~np.asarray(seen.mask)).tolist() == [3, 7, 9]
    assert np.all(np.isfinite(seen.flux))


def wrong(message: str, **changes: object) -> None:
    arguments = {"wavelength": WAVE, "flux": ONE, "flux_err": ONE, "zred": 0.1, "resolution": 2000.0}
    with pytest.raises(ValueError, match=message):
        observe_spectrum(**{**arguments, "flux_unit": "Jy", **changes})  # type: ignore[arg-type]


def test_what_is_wrong_is_said_with_the_pixel_and_the_mend() -> None:
    turned = WAVE.copy()
    turned[10] = turned[9]
    wrong(r"wavelength at pixel 10 is .*sort the pixels", wavelength=turned)
    wrong("flux has no unit: give an astropy Quantity, or flux_unit", flux_unit=None)
    wrong("no unit that astropy knows", flux_unit="jansies")
    wrong("flux is in K, which is no unit of f_lambda", flux_unit="K")
    wrong("wavelength is in s, which is no length", wavelength_unit="s")
    wrong("flux has shape", flux=np.ones(49), flux_err=np.ones(49))
    wrong("flux_err has shape", flux_err=np.ones(49))
    error = ONE.copy()
    error[5] = -1.0
    wrong("flux_err at pixel 5 is -[0-9]+, not a positive number", flux_err=error, mask=np.ones(50, bool))
    wrong("flux at pixel 2 is nan", flux=np.where(np.arange(50) == 2, np.nan, 1.0), mask=np.ones(50, bool))
    wrong("the mask leaves a spectrum without a pixel", mask=np.zeros(50, bool))
    wrong("resolution at pixel 0 is -.*not positive", resolution=-1.0, resolution_kind="sigma_kms")
    wrong("resolution has shape", resolution=np.ones(7))
    wrong("resolution is given as one of", resolution_kind="lambda")
    wrong("air or vacuum", medium="water")
    wrong("zred is nan, no redshift", zred=np.nan)
