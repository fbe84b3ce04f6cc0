"""The exact model: theta -> spectrum -> bands, for one galaxy, from tables of stars, nebulae, dust and AGN."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling import igm
from starling.components import LOG_FAGN, RATIOS, TORUS_PARAMETERS, Components, derived_properties
from starling.cosmology import flux_scale
from starling.lines import AT_TEN_PC, REST_FRAME_BANDS, LineLight, line_light
from starling.parameters import ParameterSpace
from starling.photometry import POGSON, band_columns, load_bands, projection_matrix
from starling.sfh import N_BINS, bin_edges_gyr, mass_fractions
from starling.spaces import prospector_alpha
from starling.sps.conventions import Conventions
from starling.sps.gas import formed_in_clouds, formed_with_gas, lines_in_pixels, nebular_emission
from starling.sps.grids import Tables
from starling.sps.pixels import PixelGrid, Projection, make_pixels, make_projection, project
from starling.sps.prepare import WEAK_LINE, Prepared, prepare
from starling.sps.screens import ATTENUATIONS, escaping, nebulae_behind, screens, thermal, torus_emission
from starling.sps.stars import age_weights, hat_weights


class Spectrum(NamedTuple):
    """Rest-frame parts of a galaxy, mean L_lambda in pixels, Lsun/Angstrom per Msun formed; before the IGM.

    ``young`` and ``nebular`` (inside birth clouds) and ``old`` are attenuated; ``nebular`` is without the emission
    lines whose attenuated luminosities (Lsun) are ``lines`` and which ``line_spectrum`` has in pixels; ``dust`` is the
    emission of what dust absorbed, ``absorbed`` its luminosity (Lsun per Msun formed), ``torus`` the attenuated AGN
    torus.
    """

    young: Float[Array, " pixel"]
    nebular: Float[Array, " pixel"]
    lines: Float[Array, " line"]
    line_spectrum: Float[Array, " pixel"]
    old: Float[Array, " pixel"]
    dust: Float[Array, " pixel"]
    torus: Float[Array, " pixel"]
    absorbed: Float[Array, ""]
    log_lir: Float[Array, ""]
    mass_fraction: Float[Array, ""]

    @property
    def smooth(self) -> Float[Array, " pixel"]:
        """All but the emission lines."""
        return self.young + self.nebular + self.old + self.dust + self.torus

    @property
    def total(self) -> Float[Array, " pixel"]:
        return self.smooth + self.line_spectrum


class _Light(NamedTuple):
    """What dust and gas make of a galaxy, whatever its older stars: see ``ExactModel._light``."""

    nebular: Float[Array, " pixel"]  # behind dust, without the lines
    lines: Float[Array, " line"]  # behind dust
    absorbed: Float[Array, ""]  # of the nebulae
    clouds: Float[Array, " pixel"]  # transmission of birth clouds and diffuse dust
    diffuse: Float[Array, " pixel"]
    widths: Float[Array, " pixel"]
    dust: Float[Array, " pixel"]  # per Lsun absorbed, as it escapes
    infrared_share: Float[Array, ""]
    torus: Float[Array, " pixel"]  # per Lsun, behind dust


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ExactModel:
    """Prospector-alpha without approximation but the tables' own: a ``ForwardModel`` (Leja et al. 2017, 2019).

    Build it with ``exact_model``. ``attenuation`` is ``kriek_conroy`` or ``calzetti``.
    """

    prepared: Prepared
    projection_weights: tuple[Array, ...]
    line_light: LineLight
    uvj: Float[Array, "3 pixel"]
    wave_effective_aa: Float[Array, " band"]
    space: ParameterSpace = field(metadata={"static": True})
    bands: tuple[str, ...] = field(metadata={"static": True})
    curve_sha256: tuple[str, ...] = field(metadata={"static": True})
    pixels: PixelGrid = field(metadata={"static": True})
    offsets: tuple[int, ...] = field(metadata={"static": True})
    reach: tuple[int, ...] = field(metadata={"static": True})
    attenuation: str = field(metadata={"static": True})
    description: str = field(metadata={"static": True})
    surrogate: bool = field(metadata={"static": True})
    conventions: Conventions = field(metadata={"static": True})

    @property
    def linear_in_mass(self) -> bool:
        """The mass is no input of the spectrum."""
        return True

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Observed flux in each band, maggies."""
        values = self.space.unpack(theta)
        return self.rest_flux(theta) * flux_scale(values["logmass"], values["zred"])

    def rest_flux(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Flux of one Msun formed, redshifted but at a distance of 10 pc, maggies; does not depend on ``logmass``."""
        spectrum, zred = self.spectrum(theta), self.space.unpack(theta)["zred"]
        n_bands = len(self.bands)
        return self._project(spectrum.smooth, zred) + spectrum.lines @ self.line_light(zred)[:, :n_bands]

    def spectrum(self, theta: Float[Array, " param"]) -> Spectrum:
        """The rest-frame spectrum in its parts, with the 7-bin star-formation history of ``theta``."""
        values = self.space.unpack(theta)
        edges = bin_edges_gyr(values["zred"])
        return self.spectrum_of(mass_fractions(_ratios(values), edges), edges, values)

    def spectrum_of(
        self,
        masses: Float[Array, " bin"],
        edges_gyr: Float[Array, " edge"],
        values: Mapping[str, Any],
    ) -> Spectrum:
        """The spectrum for any piecewise-constant history: mass formed in each bin of lookback time."""
        stars = self.prepared.stars
        metals = hat_weights(values["logzsol"], stars.log_z)
        formed, young_formed, old_formed = self._formed(masses, edges_gyr)
        young = _mix(metals, young_formed, stars.young)
        old = _mix(metals, old_formed, stars.old)
        light = self._light(metals, formed_with_gas(stars, formed, young_formed), values)
        bolometric = jnp.sum(metals[:, None] * formed * stars.bolometric)
        absorbed = light.absorbed + jnp.sum(
            light.widths * (young * (1.0 - light.clouds) + old * (1.0 - light.diffuse))
        )
        fagn = 10.0 ** values[LOG_FAGN] if self.prepared.torus is not None else 0.0
        return Spectrum(
            young=young * light.clouds,
            nebular=light.nebular,
            lines=light.lines,
            line_spectrum=lines_in_pixels(self.prepared.nebular, light.lines, self.pixels.wave_aa.size),
            old=old * light.diffuse,
            dust=absorbed * light.dust,
            torus=fagn * bolometric * light.torus,
            absorbed=absorbed,
            log_lir=jnp.log10(absorbed * light.infrared_share),
            mass_fraction=jnp.sum(metals[:, None] * formed * stars.mass_fraction) / jnp.sum(masses),
        )

    def components(self, theta: Float[Array, " param"]) -> Components:
        """What the flux is a sum of, in ``bands`` and ``REST_FRAME_BANDS``; see ``starling.components``."""
        zred, parts = self.space.unpack(theta)["zred"], self.component_spectra(theta)
        spectra = jnp.concatenate([parts.stars, parts.dust[None], parts.torus[None]])
        observed = jax.vmap(lambda spectrum: self._project(spectrum, zred))(spectra)
        channels = jnp.concatenate([observed, spectra @ self.uvj.T], axis=1)
        return parts._replace(stars=channels[:N_BINS], dust=channels[N_BINS], torus=channels[N_BINS + 1])

    def component_spectra(self, theta: Float[Array, " param"]) -> Components:
        """The same terms with rest-frame pixels as channels: mean L_lambda, Lsun/Angstrom instead of maggies."""
        values, stars = self.space.unpack(theta), self.prepared.stars
        edges = bin_edges_gyr(values["zred"])
        metals = hat_weights(values["logzsol"], stars.log_z)
        formed, young_formed, old_formed = jax.vmap(lambda masses: self._formed(masses, edges))(
            jnp.eye(N_BINS)
        )
        old = jax.vmap(lambda weights: _mix(metals, weights, stars.old))(old_formed)
        # only the youngest bin has stars in birth clouds, or with nebulae
        young = _mix(metals, young_formed[0], stars.young)
        light = self._light(metals, formed_with_gas(stars, formed[0], young_formed[0]), values)
        absorbed = (old * (1.0 - light.diffuse)).at[0].add(young * (1.0 - light.clouds)) @ light.widths
        return Components(
            stars=(old * light.diffuse).at[0].add(young * light.clouds + light.nebular),
            lines=light.lines,
            absorbed=absorbed.at[0].add(light.absorbed),
            bolometric=formed @ (metals @ stars.bolometric),
            mass_fraction=formed @ (metals @ stars.mass_fraction),
            dust=light.dust,
            infrared_share=light.infrared_share,
            torus=light.torus,
        )

    def spectral_properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:
        """What only a spectrum tells, per Msun formed: log_mass_fraction, u_minus_v, v_minus_j, log_lir_per_msun."""
        spectrum = self.spectrum(theta)
        u, v, j = -POGSON * jnp.log(self.uvj @ spectrum.smooth + spectrum.lines @ self.line_light.rest)
        return {
            "log_mass_fraction": jnp.log10(spectrum.mass_fraction),
            "u_minus_v": u - v,
            "v_minus_j": v - j,
            "log_lir_per_msun": spectrum.log_lir,
        }

    def properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:
        """Derived quantities, ``starling.forward.PROPERTIES``."""
        return derived_properties(self.space.unpack(theta), self.spectral_properties(theta))

    def flux_error(self, flux: Float[Array, " band"]) -> Float[Array, " band"]:
        """Zeros: the model is exact."""
        return jnp.zeros_like(flux)

    def select(self, bands: Sequence[str]) -> "ExactModel":
        """The same model for these of its bands, in this order."""
        rows = np.array(band_columns(self.bands, bands), int)
        return replace(
            self,
            projection_weights=tuple(weights[rows] for weights in self.projection_weights),
            line_light=self.line_light.select(rows),
            wave_effective_aa=self.wave_effective_aa[rows],
            bands=tuple(bands),
            curve_sha256=tuple(self.curve_sha256[row] for row in rows),
        )

    def _formed(
        self, masses: Float[Array, " bin"], edges_gyr: Float[Array, " edge"]
    ) -> tuple[Float[Array, " age"], Float[Array, " young"], Float[Array, " old"]]:
        """Mass formed at every age node, and of it what is in birth clouds and what is not, at the nodes of those."""
        stars = self.prepared.stars
        formed = age_weights(masses, edges_gyr, stars.log_age, stars.log_step)
        young = formed_in_clouds(stars, masses, edges_gyr, formed)
        return formed, young, formed.at[: young.size].add(-young)[-stars.old.shape[1] :]

    def _light(
        self, metals: Float[Array, " z"], with_gas: Float[Array, "place gas"], values: Mapping[str, Any]
    ) -> "_Light":
        """Nebulae behind dust, the dust, and its emission: what does not depend on stars without gas."""
        emission, lines = nebular_emission(self.prepared, metals, with_gas, values)
        widths = jnp.asarray(self.pixels.widths_aa, emission.dtype)
        wave = jnp.asarray(self.pixels.wave_aa, emission.dtype)
        passed, passed_lines = (
            screens(self.attenuation, self.conventions, values, each)
            for each in (wave, self.line_light.wave_aa)
        )
        seen = nebulae_behind(emission, lines, passed, passed_lines, widths)
        emitted, infrared_share = thermal(self.prepared.dust_emission, values, wave.size)
        clouds, diffuse = passed
        if self.conventions.self_absorption and self.prepared.dust_emission is not None:
            emitted = escaping(emitted, diffuse, widths)
        torus = torus_emission(self.prepared.torus, values, wave.size) * diffuse
        return _Light(*seen, clouds, diffuse, widths, emitted, infrared_share, torus)

    def _project(self, l_lambda: Float[Array, " pixel"], zred: Float[Array, ""]) -> Float[Array, " band"]:
        """Maggies at 10 pc of a rest-frame spectrum behind the IGM."""
        blue = int(np.count_nonzero(self.pixels.wave_aa < igm.LYMAN_ALPHA_AA))
        wave = jnp.asarray(self.pixels.wave_aa[:blue], l_lambda.dtype)
        l_lambda = l_lambda.at[:blue].multiply(igm.transmission(wave, zred))
        projection = Projection(self.projection_weights, self.offsets, self.reach)
        return project(l_lambda, zred, projection, self.pixels)


def exact_model(
    tables: Tables,
    bands: Sequence[str],
    space: ParameterSpace | None = None,
    *,
    attenuation: str = "kriek_conroy",
    pixels: PixelGrid | None = None,
    weak_line: float = WEAK_LINE,
    conventions: Conventions | None = None,
) -> ExactModel:
    """The exact model on these tables for these bands (sedpy names or curve files).

    ``space`` defaults to Prospector-alpha, with the AGN torus where ``tables`` has one; its redshift support sets how
    far spectra can be shifted. Emission lines that never carry more than ``weak_line`` of the light of all lines are
    part of the continuum, for speed; 0 keeps every line apart. ``conventions`` default to those of the tables. Raises
    ValueError where space and tables do not fit.
    """
    space = space or prospector_alpha(agn=tables.torus is not None)
    pixels = pixels or make_pixels()
    if attenuation not in ATTENUATIONS:
        raise ValueError(f"attenuation {attenuation!r}: use {' or '.join(map(repr, ATTENUATIONS))}")
    if tables.torus is None and any(name in space for name in TORUS_PARAMETERS):
        raise ValueError(
            f"space {space.name!r} has an AGN torus but the tables have none: give an FSPS data directory "
            "(its dust/Nenkova08 table), or use prospector_alpha(agn=False)"
        )
    if tables.torus is not None and not all(name in space for name in TORUS_PARAMETERS):
        raise ValueError(f"the tables have an AGN torus but space {space.name!r} lacks {TORUS_PARAMETERS}")
    curves = load_bands(bands)
    max_zred = space.parameters[space.index("zred")].high
    projection = make_projection(curves, pixels, max_zred)
    uvj = projection_matrix(load_bands(REST_FRAME_BANDS), pixels.edges_aa) * AT_TEN_PC
    conventions = tables.ssp.conventions if conventions is None else conventions
    prepared = prepare(tables, space, pixels, weak_line, conventions)
    lines = np.zeros(0) if prepared.nebular is None else np.asarray(prepared.nebular.line_wave_aa, float)
    return ExactModel(
        prepared=prepared,
        projection_weights=projection.weights,
        line_light=line_light(lines, curves, max_zred),
        uvj=jnp.asarray(uvj, jnp.float32),
        wave_effective_aa=jnp.asarray([curve.wave_effective_aa for curve in curves]),
        space=space,
        bands=tuple(curve.name for curve in curves),
        curve_sha256=tuple(curve.sha256 for curve in curves),
        pixels=pixels,
        offsets=projection.offsets,
        reach=projection.reach,
        attenuation=attenuation,
        description=tables.description,
        surrogate=tables.surrogate,
        conventions=conventions,
    )


def _ratios(values: Mapping[str, Array]) -> Float[Array, " ratio=6"]:
    return jnp.stack([values[name] for name in RATIOS])


def _mix(first: Array, second: Array, spectra: Array) -> Array:
    """Sum of spectra [first, second, pixel] with the outer product of two sets of weights: one matrix product."""
    return (first[:, None] * second).ravel() @ spectra.reshape(-1, spectra.shape[-1])
