"""A Parrot emulator as a forward model: arsinh magnitudes to maggies, networks stitched over redshift by their flux.

Rest-frame colours and the infrared luminosity are interpolated in the emulator's own photometry. In the paper's filters
that gives, against the quantities of this package's own model (``tests/published/test_from_bands.py``), log_lir within
0.1 dex, V - J within 0.05 and U - V within 0.2 mag for most galaxies; in few filters it is worth little. The authors'
public code has the oldest bin of the star-formation history begin at 0.90 of the age of the universe, and other bins
above z = 3, where their paper and this package have 0.85: ages and the SFH are those of this package's bins.
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

from starling.components import LOG_FAGN, derived_properties, mixture_of
from starling.cosmology import flux_scale
from starling.emulators.networks import Architecture, Network, network_from_weights, with_outputs
from starling.lines import REST_FRAME_BANDS
from starling.parameters import ParameterSpace
from starling.photometry import (
    Band,
    available_bands,
    band_columns,
    emulator_flux_error,
    load_band,
    load_bands,
    maggies_from_arsinh,
    make_band,
)
from starling.published.from_bands import log_infrared_luminosity, quantile_wavelengths, rest_frame_colours
from starling.published.mass_loss import log_surviving_fraction
from starling.published.parrot import PARAMETERS, Parrot, ParrotNet, read_parrot
from starling.sfh import bin_edges_gyr
from starling.spaces import prospector_alpha

# The one filter of the paper that sedpy lacks and whose curve is known: a box around 1.3 mm.
_BOXES_AA = {"1d3mm": (1.1e7, 1.4e7)}
_NO_AGN = -5.0
_TOLERANCE = 0.02  # of a parameter's width: ranges in files are those of the draws, just inside the prior


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ParrotCore:
    """``theta`` -> maggies in every band; networks are stacked on a first axis, one for every domain of redshift."""

    networks: Network
    mean: Float[Array, "net 18"]
    sigma: Float[Array, "net 18"]
    overlaps: Float[Array, "overlap 2"]

    def __call__(self, theta: Float[Array, "18"]) -> Float[Array, " band"]:
        if self.overlaps.shape[0] == 0:
            return self._one(theta, 0)
        lower, share = stitching(theta[PARAMETERS.index("zred")], self.overlaps)
        # of all networks two are taken, whose weights are copied: cheaper than to run them all
        return (1.0 - share) * self._one(theta, lower) + share * self._one(theta, lower + 1)

    def _one(self, theta: Float[Array, "18"], number: Array | int) -> Float[Array, " band"]:
        network, mean, sigma = jax.tree.map(lambda a: a[number], (self.networks, self.mean, self.sigma))
        return maggies_from_arsinh(network((theta - mean) / sigma)).astype(theta.dtype)

    def select(self, columns: Sequence[int] | np.ndarray) -> Self:
        """The core for these of its bands."""
        index = jnp.asarray(columns, int)
        return replace(self, networks=jax.vmap(lambda network: with_outputs(network, index))(self.networks))


def stitching(zred: Float[Array, ""], overlaps: Float[Array, "overlap 2"]) -> tuple[Array, Float[Array, ""]]:
    """Number of the lower of the two networks that count, and the share of the upper one, sin^2 (paper, eqs. 11-12)."""
    centre, width = overlaps[:, 0], overlaps[:, 1]
    lower = jnp.clip(jnp.sum(zred >= centre + 0.5 * width), 0, centre.size - 1)
    position = jnp.clip((zred - centre[lower]) / width[lower] + 0.5, 0.0, 1.0)
    return lower, jnp.sin(0.5 * jnp.pi * position) ** 2


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ParrotModel:
    """A ``ForwardModel``; build it with ``parrot_model``.

    Its networks take the mass as one input of many, so the flux is in proportion to it only as they learned that.
    ``whole`` has the bands whose curves are known in ascending wavelength, for the derived quantities.
    """

    core: ParrotCore
    whole: ParrotCore
    whole_wave_aa: Float[Array, " known"]
    rest_wave_aa: Float[Array, "3 quantile"]
    sigma_mag: Float[Array, " band"]
    wave_effective_aa: Float[Array, " band"]
    space: ParameterSpace = field(metadata={"static": True})
    bands: tuple[str, ...] = field(metadata={"static": True})
    description: str = field(metadata={"static": True})

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Observed flux in each band, maggies."""
        return self.core(theta)

    def flux_error(self, flux: Float[Array, " band"]) -> Float[Array, " band"]:
        """One-sigma error of the emulator on its authors' test set, maggies (Mathews et al. 2023, eq. 9)."""
        return emulator_flux_error(flux, self.sigma_mag)

    def properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:
        """Derived quantities, ``starling.forward.PROPERTIES``; colours and log_lir as the module's description says."""
        values = self.space.unpack(theta)
        zred, fractions = values["zred"], mixture_of(self.space, theta).fractions
        colours = rest_frame_colours(self.whole(theta), self.whole_wave_aa, zred, self.rest_wave_aa)
        no_torus = self.whole(theta.at[self.space.index(LOG_FAGN)].set(_NO_AGN))
        at_ten_pc = no_torus / flux_scale(0.0, zred)
        luminosity = log_infrared_luminosity(at_ten_pc, self.whole_wave_aa, zred)
        spectral = {
            "log_mass_fraction": log_surviving_fraction(fractions, bin_edges_gyr(zred)),
            "u_minus_v": colours[0],
            "v_minus_j": colours[1],
            "log_lir_per_msun": luminosity - values["logmass"],
        }
        return derived_properties(values, spectral)

    def select(self, bands: Sequence[str]) -> Self:
        """The same model for these of its bands, in this order, with no more outputs than that to compute."""
        rows = np.array(band_columns(self.bands, bands), int)
        return replace(
            self,
            core=self.core.select(rows),
            sigma_mag=self.sigma_mag[rows],
            wave_effective_aa=self.wave_effective_aa[rows],
            bands=tuple(bands),
        )


