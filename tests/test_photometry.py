"""Filters and magnitudes against sedpy and the published formulas."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling.photometry import (
    arsinh_magnitude,
    available_bands,
    emulator_flux_error,
    load_band,
    load_bands,
    maggies_from_arsinh,
    make_band,
    projection_matrix,
    synthetic_maggies,
)

NAMES = (
    "galex_NUV",
    "sdss_g0",
    "subaru_suprimecam_ia574",
    "acs_wfc_f814w",
    "vista_vircam_Ks",
    "spitzer_mips_24",
)


def known_spectrum() -> tuple[np.ndarray, np.ndarray]:
    wave = np.geomspace(1000.0, 4e5, 150_000)
    return wave, 1e-17 * (wave / 5000.0) ** -1.3 * (1 + 0.5 * np.sin(wave / 300.0))


def test_magnitudes_agree_with_sedpy() -> None:
    """To 1e-4 mag; 2.7e-5 of it is the speed of light, which sedpy rounds to 2.998e18 A/s."""
    from sedpy.observate import getSED, load_filters

    wave, flux = known_spectrum()
    want = np.asarray(getSED(wave, flux, load_filters(list(NAMES))))
    bands = load_bands(NAMES)
    direct = [-2.5 * np.log10(synthetic_maggies(band, wave, flux)) for band in bands]
    assert np.max(np.abs(direct - want)) < 1e-4
    edges = np.exp(np.arange(np.log(1000.0), np.log(4e5), 5e-4))
    middles = np.sqrt(edges[1:] * edges[:-1])
    projected = projection_matrix(bands, edges) @ np.interp(middles, wave, flux)
    assert np.max(np.abs(-2.5 * np.log10(projected) - want)) < 1e-4


def test_a_flat_source_of_one_maggie_has_one_maggie() -> None:
    wave = np.geomspace(1000.0, 4e5, 200_000)
    flat = 3.631e-20 * 2.99792458e18 / wave**2
    for name in NAMES:
        assert synthetic_maggies(load_band(name), wave, flat) == pytest.approx(1.0, rel=1e-4)


def test_arsinh_magnitudes() -> None:
    """Mathews et al. (2023), eq. 2: AB for bright fluxes, 35 at zero."""
    assert float(arsinh_magnitude(1e-8)) == pytest.approx(20.0, abs=1e-5)
    assert float(arsinh_magnitude(0.0)) == pytest.approx(35.0, abs=1e-5)
    flux = 3e-14
    assert float(arsinh_magnitude(flux)) == pytest.approx(
        35 - 1.0857362 * np.arcsinh(flux * 1e14 / 2), abs=1e-4
    )


@settings(deadline=None, max_examples=60)
@given(st.floats(-1e-11, 1e-5))
def test_arsinh_magnitudes_invert(flux: float) -> None:
    back = float(maggies_from_arsinh(arsinh_magnitude(flux)))
    assert back == pytest.approx(flux, rel=3e-4, abs=1e-19)


def test_emulator_error_is_the_slope_of_the_magnitude() -> None:
    """Mathews et al. (2023), eq. 9; for bright fluxes sigma_x / x = sigma_mu / 1.0857."""
    sigma = jnp.asarray([0.02, 0.02])
    error = emulator_flux_error(jnp.asarray([1e-9, 0.0]), sigma)
    assert float(error[0]) == pytest.approx(1e-9 * 0.02 / 1.0857362, rel=1e-4)
    assert float(error[1]) == pytest.approx(2 * 0.02 / 1.0857362 * 1e-14, rel=1e-4)


def test_unknown_filters_are_named_together_with_near_ones() -> None:
    with pytest.raises(ValueError, match=r"'acs_f814w'.*acs_wfc_f814w.*'nope_nope'"):
        load_bands(["acs_f814w", "sdss_g0", "nope_nope"])
    assert "sdss_g0" in available_bands()


def test_curves_from_files(tmp_path: Path) -> None:
    band = load_band("sdss_g0")
    path = tmp_path / "mine.dat"
    np.savetxt(path, np.column_stack([band.wave_aa, band.transmission]))
    mine = load_band(str(path))
    assert mine.name == "mine"
    assert mine.wave_effective_aa == pytest.approx(band.wave_effective_aa, rel=1e-6)


@pytest.mark.parametrize(
    ("wave", "curve", "what"),
    [
        ([1.0, 2.0], [1.0, 1.0], "3 rows"),
        ([1.0, 3.0, 2.0], [1.0, 1.0, 1.0], "ascend"),
        ([1.0, 2.0, 3.0], [0.0, np.nan, 0.0], "finite"),
        ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], "nothing"),
    ],
)
def test_bad_curves(wave: list[float], curve: list[float], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        make_band("bad", np.array(wave), np.array(curve))
