"""Speculator's published Prospector-alpha networks as a forward model for any filters (Alsing et al. 2020, section 4).

Three networks give the rest-frame spectrum in 100-400 nm, 400-1100 nm and 1.1-30 um. What the files do not say was
settled with their own numbers and by the tests (``tests/published/test_published_physics.py``):

- The spectrum is ln of maggies at 10 pc per Msun formed: no factor (1 + z), no IGM, no emission lines.
- Inputs, in order: log10 Z/Zsun, six log10 SFR ratios (youngest first), sqrt of the diffuse optical depth, dust index,
  tau1/tau2, ln f_AGN, ln tau_AGN, log10 Zgas/Zsun, redshift, which sets the ages of the bins only.

Where the rest-frame spectrum ends: between 912 and 1005 Angstrom f_nu is held at its value at 1005, below 912 it is
zero (the nebulae of the model absorb that light); filters that see beyond 29.9 um in the rest frame are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling import igm
from starling.components import LOG_FAGN, RATIOS, derived_properties, mixture_of
from starling.cosmology import flux_scale
from starling.lines import AT_TEN_PC, REST_FRAME_BANDS
from starling.parameters import ParameterSpace
from starling.photometry import (
    AB_ZERO_POINT_CGS,
    LIGHT_AA_S,
    POGSON,
    Band,
    band_columns,
    load_bands,
    projection_matrix,
)
from starling.published.mass_loss import log_surviving_fraction
from starling.published.speculator import SpeculatorSpectrum, read_speculator
from starling.sfh import bin_edges_gyr
from starling.spaces import prospector_alpha_14
from starling.sps.pixels import PixelGrid, Projection, make_pixels, make_projection, project, rebin

RANGES = ("100_400", "400_1100", "1100_30000")  # folders of the published files, nm
FILE = "model.pkl"
DESCRIPTION = (
    "Speculator's published Prospector-alpha networks (Alsing et al. 2020; FSPS, MIST + MILES, 14 parameters). The "
    "spectra have NO EMISSION LINES: bands that hold strong lines are predicted too faint in star-forming galaxies. "
    "Surviving masses follow Behroozi et al. (2013); log_lir is the light that dust takes between 912 A and 2.5 um"
)
_LYMAN_LIMIT_AA = 911.75
_SEAMS_AA = (4000.18, 11000.0)
_LAST_AA = 299_200.0
# (first wavelength, ln step): about what the files are sampled at; seams, Lyman alpha and the Lyman limit are edges.
_SEGMENTS = (
    (_LYMAN_LIMIT_AA, 2e-3),
    (igm.LYMAN_ALPHA_AA, 2e-3),
    (3600.0, 1e-3),
    (_SEAMS_AA[0], 1e-3),
    (7500.0, 2e-3),
    (_SEAMS_AA[1], 3e-3),
)
_SEGMENTS_OF_RANGE = ((0, 3), (3, 5), (5, 6))
# maggies at 10 pc to Lsun / Angstrom, times the wavelength in Angstrom squared
_LOG_UNIT = float(np.log(AB_ZERO_POINT_CGS * LIGHT_AA_S / AT_TEN_PC))
_NO_AGN = -5.0
_STARLIGHT_ENDS_AA = 2.5e4  # where dust begins to emit
_LEAST_ABSORBED = 1e-3  # of the light of the stars: what the networks' errors hide
_INFRARED_SHARE = (
    0.957  # of the dust's light, in 8-1000 um: Draine & Li (2007), qpah 2 per cent, Umin 1, gamma 0.01
)
# Alsing et al. s. 4.3: 99.9% of spectra (3.29 sigma) are within 2% down to 200 nm, within 6% at 100 nm.
_ACCURACY = ((1000.0, 0.06 / 3.29), (2000.0, 0.02 / 3.29))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SpeculatorModel:
    """A ``ForwardModel``; build it with ``speculator_model``. ``sigma`` is the fractional error of the networks."""

    ranges: tuple[SpeculatorSpectrum, ...]  # ln of Lsun / Angstrom per Msun formed, in pixels
    projection_weights: tuple[Array, ...]
    uvj: Float[Array, "3 pixel"]
    sigma: Float[Array, " band"]
    wave_effective_aa: Float[Array, " band"]
    space: ParameterSpace = field(metadata={"static": True})
    bands: tuple[str, ...] = field(metadata={"static": True})
    pixels: PixelGrid = field(metadata={"static": True})
    offsets: tuple[int, ...] = field(metadata={"static": True})
    reach: tuple[int, ...] = field(metadata={"static": True})
    description: str = field(default=DESCRIPTION, metadata={"static": True})

    @property
    def linear_in_mass(self) -> bool:
        """The mass is no input of the networks."""
        return True

    def spectrum(self, theta: Float[Array, " param"]) -> Float[Array, " pixel"]:
        """Rest-frame spectrum before the IGM, mean over ``pixels``, Lsun / Angstrom per Msun formed."""
        inputs = self.inputs(theta)
        return jnp.exp(jnp.concatenate([part(inputs) for part in self.ranges]))

    def inputs(self, theta: Float[Array, " param"]) -> Float[Array, "14"]:
        """What the networks take, from Prospector's parameters."""
        v, ln10 = self.space.unpack(theta), jnp.log(10.0).astype(theta.dtype)
        # the square root has no slope at 0
        root = jnp.sqrt(jnp.maximum(v["dust2"], 1e-8))
        dust = (root, v["dust_index"], v["dust1_fraction"])
        torus = (ln10 * v[LOG_FAGN], ln10 * v["log_agn_tau"])
        return jnp.stack([v["logzsol"], *(v[r] for r in RATIOS), *dust, *torus, v["gas_logz"], v["zred"]])

    def rest_flux(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Flux of one Msun formed, redshifted but at a distance of 10 pc, maggies."""
        zred, spectrum = self.space.unpack(theta)["zred"], self.spectrum(theta)
        blue = int(np.count_nonzero(self.pixels.wave_aa < igm.LYMAN_ALPHA_AA))
        wave = jnp.asarray(self.pixels.wave_aa[:blue], spectrum.dtype)
        spectrum = spectrum.at[:blue].multiply(igm.transmission(wave, zred))
        return project(
            spectrum, zred, Projection(self.projection_weights, self.offsets, self.reach), self.pixels
        )

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Observed flux in each band, maggies."""
        values = self.space.unpack(theta)
        return self.rest_flux(theta) * flux_scale(values["logmass"], values["zred"])

    def flux_error(self, flux: Float[Array, " band"]) -> Float[Array, " band"]:
        """The networks' own error as their paper states it: 0.6% of the flux, more below 200 nm in the rest frame."""
        return self.sigma * jnp.abs(flux)

    def properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:
        """Derived quantities, ``starling.forward.PROPERTIES``.

        ``log_stellar_mass`` follows Behroozi et al. (2013), ``log_lir`` the energy that dust takes out of the spectrum
        between 912 Angstrom and 2.5 um: what it takes out of emission lines and of longer waves is not counted.
        """
        values = self.space.unpack(theta)
        fractions, edges = mixture_of(self.space, theta).fractions, bin_edges_gyr(values["zred"])
        u, v, j = -POGSON * jnp.log(self.uvj @ self.spectrum(theta))
        spectral = {
            "log_mass_fraction": log_surviving_fraction(fractions, edges),
            "u_minus_v": u - v,
            "v_minus_j": v - j,
            "log_lir_per_msun": jnp.log10(_INFRARED_SHARE * self._absorbed(theta)),
        }
        return derived_properties(values, spectral)

    def _absorbed(self, theta: Float[Array, " param"]) -> Float[Array, ""]:
        """What dust takes of the light of stars and nebulae, Lsun per Msun formed."""
        seen = theta.at[self.space.index(LOG_FAGN)].set(_NO_AGN)
        bare = seen.at[self.space.index("dust2")].set(0.0)
        starlight = self.pixels.wave_aa < _STARLIGHT_ENDS_AA
        widths = jnp.asarray(np.where(starlight, self.pixels.widths_aa, 0.0), theta.dtype)
        emitted, left = self.spectrum(bare) @ widths, self.spectrum(seen) @ widths
        return jnp.maximum(emitted - left, _LEAST_ABSORBED * emitted)

    def select(self, bands: Sequence[str]) -> Self:
        """The same model for these of its bands, in this order."""
        rows = np.array(band_columns(self.bands, bands), int)
        return replace(
            self,
            projection_weights=tuple(weights[rows] for weights in self.projection_weights),
            sigma=self.sigma[rows],
            wave_effective_aa=self.wave_effective_aa[rows],
            bands=tuple(bands),
        )


def is_speculator_folder(path: Path) -> bool:
    """Whether a folder holds the three published networks."""
    return all((path / name / FILE).is_file() for name in RANGES)


def speculator_model(
    folder: Path | str, bands: Sequence[str], space: ParameterSpace | None = None
) -> SpeculatorModel:
    """The model for filters by their sedpy names, from a folder with ``100_400``, ``400_1100`` and ``1100_30000``.

    ``space`` is by default the paper's 14 parameters and redshift, 0.5 < z < 2.5; another one has to have the same
    parameters. Raises ValueError where a file, a filter or the space does not fit.
    """
    folder = Path(folder)
    missing = [f"{name}/{FILE}" for name in RANGES if not (folder / name / FILE).is_file()]
    if missing:
        raise ValueError(
            f"{folder} lacks {', '.join(missing)}: the Prospector-alpha model needs its three ranges of wavelength"
        )
    space = space or prospector_alpha_14()
    _check_space(space)
    curves = load_bands(bands)
    zred = space.parameters[space.index("zred")]
    _check_reach(curves, zred.low)
    pixels = make_pixels(_SEGMENTS, _LAST_AA)
    projection = make_projection(curves, pixels, zred.high)
    uvj = projection_matrix(load_bands(REST_FRAME_BANDS), pixels.edges_aa) * AT_TEN_PC
    waves = np.array([curve.wave_effective_aa for curve in curves])
    nodes, errors = (np.array(column) for column in zip(*_ACCURACY, strict=True))
    return SpeculatorModel(
        ranges=tuple(
            _in_pixels(folder / name / FILE, pixels, *segments)
            for name, segments in zip(RANGES, _SEGMENTS_OF_RANGE, strict=True)
        ),
        projection_weights=projection.weights,
        uvj=jnp.asarray(uvj, jnp.float32),
        sigma=jnp.asarray(np.interp(waves / (1.0 + zred.high), nodes, errors), jnp.float32),
        wave_effective_aa=jnp.asarray(waves, jnp.float32),
        space=space,
        bands=tuple(curve.name for curve in curves),
        pixels=pixels,
        offsets=projection.offsets,
        reach=projection.reach,
    )


def _check_space(space: ParameterSpace) -> None:
    """ValueError unless the space has the paper's parameters."""
    needed = set(prospector_alpha_14().names)
    if set(space.names) != needed:
        wrong = sorted(needed.symmetric_difference(space.names))
        raise ValueError(
            f"space {space.name!r} is not the 14-parameter Prospector-alpha model: {', '.join(wrong)} is too many or "
            "missing"
        )


def _check_reach(curves: Sequence[Band], lowest_zred: float) -> None:
    """ValueError names filters that see light beyond the end of the spectrum (more than 1% of their transmission)."""
    last = _LAST_AA * (1.0 + lowest_zred)
    beyond = []
    for curve in curves:
        photons = curve.transmission / curve.wave_aa
        total = np.trapezoid(photons, curve.wave_aa)
        red = np.trapezoid(np.where(curve.wave_aa > last, photons, 0.0), curve.wave_aa)
        if red > 0.01 * total:
            beyond.append(curve.name)
    if beyond:
        raise ValueError(
            f"Speculator's spectra end at {_LAST_AA / 1e4:.1f} um in the rest frame, at z = {lowest_zred:g} "
            f"{last / 1e4:.0f} um: leave out {', '.join(beyond)}"
        )


def _in_pixels(path: Path, pixels: PixelGrid, first: int, last: int) -> SpeculatorSpectrum:
    """One range with its basis averaged over the pixels of its segments, as ln of Lsun / Angstrom."""
    spectrum = read_speculator(path)
    if not isinstance(spectrum, SpeculatorSpectrum) or spectrum.n_inputs != len(prospector_alpha_14()) - 1:
        raise ValueError(f"{path} is not a spectrum network of the 14-parameter Prospector-alpha model")
    part = PixelGrid(pixels.starts_aa[first : last + 1], pixels.counts[first:last])
    wave = np.asarray(spectrum.wave_aa, float)
    # f_nu is held beyond the ends, up to the seams: less than a pixel but for 912-1005 Angstrom
    inside = (wave > part.edges_aa[0]) & (wave < part.edges_aa[-1])
    wave = np.concatenate([part.edges_aa[:1], wave[inside], part.edges_aa[-1:]])
    rows = np.concatenate([np.asarray(spectrum.basis), np.asarray(spectrum.mean)[None]])[:, inside]
    rows = np.pad(rows.astype(float), ((0, 0), (1, 1)), mode="edge")
    rows[-1] += _LOG_UNIT - 2.0 * np.log(wave)
    means = rebin(wave, rows, part)
    return replace(
        spectrum,
        basis=jnp.asarray(means[:-1], jnp.float32),
        mean=jnp.asarray(means[-1], jnp.float32),
        wave_aa=jnp.asarray(part.wave_aa, jnp.float32),
    )
