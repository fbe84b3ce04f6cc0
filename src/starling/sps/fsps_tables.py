"""Reads single tables out of an FSPS data directory (SPS_HOME); FSPS itself is not needed."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np

from starling.photometry import LIGHT_AA_S
from starling.sps.grids import DustEmissionGrid, NebularGrid, TorusGrid

# FSPS's luminosities are in a Lsun of 3.839e33 erg/s; here they are in that of the IAU.
LSUN = 3.839e33 / 3.828e33
# What FSPS calls the columns of its files of dust emission, which do not say: per cent of PAH, radiation fields.
DUST_NODES = {
    "DL07": (
        (0.47, 1.12, 1.77, 2.50, 3.19, 3.90, 4.58),
        (
            *(0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0),
            *(2.5, 3.0, 4.0, 5.0, 7.0, 8.0, 12.0, 15.0, 20.0, 25.0),
        ),
    )
}
_TORUS = Path("dust") / "Nenkova08_y010_torusg_n10_q2.0.dat"
_NO_LIGHT = 1e-95  # what FSPS adds to tables of gas before it takes their logarithm
_GAS_STEP = 0.1  # dex of gas metallicity
_GAS_SHAPE = (11, 10, 7)  # metallicities, ages, ionisation parameters in FSPS's tables


def read_torus(sps_home: str | Path, *, unit: bool = True) -> TorusGrid:
    """The Nenkova et al. (2008) clumpy tori that FSPS uses, normalised to unit luminosity or (``unit`` False) as given.

    Raises FileNotFoundError that names the file where ``sps_home`` is no FSPS data directory.
    """
    path = Path(sps_home) / _TORUS
    if not path.is_file():
        raise FileNotFoundError(f"no AGN torus table {_TORUS} in the FSPS data directory {sps_home}")
    with path.open() as lines:
        rows = [line.split() for line in lines if not line.startswith("#")]
    tau = np.array(rows[0], float)
    table = np.array([row for row in rows[1:] if row], float)
    wave, f_nu = table[:, 0], table[:, 1:].T
    if f_nu.shape[0] != tau.size:
        raise ValueError(f"{path}: {tau.size} optical depths but {f_nu.shape[0]} columns")
    l_lambda = f_nu * LIGHT_AA_S / wave**2
    if unit:
        l_lambda = l_lambda / np.trapezoid(l_lambda, wave, axis=1)[:, None]
    return TorusGrid("Nenkova08 (FSPS)", tau, wave, l_lambda)


def read_dust_emission(
    sps_home: Path, library: str = "DL07", wave_aa: np.ndarray | None = None
) -> DustEmissionGrid:
    """The Draine & Li (2007) templates that FSPS uses, Milky Way dust (MW3.1).

    With ``wave_aa``, at those wavelengths beyond 1 um, as FSPS has them: L_nu linear in wavelength.
    """
    qpah, umin = (np.array(values) for values in DUST_NODES[library])
    files = [np.loadtxt(dust_file(sps_home, library, k), skiprows=2) for k in range(qpah.size)]
    wave, l_nu = files[0][:, 0] * 1e4, np.stack([table[:, 1:].T for table in files])
    if wave_aa is not None:
        inside = wave_aa[(wave_aa >= wave[0]) & (wave_aa <= wave[-1])]
        wave, l_nu = inside, _linear(inside, wave, l_nu, 2)
    l_lambda = l_nu / wave**2
    l_lambda = l_lambda / l_lambda.max()
    return DustEmissionGrid(f"{library} MW3.1 (FSPS)", qpah, umin, wave, l_lambda[:, 0::2], l_lambda[:, 1::2])


def dust_file(sps_home: Path, library: str, k: int) -> Path:
    """The file of dust emission of the k-th PAH fraction."""
    return sps_home / f"dust/dustem/{library}_MW3.1_{k}0.dat"


def read_nebular(
    sps_home: Path, isochrones: str, log_u: float, wave_aa: np.ndarray, age_gyr: np.ndarray
) -> NebularGrid:
    """The CLOUDY tables (without grains) that FSPS has for these isochrones, at one ionisation parameter.

    FSPS interpolates them in the logarithm of light, linearly in log age, log Z, log U and wavelength, and this is done
    here once: at the ages of SSPs up to the last of the table, at metallicities so close (0.1 dex) that a linear
    interpolation is the same, and at ``wave_aa``.
    """
    stem = sps_home / "nebular" / f"ZAU_ND_{isochrones}"
    nodes, table_aa, continuum = _read_gas(stem.with_suffix(".cont"))
    _, line_aa, lines = _read_gas(stem.with_suffix(".lines"))
    log_z, table_age, table_u = nodes
    if not table_u[0] <= log_u <= table_u[-1]:
        raise ValueError(
            f"log U = {log_u:g} is outside of FSPS's nebular tables, {table_u[0]:g} to {table_u[-1]:g}"
        )
    fine_z = np.unique(
        np.concatenate(
            [np.linspace(a, b, max(1, round((b - a) / _GAS_STEP)) + 1) for a, b in pairwise(log_z)]
        )
    )
    # below the first age of the table nothing changes
    inside = (age_gyr * 1e9 >= table_age[0] * 10**-0.05) & (age_gyr * 1e9 <= table_age[-1] * 1.001)
    ages = age_gyr[inside]

    def resample(log_light: np.ndarray) -> np.ndarray:
        at_u = _linear(log_u, table_u, log_light, 2)
        at_age = _linear(np.log10(ages * 1e9), np.log10(table_age), at_u, 1)
        return _linear(fine_z, log_z, at_age, 0)

    continuum = resample(_linear(wave_aa, table_aa, np.log10(continuum + _NO_LIGHT), 3))
    return NebularGrid(
        f"CLOUDY for {isochrones}, log U = {log_u:g} (FSPS)",
        log_u,
        fine_z,
        ages,
        wave_aa,
        10**continuum * LSUN * LIGHT_AA_S / wave_aa**2,
        line_aa,
        10 ** resample(np.log10(lines + _NO_LIGHT)) * LSUN,
    )


def _linear(x: np.ndarray | float, nodes: np.ndarray, table: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation along an axis, constant outside; a single x takes the axis away."""
    place = np.clip(x, nodes[0], nodes[-1])
    left = np.clip(np.searchsorted(nodes, place, side="right") - 1, 0, nodes.size - 2)
    fraction = (place - nodes[left]) / (nodes[left + 1] - nodes[left])
    moved = np.moveaxis(table, axis, -1)
    out = moved[..., left] * (1.0 - fraction) + moved[..., left + 1] * fraction
    return out if np.ndim(x) == 0 else np.moveaxis(out, -1, axis)


