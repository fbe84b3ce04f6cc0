"""Readers of spectra, on files written after the data models of SDSS and DESI."""

from pathlib import Path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import InverseVariance
from astropy.table import Table
from scipy import sparse

from starling.spectroscopy import from_specutils, read_desi, read_sdss, read_spectrum
from starling.spectroscopy.desi import resolution_sigma
from starling.spectroscopy.resolution import LIGHT_KM_S
from starling.spectroscopy.wavelengths import air_to_vacuum

CGS = u.erg / u.s / u.cm**2 / u.AA


def sdss_file(path: Path, **changes: np.ndarray) -> Path:
    n = 40
    columns = {
        "flux": np.arange(n) + 1.0,
        "loglam": 3.6 + 1e-4 * np.arange(n),
        "ivar": np.full(n, 4.0),
        "and_mask": np.zeros(n, np.int32),
        "wdisp": np.full(n, 1.1),
    }
    columns["ivar"][5], columns["and_mask"][7], columns["wdisp"][9] = 0.0, 16, 0.0
    columns |= changes
    coadd = fits.BinTableHDU(Table({name: array for name, array in columns.items() if array is not None}))
    specobj = fits.BinTableHDU(Table({"Z": np.array([0.123]), "ZWARNING": np.array([0])}))
    primary = fits.PrimaryHDU(header=fits.Header({"BUNIT": "1E-17 erg/cm^2/s/Ang"}))
    fits.HDUList([primary, coadd, specobj]).writeto(path)
    return path


def test_sdss(tmp_path: Path) -> None:
    seen = read_sdss(sdss_file(tmp_path / "spec.fits"))
    assert np.isclose(seen.zred, 0.123)
    assert np.flatnonzero(~np.asarray(seen.mask)).tolist() == [5, 7, 9]
    assert np.isclose(seen.flux[3], 4.0)
    assert np.isclose(seen.flux_err[3], 0.5)
    assert np.isclose(seen.wave_aa[0], 10**3.6)
    # 1.1 pixels of 69 km/s
    assert np.isclose(seen.sigma_ln[0] * LIGHT_KM_S, 1.1 * 69.03, rtol=1e-3)
    assert np.isclose(read_sdss(tmp_path / "spec.fits", zred=0.2).zred, 0.2)
    with pytest.raises(ValueError, match="lacks the columns wdisp"):
        read_sdss(sdss_file(tmp_path / "other.fits", wdisp=None))
    (tmp_path / "text.fits").write_text("no")
    with pytest.raises(ValueError, match="as FITS"):
        read_sdss(tmp_path / "text.fits")


def banded(sigma: float, n: int, half: int = 5) -> np.ndarray:
    """DESI's diagonals of a matrix with Gaussian rows."""
    offsets = np.arange(half, -half - 1, -1)
    row = np.exp(-0.5 * (offsets / sigma) ** 2)
    dia = sparse.dia_array(sparse.diags_array(list(row / row.sum()), offsets=list(offsets), shape=(n, n)))
    return dia.data[[list(dia.offsets).index(offset) for offset in offsets]]


def desi_file(path: Path) -> Path:
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(Table({"TARGETID": np.array([11, 22])}), name="FIBERMAP")]
    for camera, first, n, level, sigma in (("B", 3600.0, 60, 2.0, 1.2), ("R", 3640.0, 60, 4.0, 0.9)):
        wave = first + 0.8 * np.arange(n)
        ivar = np.full((2, n), 1.0 if camera == "B" else 3.0)
        ivar[1, 0] = 0.0
        mask = np.zeros((2, n), np.int32)
        mask[0, 3] = 2
        hdus += [
            fits.ImageHDU(wave, name=f"{camera}_WAVELENGTH"),
            fits.ImageHDU(np.full((2, n), level) * [[1.0], [2.0]], name=f"{camera}_FLUX"),
            fits.ImageHDU(ivar, name=f"{camera}_IVAR"),
            fits.ImageHDU(mask, name=f"{camera}_MASK"),
            fits.ImageHDU(np.stack([banded(sigma, n)] * 2), name=f"{camera}_RESOLUTION"),
        ]
        hdus[-4].header["BUNIT"] = "10**-17 erg/(s cm2 Angstrom)"
    fits.HDUList(hdus).writeto(path)
    return path


