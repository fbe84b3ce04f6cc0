"""The spectrum emulator: networks give coefficients of principal components of the logarithms of a galaxy's terms.

Two kinds. ``pca``, that of Alsing et al. (2020): one term, the whole spectrum, whose coefficients depend on all
parameters. ``mixture``: the terms of ``starling.components``, each with a basis of its own, summed with the shares of
the mass, the AGN fraction and the energy balance as arithmetic; emission lines are luminosities, not pixels.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling import igm
from starling.components import Components, mixture_of, terms
from starling.cosmology import flux_scale
from starling.emulators.branch import Branch
from starling.emulators.features import MASS, REDSHIFT
from starling.emulators.spectra.basis import Basis
from starling.lines import AT_TEN_PC
from starling.parameters import ParameterSpace

WHOLE = "all"  # the role of the network of the kind ``pca``
# Of the peak of lambda L_lambda: light below this part of it, 15 magnitudes down, is as good as none.
FAINTEST = 1e-6
# Outputs of the stars' network beside coefficients, for every bin: logarithms.
_PER_BIN = 3  # absorbed, bolometric, mass_fraction
# Added before logarithms are taken, since dust may absorb nothing and lines may be absorbed: Lsun per Msun, or a share.
_FLOORS = {"stars": 1e-5, "lines": 1e-11, "dust": 1e-6}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SpectrumEmulator:
    """``theta`` -> rest-frame spectrum of one galaxy: mean L_lambda in pixels, Lsun/Angstrom per Msun formed.

    ``bases`` has a basis for every spectrum of a role (the stars have one per bin); ``line_pixels`` puts a line of
    1 Lsun into pixels. ``edges_aa`` are the edges of the pixels, rest-frame vacuum Angstrom.
    """

    branches: dict[str, Branch]
    bases: dict[str, tuple[Basis, ...]]
    line_wave_aa: Float[Array, " line"]
    line_pixels: Float[Array, "line pixel"]
    edges_aa: Float[Array, " edge"]
    space: ParameterSpace = field(metadata={"static": True})

    @property
    def wave_aa(self) -> Float[Array, " pixel"]:
        """Centres of the pixels."""
        return jnp.sqrt(self.edges_aa[1:] * self.edges_aa[:-1])

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " pixel"]:
        """The whole spectrum, lines in their pixels."""
        smooth, lines = self.parts(theta)
        return smooth + lines @ self.line_pixels

    def parts(self, theta: Float[Array, " param"]) -> tuple[Float[Array, " pixel"], Float[Array, " line"]]:
        """The spectrum without emission lines, and their luminosities (Lsun) per Msun formed.

        In the kind ``pca`` the lines are in the spectrum, and these luminosities are 0.
        """
        if WHOLE in self.branches:
            (basis,) = self.bases[WHOLE]
            return basis.decode(self.branches[WHOLE](theta)), jnp.zeros(self.line_wave_aa.shape, theta.dtype)
        parts, mixture = self.components(theta), mixture_of(self.space, theta)
        nothing = jnp.zeros(parts.dust.shape, theta.dtype)
        return jnp.sum(terms(parts, mixture, nothing), axis=0), mixture.fractions[0] * parts.lines

    def components(self, theta: Float[Array, " param"]) -> Components:
        """The terms of the sum with pixels as channels (kind ``mixture``)."""
        outputs = {role: branch(theta) for role, branch in self.branches.items()}
        n_bins = len(self.bases["stars"])
        sizes = np.cumsum([basis.n_coefficients for basis in self.bases["stars"]])
        chunks = jnp.split(outputs["stars"], sizes)
        stars = [b.decode(c) for b, c in zip(self.bases["stars"], chunks[:-1], strict=True)]
        bins = _positive("stars", chunks[-1]).reshape(_PER_BIN, n_bins)
        nothing = jnp.zeros_like(stars[0])
        dust, share = nothing, jnp.zeros((), theta.dtype)
        if "dust" in outputs:
            dust, share = (
                self.bases["dust"][0].decode(outputs["dust"][:-1]),
                _positive("dust", outputs["dust"][-1]),
            )
        torus = self.bases["torus"][0].decode(outputs["torus"]) if "torus" in outputs else nothing
        lines = _positive("lines", outputs["lines"]) if "lines" in outputs else jnp.zeros(0, theta.dtype)
        return Components(jnp.stack(stars), lines, bins[0], bins[1], bins[2], dust, share, torus)

    def observed(
        self, theta: Float[Array, " param"], wave_aa: Float[Array, " wave"]
    ) -> Float[Array, " wave"]:
        """Flux density f_lambda (erg/s/cm2/Angstrom) at observed vacuum wavelengths, behind the IGM; 0 outside.

        Mass, redshift and distance are analytic. Linear between the centres of pixels: it does not rebin, so
        ``wave_aa`` should not be coarser than the pixels.
        """
        values = self.space.unpack(theta)
        zred = values[REDSHIFT]
        rest = wave_aa / (1.0 + zred)
        light = jnp.interp(rest, self.wave_aa, self(theta), left=0.0, right=0.0)
        passed = igm.transmission(rest, zred)
        return AT_TEN_PC * flux_scale(values[MASS], zred) * passed * light / (1.0 + zred)

    def cut(self, low_aa: float, high_aa: float) -> Self:
        """The emulator for the pixels between two rest-frame wavelengths: its cost is in proportion to their number."""
        wave = np.asarray(self.wave_aa)
        inside = np.flatnonzero((wave >= low_aa) & (wave <= high_aa))
        if not inside.size:
            raise ValueError(
                f"no pixel between {low_aa} and {high_aa} Angstrom; the emulator has {wave[0]:.0f} to {wave[-1]:.0f}"
            )
        first, stop = int(inside[0]), int(inside[-1]) + 1
        return replace(
            self,
            bases={role: tuple(b.cut(first, stop) for b in bases) for role, bases in self.bases.items()},
            line_pixels=self.line_pixels[:, first:stop],
            edges_aa=self.edges_aa[first : stop + 1],
        )


def pack(parts: Components) -> dict[str, Float[Array, "spectrum pixel"]]:
    """The spectra of components by role, as a mixture's bases take them."""
    return {"stars": parts.stars, "dust": parts.dust[None], "torus": parts.torus[None]}


def others(parts: Components) -> dict[str, Float[Array, " output"]]:
    """What the networks of a mixture give beside coefficients, by role: logarithms."""
    bins = jnp.concatenate([parts.absorbed, parts.bolometric, parts.mass_fraction])
    values = {"stars": bins, "lines": parts.lines, "dust": parts.infrared_share[None]}
    return {role: jnp.log(value + _FLOORS[role]) for role, value in values.items()}


def _positive(role: str, logarithm: Array) -> Array:
    """The inverse of the logarithms of ``others``."""
    return jnp.exp(logarithm) - _FLOORS[role]


def whole(
    space: ParameterSpace, theta: Float[Array, " param"], parts: Components, line_pixels: Array
) -> Float[Array, " pixel"]:
    """The total spectrum of components, lines in their pixels."""
    total = terms(parts, mixture_of(space, theta), parts.lines @ line_pixels)
    return jnp.sum(total, axis=0)
