"""What the errors of a galaxy's fluxes are made of, prepared once before its parameters are sampled.

With ``e`` the observed error, ``f`` the floor (a fraction of the observed flux) and ``m`` the forward model's own error
at the observed flux, the covariance of the residuals is

    none:        diag(e^2 + f^2)
    band:        diag(e^2 + f^2 + m^2)
    covariance:  diag(e^2 + f^2) + m R m     R: correlation of the model's errors over bands
    local:       diag(e^2 + f^2 + m(theta)^2), with its determinant, which depends on the parameters

Bands that are not used have a row of the identity. Upper limits have one too: their probability is that of one normal
variable, with the variance of ``band``, and does not know how far off the model is in the other bands.

An ``ErrorModel`` adds floors of single bands, zero points (``starling.inference.zero_points``) and outliers
(``starling.inference.outliers``). All of that is in the ``Noise`` of a galaxy: whoever evaluates a likelihood with it
evaluates the same.
"""

from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from starling.forward import ForwardModel, KnowsErrors
from starling.inference.error_model import ErrorModel, check_combination
from starling.inference.observation import Observation
from starling.inference.outliers import Outliers, outliers_of
from starling.inference.zero_points import ZeroPoints, scatter, zero_points_of

ModelError = Literal["band", "covariance", "local", "none"]
# Added to the diagonal of correlation matrices: in float32 a smaller eigenvalue is not known anyway.
_JITTER = 1e-5


class Noise(NamedTuple):
    """``error``: one sigma of each band alone, maggies; 1 in bands that are not used.

    ``whiten`` (for "covariance") makes residuals over ``error`` independent standard normals: the inverse of the lower
    Cholesky factor of their correlation matrix. ``known`` (for "local") is ``error`` without the model's own. Zero
    points are ``marginal`` (integrated out) or ``free`` (sampled); of limits ``error`` has those that are marginal.
    """

    error: Float[Array, " band"]
    whiten: Float[Array, "band band"] | None = None
    known: Float[Array, " band"] | None = None
    outliers: Outliers | None = None
    marginal: ZeroPoints | None = None
    free: ZeroPoints | None = None


def check_model_error(kind: str) -> None:
    """ValueError unless ``kind`` is a ``ModelError``."""
    if kind not in get_args(ModelError):
        raise ValueError(f"model_error must be one of {', '.join(get_args(ModelError))}, got {kind!r}")


def known_error(observation: Observation, error_floor: float | Array) -> Float[Array, " band"]:
    """Observed error and ``error_floor`` times the observed flux in quadrature, maggies; 1 in bands not used."""
    flux = jnp.where(observation.mask, observation.flux, 0.0)
    error = jnp.where(observation.mask, observation.flux_err, 1.0)
    # hypot does not square, so errors of 1e-20 maggies and less survive float32
    return jnp.where(observation.mask, jnp.hypot(error, error_floor * flux), 1.0)


def total_error(
    observation: Observation, forward_model: ForwardModel, error_floor: float | Array = 0.05
) -> Float[Array, " band"]:
    """Observed error, ``error_floor`` times the flux and the forward model's own error in quadrature, maggies.

    All three at the OBSERVED flux (Mathews et al. 2023, section 3), so the result does not depend on the parameters.
    1 in bands that are not used.
    """
    flux = jnp.where(observation.mask, observation.flux, 0.0)
    total = jnp.hypot(known_error(observation, error_floor), forward_model.flux_error(flux))
    return jnp.where(observation.mask, total, 1.0)


