"""What the inference needs of a model of a galaxy, and the quantities that every such model derives."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.parameters import ParameterSpace


@runtime_checkable
class ForwardModel(Protocol):
    """A point in a parameter space -> fluxes in bands, for ONE galaxy; exact simulators and emulators alike.

    A pytree whose leaves are its arrays, so it passes through ``jax.jit``, ``vmap`` and ``grad`` as an argument.
    """

    @property
    def space(self) -> ParameterSpace: ...
    @property
    def bands(self) -> tuple[str, ...]: ...
    @property
    def wave_effective_aa(self) -> Float[Array, " band"]: ...

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Observed flux in each band, maggies."""
        ...

    def flux_error(self, flux: Float[Array, " band"]) -> Float[Array, " band"]:
        """One-sigma error of the model itself at these fluxes, maggies; zeros for an exact model."""
        ...

    def properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:
        """Derived quantities: the keys of ``PROPERTIES``."""
        ...

    def select(self, bands: Sequence[str]) -> "ForwardModel":
        """The same model for these bands, in this order; ValueError names the unknown ones."""
        ...


@runtime_checkable
class KnowsErrors(Protocol):
    """A forward model that knows more of its errors than one number per band; ValueError where this one does not."""

    def flux_error_at(
        self, theta: Float[Array, " param"], flux: Float[Array, " band"]
    ) -> Float[Array, " band"]:
        """``flux_error`` of a model at ``theta``."""
        ...

    def error_correlation(self) -> Float[Array, "band band"]:
        """Correlation of its errors over bands."""
        ...


@runtime_checkable
class LinearInMass(Protocol):
    """A forward model that says whether its flux is in proportion to ``10**logmass``.

    Chains then take the mass out, and flows, which take it for granted, are for it. Nobody checks what it says.
    """

    @property
    def linear_in_mass(self) -> bool: ...


@runtime_checkable
class KnowsDomain(Protocol):
    """A forward model that is to be trusted in a part of its space only."""

    def remoteness(self, theta: Float[Array, " param"]) -> Float[Array, ""]:
        """How far out a point is: 1 is the edge of the domain; NaN where the model does not know."""
        ...


@runtime_checkable
class Linearising(Protocol):
    """A forward model that has its derivatives for less than automatic differentiation of the whole costs."""

    def linearise(
        self, theta: Float[Array, " param"]
    ) -> tuple[Float[Array, " band"], Float[Array, "band param"]]:
        """Observed flux, maggies, and its derivatives with respect to all parameters."""
        ...


def jacobian_of(
    model: Callable[[Float[Array, " param"]], Float[Array, " band"]], theta: Float[Array, " param"]
) -> tuple[Float[Array, " band"], Float[Array, "band param"]]:
    """Flux and its derivatives by forward differentiation."""

    def value(theta: Float[Array, " param"]) -> tuple[Array, Array]:
        flux = model(theta)
        return flux, flux

    derivatives, flux = jax.jacfwd(value, has_aux=True)(theta)
    return flux, derivatives


def linearise(
    model: ForwardModel, theta: Float[Array, " param"]
) -> tuple[Float[Array, " band"], Float[Array, "band param"]]:
    """Flux of ONE galaxy and its derivatives, in the way that costs least."""
    return model.linearise(theta) if isinstance(model, Linearising) else jacobian_of(model, theta)


def is_linear_in_mass(model: ForwardModel) -> bool:
    """Whether a model says that its flux is in proportion to ``10**logmass``; one that says nothing counts as no."""
    return isinstance(model, LinearInMass) and model.linear_in_mass


class Part(NamedTuple):
    """Some galaxies of a batch, by their rows, and the model to evaluate them with."""

    rows: Int[np.ndarray, " row"]
    model: ForwardModel


@runtime_checkable
class Specialising(Protocol):
    """What a forward model may have beside: cheaper models of the same galaxies where parameters are known."""

    def specialise(self, fixed: Mapping[str, np.ndarray]) -> list[Part]:
        """Parts of a batch whose parameters ``fixed`` are known, each galaxy in one; none where nothing is gained."""
        ...


def parts_of(model: ForwardModel, fixed: Mapping[str, Array | np.ndarray], n_galaxies: int) -> list[Part]:
    """A batch in the parts that its model is cheapest in: most models have one, with all galaxies."""
    known = {name: np.asarray(values) for name, values in fixed.items()}
    parts = model.specialise(known) if isinstance(model, Specialising) else []
    return parts or [Part(np.arange(n_galaxies), model)]


class Property(NamedTuple):
    """Unit and meaning of a derived quantity."""

    unit: str
    description: str


PROPERTIES: dict[str, Property] = {
    "log_stellar_mass": Property("log10 Msun", "mass of living stars (remnants as in the SSP tables)"),
    "sfr_30": Property("Msun / yr", "star-formation rate over the last 30 Myr"),
    "sfr_100": Property("Msun / yr", "star-formation rate over the last 100 Myr"),
    "log_ssfr_100": Property("log10 1/yr", "sfr_100 over the surviving stellar mass"),
    "mwa": Property("Gyr", "mass-weighted age"),
    "t50": Property("Gyr", "lookback time at which half of the mass had formed"),
    "sfh": Property("Msun / yr", "star-formation rate in the 7 bins, youngest first"),
    "sfh_edges_gyr": Property("Gyr", "edges of the 7 bins in lookback time"),
    "a_v": Property("mag", "V-band attenuation by the diffuse dust, 1.086 dust2"),
    "u_minus_v": Property("mag", "rest-frame U - V, AB, attenuated"),
    "v_minus_j": Property("mag", "rest-frame V - J, AB, attenuated"),
    "log_lir": Property(
        "log10 Lsun", "luminosity of the dust emission from 8 to 1000 um, without the AGN torus"
    ),
}
