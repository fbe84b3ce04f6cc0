"""Derivatives of a model's fluxes in prior-whitened coordinates, of many galaxies in little memory.

In these coordinates x every prior is a standard normal, so a derivative is per prior sigma and can be compared between
parameters. A parameter on which another one's prior depends moves that one too, as it does in sampling.
"""

from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.cosmology import flux_scale
from starling.parameters import ParameterSpace
from starling.photometry import POGSON, arsinh_magnitude

MASS, REDSHIFT = "logmass", "zred"
SLOPE_STEP = 0.004
_BATCH = 16
_DIGITS = 4


@runtime_checkable
class Differentiable(Protocol):
    """What is compared: a ``ForwardModel`` that also gives the flux at 10 pc per Msun formed."""

    @property
    def space(self) -> ParameterSpace: ...
    @property
    def bands(self) -> tuple[str, ...]: ...
    def rest_flux(self, theta: Float[Array, " param"]) -> Float[Array, " band"]: ...


class Fluxes(NamedTuple):
    """Fluxes and their derivatives in x; float64, for what follows subtracts them and inverts their products."""

    flux: Float[np.ndarray, "row band"]
    jacobian: Float[np.ndarray, "row band param"]

    def magnitude_gradient(self, softening: float) -> Float[np.ndarray, "row band param"]:
        """d (arsinh magnitude) / dx, mag per prior sigma."""
        return -POGSON * self.jacobian / np.hypot(self.flux, 2.0 * softening)[..., None]


def rest_fluxes(model: Differentiable, x: Float[np.ndarray, "row param"]) -> Fluxes:
    """Fluxes at 10 pc per Msun formed, maggies."""
    jacobian, flux = _rest_fluxes(model, jnp.asarray(x, jnp.float32))
    return Fluxes(np.asarray(flux, float), np.asarray(jacobian, float))


@jax.jit
def _rest_fluxes(model: Differentiable, x: Array) -> tuple[Array, Array]:
    def flux(x: Array) -> tuple[Array, Array]:
        value = model.rest_flux(model.space.constrain(x))
        return value, value

    result: tuple[Array, Array] = jax.lax.map(jax.jacfwd(flux, has_aux=True), x, batch_size=_BATCH)
    return result


class LogScales(NamedTuple):
    """Natural log of observed flux over that at 10 pc per Msun formed, and its derivatives in x."""

    value: Float[np.ndarray, " row"]
    gradient: Float[np.ndarray, "row param"]


def log_scales(space: ParameterSpace, x: Float[np.ndarray, "row param"]) -> LogScales:
    """What mass and distance do to the fluxes: nothing that an emulator learns."""
    value, gradient = _log_scales(space, jnp.asarray(x, jnp.float32))
    return LogScales(np.asarray(value, float), np.asarray(gradient, float))


@partial(jax.jit, static_argnums=0)
def _log_scales(space: ParameterSpace, x: Array) -> tuple[Array, Array]:
    mass, redshift = space.index(MASS), space.index(REDSHIFT)

    def one(x: Array) -> Array:
        theta = space.constrain(x)
        return jnp.log(flux_scale(theta[mass], theta[redshift]))

    return jax.vmap(jax.value_and_grad(one))(x)


def redshift_slopes(
    model: Differentiable, softening: float, x: Float[np.ndarray, "row param"]
) -> Float[np.ndarray, "row band"]:
    """Slope of arsinh magnitudes between z - 0.004 and z + 0.004, times dz/dx: mag per prior sigma.

    NaN where that leaves the support.
    """
    return np.asarray(_redshift_slopes(model, softening, jnp.asarray(x, jnp.float32)), float)


@partial(jax.jit, static_argnums=1)
def _redshift_slopes(model: Differentiable, softening: float, x: Array) -> Array:
    space = model.space
    column = space.index(REDSHIFT)
    steps = SLOPE_STEP * jnp.stack([sign * jnp.eye(len(space))[column] for sign in (1.0, -1.0)])
    low, high = (float(ends[column]) for ends in space.bounds)

    def one(x: Array) -> Array:
        theta = space.constrain(x)
        unit = jnp.zeros_like(x).at[column].set(1.0)
        rate = jax.jvp(space.constrain, (x,), (unit,))[1][column]
        above, below = jax.lax.map(
            lambda step: arsinh_magnitude(model.rest_flux(theta + step), softening), steps
        )
        inside = (theta[column] >= low + SLOPE_STEP) & (theta[column] <= high - SLOPE_STEP)
        return jnp.where(inside, (above - below) / (2.0 * SLOPE_STEP) * rate, jnp.nan)

    slopes: Array = jax.lax.map(one, x, batch_size=_BATCH)
    return slopes


def rounded(values: np.ndarray | float) -> Any:
    """Numbers, in lists nested as they came, with four significant digits: what a header has room for."""
    values = np.asarray(values, float)
    places = np.floor(np.log10(np.where(values == 0.0, 1.0, np.abs(values))))
    factor = 10.0 ** (_DIGITS - 1 - places)
    return (np.round(values * factor) / factor).tolist()
