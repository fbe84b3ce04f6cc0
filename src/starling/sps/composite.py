"""The exact model: theta -> spectrum -> bands, for one galaxy, from tables of stars, nebulae, dust and AGN."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling.cosmology import flux_scale
from starling.parameters import ParameterSpace, prospector_alpha
from starling.photometry import POGSON, load_bands, projection_matrix
from starling.sfh import bin_edges_gyr, history_properties, mass_fractions
from starling.sps import dust, igm
from starling.sps.grids import Tables
from starling.sps.pixels import PixelGrid, Projection, make_pixels, make_projection, project
from starling.sps.prepare import BIRTH_CLOUD_GYR, Prepared, prepare
from starling.sps.stars import age_weights, hat_weights

UVJ_BANDS = ("bessell_U", "bessell_V", "twomass_J")
_N_RATIOS = 6
_TORUS_PARAMETERS = ("log_fagn", "log_agn_tau")


class Spectrum(NamedTuple):
    """Rest-frame parts of a galaxy, mean L_lambda in pixels, Lsun/Angstrom per Msun formed; before the IGM.

    ``young`` and ``nebular`` (inside birth clouds) and ``old`` are attenuated; ``dust`` is the emission of what dust
    absorbed, ``absorbed`` its luminosity (Lsun per Msun formed), ``torus`` the attenuated AGN torus.
    """

    young: Float[Array, " pixel"]
    nebular: Float[Array, " pixel"]
    old: Float[Array, " pixel"]
    dust: Float[Array, " pixel"]
    torus: Float[Array, " pixel"]
    absorbed: Float[Array, ""]
    log_lir: Float[Array, ""]
    mass_fraction: Float[Array, ""]

    @property
    def total(self) -> Float[Array, " pixel"]:
        return self.young + self.nebular + self.old + self.dust + self.torus


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ExactModel:
    """Prospector-alpha without approximation but the tables' own: a ``ForwardModel`` (Leja et al. 2017, 2019).

    Build it with ``exact_model``. ``attenuation`` is ``kriek_conroy`` or ``calzetti``.
    """

    prepared: Prepared
    projection_weights: tuple[Array, ...]
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

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Observed flux in each band, maggies."""
        values = self.space.unpack(theta)
        return self.rest_flux(theta) * flux_scale(values["logmass"], values["zred"])

    def rest_flux(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Flux of one Msun formed, redshifted but at a distance of 10 pc, maggies; does not depend on ``logmass``."""
        zred = self.space.unpack(theta)["zred"]
        l_lambda = self.spectrum(theta).total
        blue = int(np.count_nonzero(self.pixels.wave_aa < igm.LYMAN_ALPHA_AA))
        wave = jnp.asarray(self.pixels.wave_aa[:blue], l_lambda.dtype)
        l_lambda = l_lambda.at[:blue].multiply(igm.transmission(wave, zred))
        projection = Projection(self.projection_weights, self.offsets, self.reach)
        return project(l_lambda, zred, projection, self.pixels)

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
        stars, nebular = self.prepared.stars, self.prepared.nebular
        metals = hat_weights(values["logzsol"], stars.log_z)
        formed = age_weights(masses, edges_gyr, stars.log_age, stars.log_step)
        n_young = stars.young.shape[1]
        young_formed = age_weights(masses, edges_gyr, stars.log_age, stars.log_step, BIRTH_CLOUD_GYR)[
            :n_young
        ]
        old_formed = formed.at[:n_young].add(-young_formed)[-stars.old.shape[1] :]
        young = _mix(metals, young_formed, stars.young)
        old = _mix(metals, old_formed, stars.old)
        emission = jnp.zeros_like(young)
        if nebular is not None:
            photons = (metals @ stars.photon_rate * young_formed) @ nebular.from_young
            emission = _mix(hat_weights(values["gas_logz"], nebular.log_z), photons, nebular.spectra)
        bolometric = jnp.sum(metals[:, None] * formed * stars.bolometric)
        return self._with_dust(young, emission, old, bolometric, values)._replace(
            mass_fraction=jnp.sum(metals[:, None] * formed * stars.mass_fraction) / jnp.sum(masses)
        )

    def spectral_properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:
        """What only a spectrum tells, per Msun formed: log_mass_fraction, u_minus_v, v_minus_j, log_lir_per_msun."""
        spectrum = self.spectrum(theta)
        u, v, j = -POGSON * jnp.log(self.uvj @ spectrum.total)
        return {
            "log_mass_fraction": jnp.log10(spectrum.mass_fraction),
            "u_minus_v": u - v,
            "v_minus_j": v - j,
            "log_lir_per_msun": spectrum.log_lir,
        }

    def properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:
        """Derived quantities, ``starling.forward.PROPERTIES``."""
        values = self.space.unpack(theta)
        spectral = self.spectral_properties(theta)
        history = history_properties(
            values["logmass"], _ratios(values), values["zred"], spectral["log_mass_fraction"]
        )
        return history | {
            "a_v": POGSON * values["dust2"],
            "u_minus_v": spectral["u_minus_v"],
            "v_minus_j": spectral["v_minus_j"],
            "log_lir": values["logmass"] + spectral["log_lir_per_msun"],
        }

    def flux_error(self, flux: Float[Array, " band"]) -> Float[Array, " band"]:
        """Zeros: the model is exact."""
        return jnp.zeros_like(flux)

    def select(self, bands: Sequence[str]) -> "ExactModel":
        """The same model for these of its bands, in this order."""
        unknown = [band for band in bands if band not in self.bands]
        if unknown:
            raise ValueError(f"this model has no band {', '.join(unknown)}; it has {', '.join(self.bands)}")
        rows = np.array([self.bands.index(band) for band in bands], int)
        return replace(
            self,
            projection_weights=tuple(weights[rows] for weights in self.projection_weights),
            wave_effective_aa=self.wave_effective_aa[rows],
            bands=tuple(bands),
            curve_sha256=tuple(self.curve_sha256[row] for row in rows),
        )

    def _with_dust(
        self, young: Array, emission: Array, old: Array, bolometric: Array, values: Mapping[str, Any]
    ) -> Spectrum:
        """Attenuate the parts and add the emission of the dust and the torus."""
        table, torus = self.prepared.dust_emission, self.prepared.torus
        wave = jnp.asarray(self.pixels.wave_aa, young.dtype)
        widths = jnp.asarray(self.pixels.widths_aa, young.dtype)
        if self.attenuation == "calzetti":
            curve = dust.calzetti(wave)
        else:
            curve = dust.kriek_conroy(wave, values["dust_index"])
        diffuse = jnp.exp(-values["dust2"] * curve)
        clouds = diffuse * jnp.exp(-values["dust1_fraction"] * values["dust2"] * dust.birth_cloud(wave))
        absorbed = jnp.sum(widths * ((young + emission) * (1.0 - clouds) + old * (1.0 - diffuse)))
        thermal, log_lir = jnp.zeros_like(young), jnp.asarray(-jnp.inf, young.dtype)
        if table is not None:
            share = dust.emission_weights(
                values["duste_qpah"],
                values["duste_umin"],
                10.0 ** values["log_duste_gamma"],
                table.qpah,
                table.umin,
                table.luminosity,
            ).ravel()
            red = share @ table.spectra
            thermal = absorbed * jnp.concatenate([jnp.zeros(young.size - red.size, young.dtype), red])
            log_lir = jnp.log10(absorbed * (share @ table.infrared_share))
        agn = jnp.zeros_like(young)
        if torus is not None:
            shape = hat_weights(10.0 ** values["log_agn_tau"], torus.tau) @ torus.spectra
            agn = 10.0 ** values["log_fagn"] * bolometric * shape * diffuse
        return Spectrum(
            young * clouds,
            emission * clouds,
            old * diffuse,
            thermal,
            agn,
            absorbed,
            log_lir,
            jnp.ones_like(absorbed),
        )


def exact_model(
    tables: Tables,
    bands: Sequence[str],
    space: ParameterSpace | None = None,
    *,
    attenuation: str = "kriek_conroy",
    pixels: PixelGrid | None = None,
) -> ExactModel:
    """The exact model on these tables for these bands (sedpy names or curve files).

    ``space`` defaults to Prospector-alpha, with the AGN torus where ``tables`` has one; its redshift support sets how
    far spectra can be shifted. Raises ValueError where space and tables do not fit.
    """
    space = space or prospector_alpha(agn=tables.torus is not None)
    pixels = pixels or make_pixels()
    if attenuation not in ("kriek_conroy", "calzetti"):
        raise ValueError(f"attenuation {attenuation!r}: use 'kriek_conroy' or 'calzetti'")
    if tables.torus is None and any(name in space for name in _TORUS_PARAMETERS):
        raise ValueError(
            f"space {space.name!r} has an AGN torus but the tables have none: give an FSPS data directory "
            "(its dust/Nenkova08 table), or use prospector_alpha(agn=False)"
        )
    if tables.torus is not None and not all(name in space for name in _TORUS_PARAMETERS):
        raise ValueError(f"the tables have an AGN torus but space {space.name!r} lacks {_TORUS_PARAMETERS}")
    curves = load_bands(bands)
    max_zred = space.parameters[space.index("zred")].high
    projection = make_projection(curves, pixels, max_zred)
    uvj = projection_matrix(load_bands(UVJ_BANDS), pixels.edges_aa)
    return ExactModel(
        prepared=prepare(tables, space, pixels),
        projection_weights=projection.weights,
        uvj=jnp.asarray(uvj / uvj.max(), jnp.float32),
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
    )


def _ratios(values: Mapping[str, Array]) -> Float[Array, " ratio=6"]:
    return jnp.stack([values[f"logsfr_ratios_{i}"] for i in range(1, _N_RATIOS + 1)])


def _mix(first: Array, second: Array, spectra: Array) -> Array:
    """Sum of spectra [first, second, pixel] with the outer product of two sets of weights: one matrix product."""
    return (first[:, None] * second).ravel() @ spectra.reshape(-1, spectra.shape[-1])
