"""From tables on their own wavelengths to the arrays of the exact model on its pixels. Runs once per model."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling.cosmology import age_gyr
from starling.parameters import ParameterSpace
from starling.sps.conventions import Conventions
from starling.sps.grids import DustEmissionGrid, NebularGrid, SSPGrid, Tables, TorusGrid
from starling.sps.pixels import PixelGrid, deposit_lines, rebin
from starling.sps.stars import LYMAN_LIMIT_AA, ionising_photon_rate, whole_ionising

BIRTH_CLOUD_GYR = 0.01
WEAK_LINE = 1e-3
_ROUNDING = 1.0 + 1e-6
_INFRARED_AA = (8e4, 1e7)


class Stars(NamedTuple):
    """SSPs: ``young`` are the nodes that stars inside birth clouds touch, ``old`` the others.

    They share one cell, or, where nodes are in birth clouds as a whole, none. ``gas`` are the nodes that have nebulae.
    """

    log_z: Float[Array, " z"]
    log_age: Float[Array, " age"]
    log_step: Float[Array, " cell"]
    young: Float[Array, "z young pixel"]
    old: Float[Array, "z old pixel"]
    photon_rate: Float[Array, "z gas"]
    bolometric: Float[Array, "z age"]
    mass_fraction: Float[Array, "z age"]

    @property
    def whole_nodes(self) -> bool:
        return self.young.shape[1] + self.old.shape[1] == self.log_age.size


class Nebular(NamedTuple):
    """Nebular light per ionising photon (1e46 / s), and the interpolation from SSP nodes with gas to its ages.

    ``spectra`` are the continuum and the weakest lines, ``lines`` the luminosities (Lsun) of the others;
    ``line_pixels`` shares a line between the two nearest pixels.
    """

    log_z: Float[Array, " gas_z"]
    from_stars: Float[Array, "gas neb_age"]
    spectra: Float[Array, "gas_z neb_age pixel"]
    lines: Float[Array, "gas_z neb_age line"]
    line_wave_aa: Float[Array, " line"]
    line_pixels: Float[Array, "line pixel"]


class DustEmission(NamedTuple):
    """Templates of unit luminosity (flattened) on the reddest pixels, luminosity per dust mass, share in 8-1000 um."""

    qpah: Float[Array, " qpah"]
    umin: Float[Array, " umin"]
    luminosity: Float[Array, "2 qpah umin"]
    spectra: Float[Array, "template red_pixel"]
    infrared_share: Float[Array, " template"]


class Torus(NamedTuple):
    """Torus spectra of unit luminosity."""

    tau: Float[Array, " tau"]
    spectra: Float[Array, "tau pixel"]


class Prepared(NamedTuple):
    """The arrays of ``ExactModel``; None for parts that are left out."""

    stars: Stars
    nebular: Nebular | None
    dust_emission: DustEmission | None
    torus: Torus | None


_PHOTON_UNIT = 1e46  # photons / s; keeps rates of a Msun near 1 in float32


def prepare(
    tables: Tables, space: ParameterSpace, pixels: PixelGrid, weak_line: float, conventions: Conventions
) -> Prepared:
    """Rebin all tables; SSP nodes that no point of ``space`` can touch are dropped.

    Lines that never carry more than ``weak_line`` of the light of all lines are part of the continuum.
    """
    zred = space.parameters[space.index("zred")]
    logzsol = space.parameters[space.index("logzsol")]
    ssp = tables.ssp.trim(float(age_gyr(zred.low)), (logzsol.low, logzsol.high))
    stars = _stars(ssp, pixels, tables.nebular, conventions)
    nebular = None
    if tables.nebular is not None:
        last_gyr = tables.nebular.age_gyr[-1] if conventions.whole_nodes else BIRTH_CLOUD_GYR
        nebular = _nebular(tables.nebular, ssp, stars, pixels, weak_line, last_gyr)
    return Prepared(
        stars,
        nebular,
        None if tables.dust_emission is None else _dust_emission(tables.dust_emission, pixels),
        None if tables.torus is None else _torus(tables.torus, pixels, unit=not conventions.torus_as_given),
    )


def _single(values: np.ndarray) -> Array:
    return jnp.asarray(values, jnp.float32)


def _young_and_gas(
    ssp: SSPGrid, nebular: NebularGrid | None, conventions: Conventions
) -> tuple[int, int, int]:
    """Numbers of SSP nodes in birth clouds, of those that the old stars do not touch, and of those with nebulae."""
    if not conventions.whole_nodes:
        # nodes around the birth-cloud age belong to both: interpolation reaches one node beyond
        n_young = int(np.searchsorted(ssp.age_gyr, BIRTH_CLOUD_GYR)) + 1
        return n_young, max(n_young - 2, 0), n_young
    last_gas = BIRTH_CLOUD_GYR if nebular is None else nebular.age_gyr[-1]
    n_young, n_gas = (int(np.sum(ssp.age_gyr < limit * _ROUNDING)) for limit in (BIRTH_CLOUD_GYR, last_gas))
    return n_young, n_young, n_gas


def _without_ionising(
    ssp: SSPGrid, spectra: np.ndarray, pixels: PixelGrid, whole_wavelengths: bool
) -> np.ndarray:
    """Spectra [z, node, pixel] of the first nodes of a table, without the light that their nebulae take."""
    if whole_wavelengths:
        table = ssp.l_lambda[:, : spectra.shape[1]].copy()
        table[..., whole_ionising(ssp.wave_aa)] = 0.0
        return rebin(ssp.wave_aa, table, pixels)
    dark = spectra.copy()
    dark[..., pixels.wave_aa < LYMAN_LIMIT_AA] = 0.0
    return dark


def _stars(ssp: SSPGrid, pixels: PixelGrid, nebular: NebularGrid | None, conventions: Conventions) -> Stars:
    spectra = rebin(ssp.wave_aa, ssp.l_lambda, pixels)
    log_age = np.log(ssp.age_gyr)
    n_young, n_apart, n_gas = _young_and_gas(ssp, nebular, conventions)
    young, old = spectra[:, :n_young].copy(), spectra[:, n_apart:].copy()
    if nebular is not None:
        # the nebulae absorb all ionising light of their stars
        dark = _without_ionising(ssp, spectra[:, :n_gas], pixels, conventions.whole_wavelengths)
        young[:] = dark[:, :n_young]
        old[:, : n_gas - n_young] = dark[:, n_young:]
    bolometric = ssp.bolometric if conventions.torus_by_isochrones else None
    photon_rate = ionising_photon_rate(ssp, conventions.whole_wavelengths)
    return Stars(
        log_z=_single(ssp.log_z),
        log_age=_single(log_age),
        log_step=_single(np.diff(log_age)),
        young=_single(young),
        old=_single(old),
        photon_rate=_single(photon_rate[:, :n_gas] / _PHOTON_UNIT),
        bolometric=_single(spectra @ pixels.widths_aa if bolometric is None else bolometric),
        mass_fraction=_single(ssp.mass_fraction),
    )


def _nebular(
    grid: NebularGrid, ssp: SSPGrid, stars: Stars, pixels: PixelGrid, weak_line: float, last_gyr: float
) -> Nebular:
    # ages beyond those of stars with nebulae are never used
    keep = min(int(np.searchsorted(grid.age_gyr, last_gyr * 1.01)) + 1, grid.age_gyr.size)
    log_nodes, log_stars = np.log(grid.age_gyr[:keep]), np.log(ssp.age_gyr[: stars.photon_rate.shape[1]])
    from_stars = np.stack([np.interp(log_stars, log_nodes, row) for row in np.eye(keep)], axis=1)
    continuum = rebin(grid.wave_aa, grid.continuum[:, :keep] * _PHOTON_UNIT, pixels)
    lines = grid.lines[:, :keep] * _PHOTON_UNIT
    strong = np.max(lines / np.sum(lines, axis=-1, keepdims=True), axis=(0, 1)) > weak_line
    wave = grid.line_wave_aa[strong]
    weak = deposit_lines(grid.line_wave_aa[~strong], lines[..., ~strong], pixels)
    return Nebular(
        log_z=_single(grid.log_z),
        from_stars=_single(from_stars),
        spectra=_single(continuum + weak),
        lines=_single(lines[..., strong]),
        line_wave_aa=_single(wave),
        line_pixels=_single(deposit_lines(wave, np.eye(wave.size), pixels)),
    )


def _dust_emission(grid: DustEmissionGrid, pixels: PixelGrid) -> DustEmission:
    spectra = rebin(grid.wave_aa, np.stack([grid.single, grid.power_law]), pixels)
    luminosity = spectra @ pixels.widths_aa
    spectra = spectra / luminosity[..., None]
    red = int(np.argmax(np.any(spectra > 0, axis=(0, 1, 2))))
    infrared = (pixels.wave_aa > _INFRARED_AA[0]) & (pixels.wave_aa < _INFRARED_AA[1])
    share = spectra[..., infrared] @ pixels.widths_aa[infrared]
    return DustEmission(
        _single(grid.qpah),
        _single(grid.umin),
        _single(luminosity / luminosity.max()),
        _single(spectra[..., red:].reshape(-1, spectra.shape[-1] - red)),
        _single(share.ravel()),
    )


def _torus(grid: TorusGrid, pixels: PixelGrid, unit: bool) -> Torus:
    # the table is coarse: interpolate it in log-log before averaging
    fine = np.geomspace(grid.wave_aa[0], grid.wave_aa[-1], 20 * grid.wave_aa.size)
    log_l = np.log(np.maximum(grid.l_lambda, 1e-60))
    dense = np.stack([np.exp(np.interp(np.log(fine), np.log(grid.wave_aa), row)) for row in log_l])
    spectra = rebin(fine, dense, pixels)
    luminosity = (spectra @ pixels.widths_aa)[:, None]
    return Torus(_single(grid.tau), _single(spectra / luminosity if unit else spectra))
