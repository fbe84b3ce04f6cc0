"""DESI's cameras, put together on one set of pixels."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

_BINS = ("BRZ", "B", "R", "Z")
_ROUND = 2  # digits of an Angstrom: all cameras share one lattice of 0.8 Angstrom


class Coadd(NamedTuple):
    """f_lambda in the file's ``unit``, its inverse variance (0 in bad pixels) and sigma of the resolution."""

    wave_aa: Float[np.ndarray, " pixel"]
    flux: Float[np.ndarray, "galaxy pixel"]
    ivar: Float[np.ndarray, "galaxy pixel"]
    sigma_aa: Float[np.ndarray, "galaxy pixel"]
    unit: str


def coadd_cameras(path: str | Path, file: Any, rows: list[int]) -> Coadd:
    """These rows of an open coadd file; means with inverse variances where cameras overlap."""
    names = [hdu.name for hdu in file]
    cameras = [name for name in _BINS if f"{name}_FLUX" in names]
    if not cameras:
        raise ValueError(f"{path} has no B_FLUX, R_FLUX, Z_FLUX or BRZ_FLUX: it has {', '.join(names)}")
    parts = [_camera(path, file, camera, rows) for camera in cameras]
    if len({part.unit for part in parts}) > 1:
        raise ValueError(f"{path}: the cameras are in different units")
    wave = np.unique(np.concatenate([part.wave_aa for part in parts]))
    shape = (len(rows), wave.size)
    total, weight, width, count, plain = (np.zeros(shape) for _ in range(5))
    for part in parts:
        at = np.searchsorted(wave, part.wave_aa)
        total[:, at] += part.ivar * part.flux
        weight[:, at] += part.ivar
        width[:, at] += part.ivar * part.sigma_aa**2
        plain[:, at] += part.sigma_aa**2
        count[:, at] += 1.0
    known = np.where(weight > 0.0, weight, 1.0)
    variance = np.where(weight > 0.0, width / known, plain / count)
    return Coadd(wave, total / known, weight, np.sqrt(variance), parts[0].unit)


def _camera(path: str | Path, file: Any, camera: str, rows: list[int]) -> Coadd:
    for name in ("WAVELENGTH", "IVAR", "RESOLUTION"):
        if f"{camera}_{name}" not in file:
            raise ValueError(f"{path} has no {camera}_{name}, which a fit needs")
    wave = np.round(np.asarray(file[f"{camera}_WAVELENGTH"].data, float), _ROUND)
    flux, ivar = (np.asarray(file[f"{camera}_{name}"].data[rows], float) for name in ("FLUX", "IVAR"))
    if f"{camera}_MASK" in file:
        ivar = np.where(np.asarray(file[f"{camera}_MASK"].data[rows]) == 0, ivar, 0.0)
    sigma = resolution_sigma(np.asarray(file[f"{camera}_RESOLUTION"].data[rows], float))
    unit = str(file[f"{camera}_FLUX"].header.get("BUNIT", "10**-17 erg/(s cm2 Angstrom)"))
    return Coadd(wave, flux, ivar, sigma * np.gradient(wave), unit)


def resolution_sigma(
    diagonals: Float[np.ndarray, "galaxy diagonal pixel"],
) -> Float[np.ndarray, "galaxy pixel"]:
    """Sigma in pixels of every row of DESI's resolution matrix; 0 where the row is empty.

    Entry [d, j] of the diagonals is that of the matrix at row j - offset_d and column j; offsets go from n to -n.
    """
    half = diagonals.shape[1] // 2
    offsets = np.arange(half, -half - 1, -1)
    moments = np.zeros((3, diagonals.shape[0], diagonals.shape[2]))
    for values, offset in zip(np.moveaxis(diagonals, 1, 0), offsets, strict=True):
        of_row = np.roll(values, -offset, axis=1)
        if offset > 0:
            of_row[:, -offset:] = 0.0
        elif offset < 0:
            of_row[:, :-offset] = 0.0
        for power in range(3):
            moments[power] += of_row * float(offset) ** power
    total = np.where(moments[0] > 0.0, moments[0], 1.0)
    variance = moments[2] / total - (moments[1] / total) ** 2
    return np.where(moments[0] > 0.0, np.sqrt(np.clip(variance, 0.0, None)), 0.0)