def prepare_noise(
    observation: Observation,
    forward_model: ForwardModel,
    error_floor: float | Array = 0.05,
    model_error: ModelError = "band",
    errors: ErrorModel | None = None,
) -> Noise:
    """The errors of ONE galaxy; ValueError where the forward model does not know its errors so well."""
    check_model_error(model_error)
    errors = errors or ErrorModel()
    check_combination(model_error, errors)
    errors.check_bands(forward_model.bands)
    own = [errors.floor_of(band) for band in forward_model.bands]
    if errors.error_floors:
        has_own = np.asarray([floor is not None for floor in own])
        error_floor = jnp.where(has_own, jnp.asarray([floor or 0.0 for floor in own]), error_floor)
    noise = _independent_of_outliers(observation, forward_model, error_floor, model_error)
    noise = noise._replace(outliers=outliers_of(errors, len(forward_model.bands)))
    if not errors.zero_points:
        return noise
    zero = zero_points_of(errors, forward_model.bands)
    if errors.free:
        return noise._replace(free=zero)
    limit = observation.upper_limit & observation.mask
    of_limit = scatter(zero) * jnp.where(limit, observation.flux, 0.0)
    known = None if noise.known is None else jnp.hypot(noise.known, of_limit)
    return noise._replace(error=jnp.hypot(noise.error, of_limit), known=known, marginal=zero)


def _independent_of_outliers(
    observation: Observation, forward_model: ForwardModel, error_floor: float | Array, model_error: ModelError
) -> Noise:
    """Errors, floors and the forward model's own errors."""
    known, total = known_error(observation, error_floor), total_error(observation, forward_model, error_floor)
    if model_error == "none":
        return Noise(known)
    if model_error == "band":
        return Noise(total)
    if not isinstance(forward_model, KnowsErrors):
        raise ValueError(
            f"model_error: {model_error} needs a forward model that knows such errors of its own; use band or none"
        )
    if model_error == "local":
        return Noise(total, known=known)
    flux = jnp.where(observation.mask, observation.flux, 0.0)
    share = jnp.where(
        observation.mask & ~observation.upper_limit, forward_model.flux_error(flux) / total, 0.0
    )
    correlation = jnp.where(
        jnp.eye(share.size, dtype=bool),
        1.0 + _JITTER,
        forward_model.error_correlation() * jnp.outer(share, share),
    )
    factor = jnp.linalg.cholesky(correlation)
    return Noise(total, whiten=solve_triangular(factor, jnp.eye(share.size), lower=True))


def single_error(
    observation: Observation, noise: Noise, error: Float[Array, " band"]
) -> Float[Array, " band"]:
    """One sigma of each band by itself: ``error`` with the scatter of its zero point at the observed flux."""
    zero = noise.marginal if noise.free is None else noise.free
    if zero is None:
        return error
    there = observation.mask if noise.marginal is None else observation.mask & ~observation.upper_limit
    return jnp.hypot(error, scatter(zero) * jnp.where(there, observation.flux, 0.0))


@partial(jax.jit, static_argnames=("model_error", "errors"))
def prepare_all(
    observations: Observation,
    forward_model: ForwardModel,
    error_floor: float | Array,
    model_error: ModelError,
    errors: ErrorModel | None = None,
) -> Noise:
    """``prepare_noise`` of every galaxy of a batch."""
    return jax.vmap(lambda one: prepare_noise(one, forward_model, error_floor, model_error, errors))(
        observations
    )


def model_share(
    observations: Observation,
    forward_model: ForwardModel,
    error_floor: float | Array,
    errors: ErrorModel | None = None,
) -> Float[np.ndarray, " band"]:
    """The forward model's own share of the variance of the observed fluxes, per band, of the median galaxy.

    NaN in bands that no galaxy has.
    """
    alone, with_model = (
        np.asarray(prepare_all(observations, forward_model, error_floor, kind, errors).error, float)
        for kind in ("none", "band")
    )
    share = np.where(np.asarray(observations.mask), 1.0 - (alone / with_model) ** 2, np.nan)
    used = np.asarray(observations.mask).any(axis=0)
    found = np.full(share.shape[1], np.nan)
    found[used] = np.nanmedian(share[:, used], axis=0)
    return found


def local_error(
    observation: Observation, forward_model: ForwardModel, theta: Float[Array, " param"], noise: Noise
) -> Float[Array, " band"]:
    """One sigma of each band at ``theta``, maggies; that of ``noise`` unless it is to depend on the parameters."""
    if noise.known is None or not isinstance(forward_model, KnowsErrors):
        return noise.error
    flux = jnp.where(observation.mask, observation.flux, 0.0)
    error = jnp.hypot(noise.known, forward_model.flux_error_at(theta, flux))
    return jnp.where(observation.mask, error, 1.0)