def parrot_model(path: Path | str, space: ParameterSpace | None = None) -> ParrotModel:
    """The emulator in a Parrot file, for its filters that sedpy knows (and the paper's box around 1.3 mm).

    ``space`` is by default the paper's 18 parameters over the redshifts of the file. Raises ValueError where the file
    does not fit, or was trained on a smaller range than the space has.
    """
    parrot = read_parrot(path)
    zred = parrot.limits[PARAMETERS.index("zred")]
    space = space or prospector_alpha(zred=(float(zred[0]), float(zred[1])))
    _check_space(path, space, parrot.limits)
    curves = [_curve(name) for name in parrot.filters]
    known = [i for i, curve in enumerate(curves) if curve is not None]
    if not known:
        raise ValueError(f"{path}: sedpy knows none of its filters ({', '.join(parrot.filters[:5])}, ...)")
    waves = np.array([curve.wave_effective_aa for curve in curves if curve is not None])
    core = _core(parrot)
    ascending = np.argsort(waves)
    return ParrotModel(
        core=core.select(known),
        whole=core.select(np.array(known)[ascending]),
        whole_wave_aa=jnp.asarray(waves[ascending], jnp.float32),
        rest_wave_aa=jnp.asarray(
            np.stack([quantile_wavelengths(band) for band in load_bands(REST_FRAME_BANDS)]), jnp.float32
        ),
        sigma_mag=jnp.asarray(parrot.sigma_mag[known], jnp.float32),
        wave_effective_aa=jnp.asarray(waves, jnp.float32),
        space=space,
        bands=tuple(parrot.filters[i] for i in known),
        description=_describe(
            parrot, [name for i, name in enumerate(parrot.filters) if i not in known], waves
        ),
    )


def _describe(parrot: Parrot, left_out: list[str], waves: np.ndarray) -> str:
    kind = "single" if len(parrot.nets) == 1 else f"{len(parrot.nets)} stitched"
    text = (
        f"Parrot, {kind} (Mathews et al. 2023; FSPS, 18 parameters). Surviving masses follow Behroozi et al. (2013); "
        f"rest-frame colours and log_lir are interpolated in its {waves.size} bands, {waves.min() / 1e4:.2g} to "
        f"{waves.max() / 1e4:.3g} um"
    )
    return text + (f". Left out for want of a filter curve: {', '.join(left_out)}" if left_out else "")


def _check_space(path: Path | str, space: ParameterSpace, limits: np.ndarray) -> None:
    """ValueError unless the space has the 18 parameters in order, within what the emulator was trained on."""
    if space.names != PARAMETERS:
        raise ValueError(
            f"{path}: Parrot's parameters are {', '.join(PARAMETERS)}; space {space.name!r} differs"
        )
    low, high = space.bounds
    slack = _TOLERANCE * (high - low)
    outside = np.flatnonzero((low < limits[:, 0] - slack) | (high > limits[:, 1] + slack))
    if outside.size:
        found = ", ".join(f"{PARAMETERS[i]} {limits[i, 0]:g} to {limits[i, 1]:g}" for i in outside)
        raise ValueError(
            f"{path} was trained on less than space {space.name!r} has: {found}; narrow its priors"
        )


def _curve(name: str) -> Band | None:
    if name in _BOXES_AA:
        low, high = _BOXES_AA[name]
        return make_band(name, np.linspace(low, high, 3), np.ones(3))
    return load_band(name) if name in available_bands() else None


def _core(parrot: Parrot) -> ParrotCore:
    """All networks stacked, with the scales of their outputs folded into the heads."""
    networks = [_network(net) for net in parrot.nets]
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)
    return ParrotCore(
        stack,
        jnp.asarray(np.stack([net.input_mean for net in parrot.nets]), jnp.float32),
        jnp.asarray(np.stack([net.input_sigma for net in parrot.nets]), jnp.float32),
        jnp.asarray(parrot.overlaps, jnp.float32),
    )


def _network(net: ParrotNet) -> Network:
    n_hidden = len(net.kernels) - 1
    kernel, bias = net.kernels[-1] * net.output_sigma, net.biases[-1] * net.output_sigma + net.output_mean
    weights = {"head.kernel": kernel, "head.bias": bias}
    for i in range(n_hidden):
        weights |= {f"hidden.{i}.linear.kernel": net.kernels[i], f"hidden.{i}.linear.bias": net.biases[i]}
    shape = Architecture(
        kernel.shape[0] and len(PARAMETERS), bias.size, net.kernels[0].shape[1], n_hidden, "gelu"
    )
    return network_from_weights(shape, {name: array.astype(np.float32) for name, array in weights.items()})
