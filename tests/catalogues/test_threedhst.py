"""The real 3D-HST tables, and what their configurations claim about filters, units and missing values."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from starling.catalogues import FitConfig, load_catalogue, read_config, summarise
from starling.cosmology import luminosity_distance_mpc
from starling.photometry import Band, available_bands, load_band, make_band

CONFIGS = Path(__file__).parents[2] / "configs"
BOUNDS = {"zred": (0.5, 3.0)}
FIELDS = {"COSMOS": (608, 45), "AEGIS": (602, 24), "UDS": (501, 19), "GOODSN": (359, 23)}
LIGHT_AA_S = 2.99792458e18


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "3dhst"


@pytest.fixture(scope="module")
def curves(folder: Path) -> dict[str, Band]:
    """The catalogue's own filter curves, by upper-case band and field."""
    found: dict[str, list[list[float]]] = {}
    for line in (folder / "allfilters_threedhst.dat").read_text().splitlines():
        if line.startswith("#"):
            rows = found.setdefault(line[1:].strip().upper().replace("GOODS-", "GOODS"), [])
        elif line.strip():
            rows.append([float(word) for word in line.split()[:2]])
    return {name: _band(name, np.array(rows)) for name, rows in found.items()}


def _band(name: str, curve: np.ndarray) -> Band:
    wave, first = np.unique(curve[:, 0], return_index=True)
    return make_band(name, wave, curve[first, 1])


def _config(field: str) -> FitConfig:
    return read_config(CONFIGS / f"3dhst_{field.lower()}.yaml")


@pytest.mark.parametrize("field", FIELDS)
def test_every_galaxy_is_read(field: str, folder: Path) -> None:
    galaxies, bands = FIELDS[field]
    catalogue = load_catalogue(
        _config(field), available_bands=available_bands(), bounds=BOUNDS, folder=folder
    )
    assert catalogue.observations.flux.shape == (galaxies, bands)
    assert not [item for item in summarise(catalogue.findings) if item[0] != "masked"]
    used = np.asarray(catalogue.observations.mask)
    assert used.mean() > 0.75
    assert used.sum(axis=1).min() >= 10
    mags = -2.5 * np.log10(np.median(np.asarray(catalogue.observations.flux)[used]))
    assert 20 < mags < 26
    assert np.isfinite(catalogue.extra["fast_log_mass"]).all()


def test_absurd_fluxes_are_masked(folder: Path) -> None:
    catalogue = load_catalogue(
        _config("AEGIS"), available_bands=available_bands(), bounds=BOUNDS, folder=folder
    )
    absurd = [item for item in catalogue.findings if item.reason.startswith("brighter")]
    assert [(item.id, item.band) for item in absurd] == [
        ("39716", f"spitzer_irac_ch{i}") for i in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("field", FIELDS)
def test_filters_are_those_of_the_catalogue(field: str, curves: dict[str, Band]) -> None:
    photometry = _config(field).photometry
    same = 0
    for name, band in photometry.bands.items():
        theirs = curves[band.flux.removeprefix("f_").upper()]
        ours = load_band(name)
        shift = abs(ours.wave_effective_aa / theirs.wave_effective_aa - 1)
        assert shift < (0.01 if field == "UDS" else 0.005), name
        same += shift < 1e-4 and _overlap(ours, theirs) > 0.999
        assert _overlap(ours, theirs) > (0.95 if field == "UDS" else 0.978), name
    if field == "COSMOS":
        assert same == 32


def _overlap(one: Band, other: Band) -> float:
    """Area shared by two curves of unit area."""
    grid = np.union1d(one.wave_aa, other.wave_aa)
    curves = [np.interp(grid, band.wave_aa, band.transmission, left=0, right=0) for band in (one, other)]
    first, second = (curve / np.trapezoid(curve, grid) for curve in curves)
    return float(np.trapezoid(np.minimum(first, second), grid))


@pytest.mark.parametrize("field", FIELDS)
def test_the_unit_at_24_microns_is_microjansky(field: str, folder: Path) -> None:
    catalogue = Table.read(folder / f"{field}_td.cat", format="ascii.commented_header", guess=False)
    derived = Table.read(folder / f"{field}_td.dat", format="ascii.commented_header", guess=False)
    flux, error = (np.array(derived[name], float) for name in ("f24tot", "ef24tot"))
    np.testing.assert_array_equal(flux, np.array(catalogue[f"f_mips_24um_{field.lower()}"], float))
    z, lir = np.array(derived["z_sfr"], float), np.array(derived["L_IR"], float)
    good = (z > 1.7) & (z < 2.2) & (flux > 3 * error) & (lir > 0)
    distance_cm = np.asarray(luminosity_distance_mpc(z[good]), float) * 3.0857e24
    nu_l_nu = 4 * np.pi * distance_cm**2 * flux[good] * 1e-29 * LIGHT_AA_S / 236_750 / 3.828e33
    # their templates put 3 times the luminosity at 8 um rest into the infrared; zero point 25 would make it 8.5
    assert 2.8 < np.median(lir[good] / nu_l_nu) < 3.5


def test_the_mips_correction_is_that_of_its_reference_spectrum() -> None:
    band, calibration = load_band("spitzer_mips_24"), 236_750.0
    weight = band.transmission / band.wave_aa
    mean = np.trapezoid((calibration / band.wave_aa) ** 2 * weight, band.wave_aa) / np.trapezoid(
        weight, band.wave_aa
    )
    assert _config("COSMOS").photometry.bands["spitzer_mips_24"].correction == pytest.approx(mean, abs=1e-3)


def test_zero_points_are_applied_to_ground_based_fluxes_only(folder: Path) -> None:
    table = Table.read(folder / "COSMOS_td.cat", format="ascii.commented_header", guess=False)

    def ratio(one: str, other: str) -> float:
        flux, error = (
            [np.array(table[f"{kind}_{name}_cosmos"], float) for name in (one, other)] for kind in ("f", "e")
        )
        good = (error[0] > 0) & (error[1] > 0) & (flux[0] > 10 * error[0]) & (flux[1] > 10 * error[1])
        return float(np.median(flux[0][good] / flux[1][good]))

    # table 11 of Skelton et al. (2014): without the corrections these would be 1.05, 1.02, 0.89 and 0.93
    for one, other in (("k", "ks"), ("ks", "uvista_ks"), ("r", "rp"), ("i", "ip")):
        assert ratio(one, other) == pytest.approx(1.0, abs=0.02)
    for name, factor in (("f606w", 1.0109), ("f814w", 0.9658), ("f140w", 1.0344)):
        flux = np.array(table[f"f_{name}_cosmos"], float)
        missing = np.array(table[f"e_{name}_cosmos"], float) <= 0
        np.testing.assert_allclose(flux[missing], -99 / factor, rtol=1e-6)
