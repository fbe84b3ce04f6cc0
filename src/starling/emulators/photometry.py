"""The photometry emulator: trained networks behind the interface of a forward model.

Its core maps ``theta`` (without mass) to the flux that the galaxy would have at 10 pc per Msun formed, in bands of the
observed frame, and to the quantities that need a spectrum. Mass and distance are analytic:
``maggies = 10**logmass / (d_L / 10 pc)**2 * flux``; the rest of the properties follow from the star-formation history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.components import SPECTRAL_PROPERTIES, derived_properties
from starling.cosmology import flux_scale
from starling.emulators.direct import DirectCore
from starling.emulators.domain import Domain
from starling.emulators.errors import ErrorModel
from starling.emulators.features import MASS, REDSHIFT
from starling.emulators.mixture import MixtureCore
from starling.emulators.stitched import StitchedCore
from starling.forward import Part, jacobian_of
from starling.parameters import ParameterSpace
from starling.photometry import band_columns, emulator_flux_error


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PhotometryEmulator:
    """A ``ForwardModel`` that imitates another one; see the module's description.

    ``sigma_mag`` is the standard deviation of the errors in arsinh magnitude on held-out draws from the prior;
    ``softening`` that of these magnitudes (maggies at 10 pc per Msun) and ``observed_softening`` the same for
    observed fluxes, of a galaxy that is more massive and nearer than 99% of the prior's draws. ``errors`` and
    ``domain`` are what ``starling calibrate`` adds to a file that has them not.
    """

    core: DirectCore | MixtureCore | StitchedCore
    sigma_mag: Float[Array, " band"]
    wave_effective_aa: Float[Array, " band"]
    space: ParameterSpace = field(metadata={"static": True})
    bands: tuple[str, ...] = field(metadata={"static": True})
    softening: float = field(metadata={"static": True})
    observed_softening: float = field(metadata={"static": True})
    errors: ErrorModel | None = None
    domain: Domain | None = None

    @property
    def linear_in_mass(self) -> bool:
        """The mass is none of the inputs."""
        return True

    def rest_flux(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Flux at 10 pc per Msun formed, maggies."""
        return self.core.rest_flux(theta)

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Observed flux of one galaxy, maggies."""
        logmass, zred = theta[self.space.index(MASS)], theta[self.space.index(REDSHIFT)]
        return self.rest_flux(theta) * flux_scale(logmass, zred)

    def linearise(
        self, theta: Float[Array, " param"]
    ) -> tuple[Float[Array, " band"], Float[Array, "band param"]]:
        """Observed flux of one galaxy, maggies, and its derivatives: as ``jax.jacfwd``, for less."""
        if not isinstance(self.core, MixtureCore):
            return jacobian_of(self, theta)
        indices = self.space.index(MASS), self.space.index(REDSHIFT)
        rest, slopes = self.core.linearise(theta)

        def scale(theta: Float[Array, " param"]) -> Float[Array, ""]:
            return flux_scale(*(theta[index] for index in indices))

        factor, slope = jax.value_and_grad(scale)(theta)
        return rest * factor, (slopes * factor + jnp.outer(slope, rest)).T

    def flux_error(self, flux: Float[Array, " band"]) -> Float[Array, " band"]:
        """One-sigma error of the emulator at these fluxes, maggies (Mathews et al. 2023, eq. 9)."""
        return emulator_flux_error(flux, self.sigma_mag, self.observed_softening)

    def flux_error_at(
        self, theta: Float[Array, " param"], flux: Float[Array, " band"]
    ) -> Float[Array, " band"]:
        """As ``flux_error``, with the size that errors in magnitude have at ``theta``."""
        return emulator_flux_error(flux, self._errors.sigma_mag(theta), self.observed_softening)

    def error_correlation(self) -> Float[Array, "band band"]:
        """Correlation of the errors of the bands."""
        return self._errors.correlation()

    @property
    def _errors(self) -> ErrorModel:
        if self.errors is None:
            raise ValueError(
                "the emulator knows its errors by band only: add the others with `starling calibrate EMULATOR "
                "--workdir FOLDER`, or use model_error: band"
            )
        return self.errors

    def remoteness(self, theta: Float[Array, " param"]) -> Float[Array, ""]:
        """Above 1 outside what it was trained on (``starling.emulators.domain``); NaN where it does not know."""
        return jnp.full((), jnp.nan, theta.dtype) if self.domain is None else self.domain.remoteness(theta)

    def spectral_properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:
        """The quantities that only a spectrum tells, by the names in ``SPECTRAL_PROPERTIES``."""
        return dict(zip(SPECTRAL_PROPERTIES, self.core.spectral_properties(theta), strict=True))

    def properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:
        """Derived quantities: the keys of ``starling.forward.PROPERTIES``."""
        return derived_properties(self.space.unpack(theta), self.spectral_properties(theta))

    def select(self, bands: Sequence[str]) -> Self:
        """The same emulator for these bands, in this order, with no more outputs than that to compute."""
        columns = band_columns(self.bands, bands)
        index = jnp.asarray(columns, dtype=int)
        return replace(
            self,
            core=self.core.select(columns),
            sigma_mag=self.sigma_mag[index],
            wave_effective_aa=self.wave_effective_aa[index],
            bands=tuple(bands),
            errors=None if self.errors is None else self.errors.select(columns),
        )

    def specialise(self, fixed: Mapping[str, np.ndarray]) -> list[Part]:
        """The galaxies by the networks that their redshifts need; nothing where redshift or network is the same."""
        if not isinstance(self.core, StitchedCore) or REDSHIFT not in fixed:
            return []
        groups = self.core.groups(np.asarray(fixed[REDSHIFT]))
        return [Part(rows, replace(self, core=self.core.at(members))) for members, rows in groups.items()]
