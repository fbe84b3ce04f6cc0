"""FSPS as simulators: from points of a space to spectra, and to photometry with starling's filters, lines and IGM."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling import igm
from starling.components import SPECTRAL_PROPERTIES
from starling.lines import AT_TEN_PC, REST_FRAME_BANDS, LineLight, line_light
from starling.parameters import ParameterSpace
from starling.photometry import LIGHT_AA_S, POGSON, load_bands, projection_matrix
from starling.sfh import N_BINS, N_HISTORIES
from starling.simulation import FAILURE, Simulator
from starling.sps.fsps.home import FspsWarning, Home, cautions
from starling.sps.fsps.infrared import InfraredLight, read_infrared_light
from starling.sps.fsps.pool import PATIENT, Inventory, Pool, Timeouts, describe_settings
from starling.sps.fsps.process import explain
from starling.sps.fsps.translate import is_desi, settings_of, translate
from starling.sps.fsps_tables import LSUN
from starling.sps.pixels import (
    PixelGrid,
    Projection,
    deposit_lines,
    make_pixels,
    make_projection,
    project,
    rebinning,
)


class FspsSpectra(NamedTuple):
    """Rest-frame spectra per Msun formed, behind dust but not the IGM; NaN in rows that failed.

    ``smooth`` is L_lambda at the wavelengths of FSPS, Lsun/Angstrom, without the emission lines whose luminosities
    (Lsun, after dust) are ``lines``; ``mass_fraction`` the surviving part of the mass, remnants among it;
    ``log_lir_per_msun`` log10 of the dust emission in 8-1000 um, Lsun (-inf in a model without). ``failure`` says why a
    row failed, texts, empty for the others.
    """

    smooth: Float[np.ndarray, "row wave"]
    lines: Float[np.ndarray, "row line"]
    mass_fraction: Float[np.ndarray, " row"]
    log_lir_per_msun: Float[np.ndarray, " row"]
    failure: np.ndarray


class Fsps:
    """FSPS over a space, in ``workers`` processes; a context manager that ends them.

    Simulates Prospector-alpha of 14 and of 18 parameters, with or without AGN, and the DESI model. ``wave_aa`` and
    ``line_wave_aa`` are vacuum wavelengths. Raises FspsError where FSPS cannot run, and says in an FspsWarning what its
    numbers suffer from.
    """

    def __init__(
        self,
        space: ParameterSpace,
        sps_home: str | Path | None,
        *,
        workers: int = 1,
        timeouts: Timeouts = PATIENT,
        lines_in_spectrum: bool = False,
    ) -> None:
        self.space = space
        self.settings = settings_of(space, lines_in_spectrum)
        self.pool = Pool(sps_home, self.settings, workers, timeouts)
        self._infrared: InfraredLight | None = None
        try:
            for sentence in cautions(self.home, space):
                warnings.warn(sentence, FspsWarning, stacklevel=2)
            if self.settings.constants["add_dust_emission"]:
                self._infrared = read_infrared_light(self.home, self.inventory.wave_aa)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        self.pool.close()

    @property
    def home(self) -> Home:
        assert self.pool.home is not None  # a pool that has started has checked it
        return self.pool.home

    @property
    def inventory(self) -> Inventory:
        return self.pool.inventory

    @property
    def wave_aa(self) -> np.ndarray:
        return self.inventory.wave_aa

    @property
    def line_wave_aa(self) -> np.ndarray:
        return self.inventory.line_wave_aa

    def spectra(self, theta: Float[np.ndarray, "row param"]) -> FspsSpectra:
        """The spectra of many galaxies."""
        galaxies = translate(self.space, theta)
        numbers, failures = self.pool.run(galaxies)
        if failures:
            said = (
                f"FSPS failed at {len(failures)} of {len(theta)} galaxies: {explain(list(failures.values()))}"
            )
            warnings.warn(said, FspsWarning, stacklevel=2)
        stellar, formed, dust = numbers[:, :3].T
        per_msun = LSUN / formed[:, None]
        n_wave = self.wave_aa.size
        return FspsSpectra(
            smooth=numbers[:, 3 : 3 + n_wave] * per_msun * LIGHT_AA_S / self.wave_aa**2,
            lines=numbers[:, 3 + n_wave :] * per_msun,
            mass_fraction=stellar / formed,
            log_lir_per_msun=self._log_lir(theta, dust * LSUN / formed),
            failure=np.array([failures.get(row, "") for row in range(len(theta))], str),
        )

    def _log_lir(
        self, theta: Float[np.ndarray, "row param"], dust_mass: Float[np.ndarray, " row"]
    ) -> np.ndarray:
        if self._infrared is None:
            return np.where(np.isfinite(dust_mass), -np.inf, np.nan)
        return self._infrared.log_luminosity(self.space.unpack(jnp.asarray(theta)), dust_mass)


def spectrum_simulator(fsps: Fsps) -> Simulator:
    """A simulator of rest-frame spectra: ``spectrum`` [row, wave] and what else ``FspsSpectra`` has."""

    def simulate(theta: Float[np.ndarray, "row param"]) -> dict[str, np.ndarray]:
        found = fsps.spectra(theta)._asdict()
        return {"spectrum": found.pop("smooth"), FAILURE: found.pop("failure"), **found}

    return simulate


def pixel_simulator(fsps: Fsps, pixels: PixelGrid, kept: slice) -> Simulator:
    """A simulator of whole spectra in pixels of a grid (those ``kept``), emission lines in them, Lsun/Angstrom.

    In the form of ``starling.components.Components``: FSPS does not tell the light of a bin from that of another, so
    every bin, or basis history, has all of it, and dust, torus and separate lines have none. The sum is the spectrum.
    """
    operator = rebinning(fsps.wave_aa, pixels)[kept]
    line_pixels = deposit_lines(fsps.line_wave_aa, np.eye(fsps.line_wave_aa.size), pixels)[:, kept]
    n_bins = N_HISTORIES if is_desi(fsps.space) else N_BINS

    def simulate(theta: Float[np.ndarray, "row param"]) -> dict[str, np.ndarray]:
        found = fsps.spectra(theta)
        light = ((operator @ found.smooth.T).T + found.lines @ line_pixels).astype(np.float32)
        none, nothing = np.zeros((len(theta), n_bins), np.float32), np.zeros_like(light)
        return {
            "stars": np.repeat(light[:, None], n_bins, axis=1),
            "lines": np.zeros((len(theta), 0), np.float32),
            "absorbed": none,
            "bolometric": none,
            "mass_fraction": np.repeat(found.mass_fraction[:, None], n_bins, axis=1),
            "dust": nothing,
            "infrared_share": none[:, 0],
            "torus": nothing,
            FAILURE: found.failure,
        }

    return simulate


def photometry_simulator(fsps: Fsps, bands: Sequence[str], pixels: PixelGrid | None = None) -> Simulator:
    """A simulator of ``rest_flux`` (maggies at 10 pc per Msun formed) and ``properties`` (``SPECTRAL_PROPERTIES``).

    Spectra go through the pixels, filters, lines and IGM of the exact model. ValueError for the DESI model, which is
    one of spectra.
    """
    if is_desi(fsps.space):
        raise ValueError(f"{fsps.space.name} is a model of spectra: it has no photometry")
    pixels = pixels or make_pixels()
    curves = load_bands(bands)
    max_zred = fsps.space.parameters[fsps.space.index("zred")].high
    projection = make_projection(curves, pixels, max_zred)
    light = line_light(fsps.line_wave_aa, curves, max_zred)
    uvj = jnp.asarray(
        projection_matrix(load_bands(REST_FRAME_BANDS), pixels.edges_aa) * AT_TEN_PC, jnp.float32
    )
    operator = rebinning(fsps.wave_aa, pixels)
    n_blue = int(np.count_nonzero(pixels.wave_aa < igm.LYMAN_ALPHA_AA))
    blue_aa = jnp.asarray(pixels.wave_aa[:n_blue], jnp.float32)

    @jax.jit
    def project_all(
        light: LineLight,
        weights: tuple[Array, ...],
        smooth: Float[Array, "row pixel"],
        lines: Float[Array, "row line"],
        zred: Float[Array, " row"],
    ) -> tuple[Float[Array, "row band"], Float[Array, "row 3"]]:
        def one(row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            smooth, lines, zred = row
            behind = smooth.at[:n_blue].multiply(igm.transmission(blue_aa, zred))
            place = Projection(weights, projection.offsets, projection.reach)
            flux = project(behind, zred, place, pixels)
            return flux + lines @ light(zred)[:, : len(curves)], uvj @ smooth + lines @ light.rest

        return jax.lax.map(one, (smooth, lines, zred), batch_size=64)

    def simulate(theta: Float[np.ndarray, "row param"]) -> dict[str, np.ndarray]:
        found = fsps.spectra(theta)
        smooth = jnp.asarray((operator @ found.smooth.T).T, jnp.float32)
        zred = fsps.space.unpack(jnp.asarray(theta))["zred"]
        flux, rest = project_all(
            light, projection.weights, smooth, jnp.asarray(found.lines, jnp.float32), zred
        )
        u, v, j = -POGSON * np.log(np.asarray(rest, float)).T
        properties = {
            "log_mass_fraction": np.log10(found.mass_fraction),
            "u_minus_v": u - v,
            "v_minus_j": v - j,
            "log_lir_per_msun": found.log_lir_per_msun,
        }
        return {
            "rest_flux": np.asarray(flux),
            "properties": np.stack([properties[name] for name in SPECTRAL_PROPERTIES], axis=1),
            FAILURE: found.failure,
        }

    return simulate


def describe_fsps(fsps: Fsps, bands: Sequence[str] = ()) -> dict[str, Any]:
    """What decides the numbers of a simulator, JSON-able."""
    libraries = fsps.home.libraries
    curves = load_bands(bands)
    return {
        "code": "fsps",
        "tables": f"FSPS {fsps.pool.version}: {' + '.join(libraries)}",
        "tables_sha256": fsps.home.sha256,
        "surrogate": fsps.home.surrogate,
        "remnants": True,
        "space": fsps.space.name,
        "bands": [curve.name for curve in curves],
        "curve_sha256": [curve.sha256 for curve in curves],
        **describe_settings(fsps.settings),
    }