def _read_gas(path: Path) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Nodes (log Z, age in years, log U), wavelengths, and values [log Z, age, log U, wave], Lsun (/Hz) per photon."""
    if not path.is_file():
        raise FileNotFoundError(f"no nebular table {path}: FSPS has them for MIST, Padova, PARSEC and BPASS")
    with path.open() as text:
        next(text)
        words = _numbers(text)
        wave = next(words)
        rows = list(words)
    points, values = np.array(rows[0::2]), np.stack(rows[1::2])
    if values.shape != (int(np.prod(_GAS_SHAPE)), wave.size):
        raise ValueError(f"{path}: {len(values)} rows of {wave.size} numbers, where FSPS reads {_GAS_SHAPE}")
    grid = points.reshape(*_GAS_SHAPE, 3)
    nodes = grid[:, 0, 0, 0], grid[0, :, 0, 1], grid[0, 0, :, 2]
    return nodes, wave, values.reshape(*_GAS_SHAPE, -1)


def _numbers(text: TextIO) -> Iterator[np.ndarray]:
    """The numbers of every line; Fortran's ``3*0`` is three zeros."""
    for line in text:
        words: list[str] = []
        for word in line.split():
            count, star, value = word.partition("*")
            words += [value] * int(count) if star else [word]
        yield np.array(words, float)