def test_desi(tmp_path: Path) -> None:
    seen = read_desi(desi_file(tmp_path / "coadd.fits"), [22, 11], np.array([0.1, 0.2]))
    assert seen.flux.shape == (2, 110)
    assert np.allclose(seen.zred, [0.1, 0.2])
    assert np.allclose(np.diff(seen.wave_aa), 0.8)
    # B alone, both, R alone; the galaxy that was asked for first is the brighter one
    assert np.allclose(seen.flux[0, [10, 55, 100]], [4.0, (1 * 4 + 3 * 8) / 4, 8.0])
    assert np.allclose(seen.flux_err[0, [10, 55, 100]], [1.0, 0.5, 1.0 / np.sqrt(3.0)])
    assert not seen.mask[0, 0]
    assert seen.mask[1, 0]
    # a bad pixel of one camera only, and of both
    assert not seen.mask[1, 3]
    assert np.isclose(seen.flux[1, 53], 2.0)
    sigma = np.asarray(seen.sigma_ln[0] * seen.wave_aa) / 0.8
    assert np.isclose(sigma[20], 1.2, rtol=0.02)
    assert np.isclose(sigma[100], 0.9, rtol=0.02)
    with pytest.raises(ValueError, match="0 spectra of TARGETID 33"):
        read_desi(tmp_path / "coadd.fits", [33], 0.1)
    with pytest.raises(ValueError, match="no FIBERMAP"):
        read_desi(sdss_file(tmp_path / "spec.fits"), [11], 0.1)


def test_the_width_of_a_row_of_the_resolution_matrix() -> None:
    n = 30
    diagonals = banded(1.1, n)
    diagonals[:, 12] *= 0.5  # a column: no row is narrower for it than its own entries say
    matrix = np.zeros((n, n))
    for values, offset in zip(diagonals, np.arange(5, -6, -1), strict=True):
        for column in range(n):
            if 0 <= column - offset < n:
                matrix[column - offset, column] = values[column]
    place = np.arange(n)
    norm = matrix.sum(axis=1)
    mean = matrix @ place / norm
    expected = np.sqrt(matrix @ place**2 / norm - mean**2)
    assert np.allclose(resolution_sigma(diagonals[None])[0], expected)


def test_tables(tmp_path: Path) -> None:
    n = 20
    wave = np.linspace(500.0, 520.0, n)
    table = Table({"lam": wave * u.nm, "f": np.full(n, 2e-17) * CGS, "df": np.full(n, 1e-17) * CGS})
    table["ok"], table["fwhm"] = np.arange(n) != 4, np.full(n, 2.5)
    table.write(tmp_path / "one.ecsv")
    columns = {"wavelength": "lam", "flux": "f", "flux_err": "df"}
    seen = read_spectrum(
        tmp_path / "one.ecsv",
        zred=0.1,
        resolution="fwhm",
        resolution_kind="fwhm_aa",
        mask="ok",
        medium="air",
        **columns,
    )
    assert np.allclose(seen.wave_aa, air_to_vacuum(10.0 * wave))
    assert np.allclose(seen.flux, np.where(np.arange(n) == 4, 0.0, 2.0))
    assert np.flatnonzero(~np.asarray(seen.mask)).tolist() == [4]
    with pytest.raises(ValueError, match="no column 'flx'"):
        read_spectrum(tmp_path / "one.ecsv", zred=0.1, resolution=2000.0, **(columns | {"flux": "flx"}))
    with pytest.raises(ValueError, match="no table"):
        read_spectrum(tmp_path / "absent.ecsv", zred=0.1, resolution=2000.0)


def test_specutils() -> None:
    """Its ``Spectrum`` has these attributes; the package itself is not needed."""
    n = 20
    wave = np.linspace(5200.0, 5000.0, n)  # descending
    flux = (np.arange(n) + 1.0) * 1e-17 * CGS
    uncertainty = InverseVariance(np.full(n, 4e34), unit=1 / CGS**2)
    spectrum = SimpleNamespace(
        spectral_axis=wave * u.AA, flux=flux, uncertainty=uncertainty, mask=np.arange(n) == 0
    )
    seen = from_specutils(spectrum, zred=0.1, resolution=2000.0, medium="vacuum")
    assert np.allclose(seen.wave_aa, wave[::-1])
    assert np.isclose(seen.flux[0], 20.0)
    assert np.allclose(seen.flux_err[:-1], 0.5)
    assert np.flatnonzero(~np.asarray(seen.mask)).tolist() == [n - 1]
    spectrum.uncertainty = None
    with pytest.raises(ValueError, match="no uncertainty"):
        from_specutils(spectrum, zred=0.1, resolution=2000.0, medium="vacuum")
