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
from starling.sps import dust
from starling.sps.grids import Tables
from starling.sps.pixels import PixelGrid, Projection, make_pixels, make_projection, project
from starling.sps.prepare import BIRTH_CLOUD_GYR, WEAK_LINE, Prepared, prepare
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
    as_fsps: bool = field(metadata={"static": True})  # conventions: ``SSPGrid``

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
        formed = age_weights(masses, edges_gyr, stars.log_age, stars.log_step)
        young_formed = self._in_clouds(masses, edges_gyr, formed)
        old_formed = formed.at[: young_formed.size].add(-young_formed)[-stars.old.shape[1] :]
        young = _mix(metals, young_formed, stars.young)
        old = _mix(metals, old_formed, stars.old)
        emission, lines = self._nebular(metals, self._with_gas(formed, young_formed), values)
        bolometric = jnp.sum(metals[:, None] * formed * stars.bolometric)
        screens = self._screens(values, jnp.asarray(self.pixels.wave_aa, young.dtype))
        clouds, diffuse = screens
        widths = jnp.asarray(self.pixels.widths_aa, young.dtype)
        seen, seen_lines, absorbed = self._behind(emission, lines, screens, values)
        absorbed = absorbed + jnp.sum(widths * (young * (1.0 - clouds) + old * (1.0 - diffuse)))
        thermal, infrared_share = self._thermal(values)
        fagn = 10.0 ** values[LOG_FAGN] if self.prepared.torus is not None else 0.0
        return Spectrum(
            young=young * clouds,
            nebular=seen,
            lines=seen_lines,
            line_spectrum=self._line_spectrum(seen_lines),
            old=old * diffuse,
            dust=absorbed * self._escaping(thermal, diffuse),
            torus=fagn * bolometric * self._torus(values) * diffuse,
            absorbed=absorbed,
            log_lir=jnp.log10(absorbed * infrared_share),
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
        formed = jax.vmap(lambda masses: age_weights(masses, edges, stars.log_age, stars.log_step))(
            jnp.eye(N_BINS)
        )
        young_formed = jax.vmap(lambda masses, formed: self._in_clouds(masses, edges, formed))(
            jnp.eye(N_BINS), formed
        )
        n_young = stars.young.shape[1]
        old_formed = formed.at[:, :n_young].add(-young_formed)[:, -stars.old.shape[1] :]
        old = jax.vmap(lambda weights: _mix(metals, weights, stars.old))(old_formed)
        # only the youngest bin has stars in birth clouds, or with nebulae
        emission, lines = self._nebular(metals, self._with_gas(formed[0], young_formed[0]), values)
        young = _mix(metals, young_formed[0], stars.young)
        screens = self._screens(values, jnp.asarray(self.pixels.wave_aa, young.dtype))
        clouds, diffuse = screens
        widths = jnp.asarray(self.pixels.widths_aa, young.dtype)
        seen, seen_lines, absorbed = self._behind(emission, lines, screens, values)
        thermal, infrared_share = self._thermal(values)
        return Components(
            stars=(old * diffuse).at[0].add(young * clouds + seen),
            lines=seen_lines,
            absorbed=((old * (1.0 - diffuse)).at[0].add(young * (1.0 - clouds)) @ widths).at[0].add(absorbed),
            bolometric=formed @ (metals @ stars.bolometric),
            mass_fraction=formed @ (metals @ stars.mass_fraction),
            dust=self._escaping(thermal, diffuse),
            infrared_share=infrared_share,
            torus=self._torus(values) * diffuse,
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

    def _in_clouds(
        self, masses: Float[Array, " bin"], edges_gyr: Float[Array, " edge"], formed: Float[Array, " age"]
    ) -> Float[Array, " young"]:
        """Of the mass ``formed`` at the age nodes, what is in birth clouds."""
        stars = self.prepared.stars
        n_young = stars.young.shape[1]
        if stars.whole_nodes:
            return formed[:n_young]
        return age_weights(masses, edges_gyr, stars.log_age, stars.log_step, BIRTH_CLOUD_GYR)[:n_young]

    def _with_gas(
        self, formed: Float[Array, " age"], young_formed: Float[Array, " young"]
    ) -> Float[Array, "place gas"]:
        """Mass with nebulae at the nodes that have them: inside birth clouds and, where nodes are whole, outside."""
        n_young, n_gas = young_formed.size, self.prepared.stars.photon_rate.shape[1]
        inside = jnp.pad(young_formed, (0, n_gas - n_young))
        if n_gas == n_young:
            return inside[None]
        return jnp.stack([inside, formed[:n_gas].at[:n_young].set(0.0)])

    def _nebular(
        self, metals: Float[Array, " z"], with_gas: Float[Array, "place gas"], values: Mapping[str, Any]
    ) -> tuple[Float[Array, "place pixel"], Float[Array, "place line"]]:
        """Continuum (with the weakest lines) and lines of the gas around young stars, before dust."""
        stars, nebular, n_places = self.prepared.stars, self.prepared.nebular, len(with_gas)
        if nebular is None:
            dtype = stars.young.dtype
            return jnp.zeros((n_places, stars.young.shape[-1]), dtype), jnp.zeros((n_places, 0), dtype)
        photons = (metals @ stars.photon_rate * with_gas) @ nebular.from_stars
        metallicity = hat_weights(values["gas_logz"], nebular.log_z)
        weights = (metallicity[:, None] * photons[:, None, :]).reshape(n_places, -1)
        spectra, lines = (table.reshape(weights.shape[1], -1) for table in (nebular.spectra, nebular.lines))
        return weights @ spectra, weights @ lines

    def _behind(
        self,
        emission: Float[Array, "place pixel"],
        lines: Float[Array, "place line"],
        screens: Float[Array, "2 pixel"],
        values: Mapping[str, Any],
    ) -> tuple[Float[Array, " pixel"], Float[Array, " line"], Float[Array, ""]]:
        """Nebulae as they are seen behind the dust where they are, and the luminosity that it absorbs of them."""
        n_places = len(emission)
        passed, passed_lines = screens[:n_places], self._screens(values, self.line_light.wave_aa)[:n_places]
        widths = jnp.asarray(self.pixels.widths_aa, emission.dtype)
        absorbed = jnp.sum(widths * emission * (1.0 - passed)) + jnp.sum(lines * (1.0 - passed_lines))
        return jnp.sum(emission * passed, axis=0), jnp.sum(lines * passed_lines, axis=0), absorbed

    def _line_spectrum(self, lines: Float[Array, " line"]) -> Float[Array, " pixel"]:
        if self.prepared.nebular is None:
            return jnp.zeros(self.pixels.wave_aa.size, lines.dtype)
        return lines @ self.prepared.nebular.line_pixels

    def _screens(self, values: Mapping[str, Any], wave_aa: Float[Array, " wave"]) -> Float[Array, "2 wave"]:
        """Transmission of birth clouds and diffuse dust together, and of the diffuse dust."""
        if self.attenuation == "calzetti":
            curve = dust.calzetti(wave_aa, self.as_fsps)
        else:
            curve = dust.kriek_conroy(wave_aa, values["dust_index"], self.as_fsps)
        diffuse = jnp.exp(-values["dust2"] * curve)
        clouds = diffuse * jnp.exp(-values["dust1_fraction"] * values["dust2"] * dust.birth_cloud(wave_aa))
        return jnp.stack([clouds, diffuse])

    def _thermal(self, values: Mapping[str, Any]) -> tuple[Float[Array, " pixel"], Float[Array, ""]]:
        """Emission of the dust per Lsun absorbed, and the share of it in 8-1000 um; zeros without dust emission."""
        table, n_pixels = self.prepared.dust_emission, self.pixels.wave_aa.size
        if table is None:
            return jnp.zeros(n_pixels, jnp.float32), jnp.zeros((), jnp.float32)
        share = dust.emission_weights(
            values["duste_qpah"],
            values["duste_umin"],
            10.0 ** values["log_duste_gamma"],
            table.qpah,
            table.umin,
            table.luminosity,
        ).ravel()
        red = share @ table.spectra
        blue = jnp.zeros(n_pixels - red.size, red.dtype)
        return jnp.concatenate([blue, red]), share @ table.infrared_share

    def _escaping(
        self, thermal: Float[Array, " pixel"], diffuse: Float[Array, " pixel"]
    ) -> Float[Array, " pixel"]:
        """What is seen of the emission of the dust; FSPS has it absorb some, and emit that again."""
        if not self.as_fsps or self.prepared.dust_emission is None:
            return thermal
        lost = jnp.sum(jnp.asarray(self.pixels.widths_aa, thermal.dtype) * thermal * (1.0 - diffuse))
        return thermal * diffuse / (1.0 - lost)

    def _torus(self, values: Mapping[str, Any]) -> Float[Array, " pixel"]:
        """Emission of the torus per Lsun, before the diffuse dust; zeros without a torus."""
        torus = self.prepared.torus
        if torus is None:
            return jnp.zeros(self.pixels.wave_aa.size, jnp.float32)
        return hat_weights(10.0 ** values["log_agn_tau"], torus.tau) @ torus.spectra

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
) -> ExactModel:
    """The exact model on these tables for these bands (sedpy names or curve files).

    ``space`` defaults to Prospector-alpha, with the AGN torus where ``tables`` has one; its redshift support sets how
    far spectra can be shifted. Emission lines that never carry more than ``weak_line`` of the light of all lines are
    part of the continuum, for speed; 0 keeps every line apart. Raises ValueError where space and tables do not fit.
    """
    space = space or prospector_alpha(agn=tables.torus is not None)
    pixels = pixels or make_pixels()
    if attenuation not in ("kriek_conroy", "calzetti"):
        raise ValueError(f"attenuation {attenuation!r}: use 'kriek_conroy' or 'calzetti'")
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
    prepared = prepare(tables, space, pixels, weak_line)
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
        as_fsps=tables.ssp.as_fsps,
    )


def _ratios(values: Mapping[str, Array]) -> Float[Array, " ratio=6"]:
    return jnp.stack([values[name] for name in RATIOS])


def _mix(first: Array, second: Array, spectra: Array) -> Array:
    """Sum of spectra [first, second, pixel] with the outer product of two sets of weights: one matrix product."""
    return (first[:, None] * second).ravel() @ spectra.reshape(-1, spectra.shape[-1])
