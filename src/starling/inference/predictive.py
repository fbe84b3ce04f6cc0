"""Posterior predictive checks of single galaxies: does the model, with the likelihood in use, explain the fluxes?

Given the parameters the likelihood says how every flux scatters. A residual becomes the normal deviate that is as
probable: (observed - model) / error under a Gaussian. The sum T of the squares over the n detections, made independent
of each other where they are correlated, is for replicated data chi^2 of n degrees of freedom whatever the parameters
are. So the posterior predictive p-value of T (Gelman, Meng & Stern 1996, Statistica Sinica 6, 733) is the mean of its
tail probability over the draws, and no data have to be simulated.

One band that is off among many moves T little. A second p-value is therefore that of the band with the largest
deviate, of an upper limit that of a flux below it, for as many bands as there are (Sidak 1967; at most this where bands
are correlated). Of galaxies that the model explains such p-values are below alpha at most 2 alpha of the time, and
seldom that often: the fit has seen the data (Meng 1994, Ann. Statist. 22, 1142).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float
from scipy import special, stats

from starling.forward import ForwardModel
from starling.inference.error_model import ErrorModel
from starling.inference.likelihood import independent_residuals, residuals
from starling.inference.noise import ModelError, local_error, prepare_noise
from starling.inference.observation import Observation
from starling.inference.outliers import suspects
from starling.inference.settings import SamplerSettings
from starling.inference.zero_points import gain, scatter

IMPROBABLE = 1e-3
"""A galaxy with a smaller p-value, of the two together, is warned of."""

_LARGE = 3.0  # a deviate that a band is named for
_MOST_NAMED = 3


class Residuals(NamedTuple):
    """Of every draw: residuals of each band over its error, made independent, and the expected fraction of outliers."""

    single: Float[Array, "galaxy draw band"]
    independent: Float[Array, "galaxy draw band"]
    fraction: Float[Array, "galaxy draw"]


@partial(jax.jit, static_argnames=("model_error", "errors"))
def predictive_residuals(
    observations: Observation,
    forward_model: ForwardModel,
    error_floor: Array,
    theta: Float[Array, "galaxy draw param"],
    flux: Float[Array, "galaxy draw band"],
    score: Float[Array, "galaxy draw group"] | None,
    *,
    model_error: ModelError,
    errors: ErrorModel,
) -> Residuals:
    """Of draws ``theta`` with their ``flux``, with the errors that the likelihood has at each of them."""

    def one(observation: Observation, theta: Array, flux: Array, score: Array | None) -> Residuals:
        noise = prepare_noise(observation, forward_model, error_floor, model_error, errors)
        if noise.free is not None and score is not None:
            flux = flux * jax.vmap(partial(gain, noise.free))(score)
        limit = observation.upper_limit & observation.mask

        def at(theta: Array, flux: Array) -> Residuals:
            error = local_error(observation, forward_model, theta, noise)
            here, whole = noise._replace(error=error, known=None), error
            if noise.marginal is not None:  # of limits the error has it already
                whole = jnp.hypot(error, jnp.where(limit, 0.0, scatter(noise.marginal) * flux))
            z = residuals(observation, flux, whole)
            known = noise.outliers
            fraction = jnp.nan if known is None else suspects(known, z, observation.mask, limit).fraction
            return Residuals(z, independent_residuals(observation, flux, here), jnp.asarray(fraction))

        return jax.vmap(at)(theta, flux)

    return jax.vmap(one)(observations, theta, flux, score)


class Check(NamedTuple):
    """``deviate`` and ``rms``: mean and root mean square over the draws, NaN in bands not used and limits.

    ``p_value`` is of the sum of squares over the detections, ``p_value_band`` of the band with the largest deviate; NaN
    where there is none. ``warning`` says what the model does not explain; empty where there is nothing to say.
    """

    deviate: Float[np.ndarray, "galaxy band"]
    rms: Float[np.ndarray, "galaxy band"]
    p_value: Float[np.ndarray, " galaxy"]
    p_value_band: Float[np.ndarray, " galaxy"]
    warning: tuple[str, ...]


def check_fluxes(
    found: Residuals,
    used: Bool[np.ndarray, "galaxy band"],
    limit: Bool[np.ndarray, "galaxy band"],
    bands: tuple[str, ...],
    errors: ErrorModel,
) -> Check:
    """The checks of galaxies whose ``used`` bands include upper limits (``limit``)."""
    fraction = np.asarray(found.fraction, float)[..., None]
    single = deviates(np.asarray(found.single, float), fraction, errors)
    together = single if errors.robust else np.asarray(found.independent, float)
    detected, limit = used & ~limit, used & limit
    n = detected.sum(axis=1)
    total = (np.where(detected[:, None], together, 0.0) ** 2).sum(axis=2)
    p_value = np.where(n > 0, stats.chi2.sf(total, np.maximum(n, 1)[:, None]).mean(axis=1), np.nan)
    two_sided = np.where(detected[:, None], 2.0 * special.ndtr(-np.abs(single)), 1.0)
    below = np.where(limit[:, None] & (single < 0.0), special.ndtr(single), 1.0)
    least = np.minimum(two_sided, below).min(axis=2)
    count = np.maximum(used.sum(axis=1), 1)[:, None]
    with np.errstate(divide="ignore"):  # a probability of 1, where no band is off at all
        of_any = -np.expm1(count * np.log1p(-least)).mean(axis=1)
    p_value_band = np.where(used.any(axis=1), of_any, np.nan)
    mean = single.mean(axis=1)
    p_both = np.minimum(2.0 * np.fmin(p_value, p_value_band), 1.0)
    rows = zip(np.where(used, mean, 0.0), limit, p_both, strict=True)
    return Check(
        np.where(detected, mean, np.nan),
        np.where(detected, np.sqrt((single**2).mean(axis=1)), np.nan),
        p_value,
        p_value_band,
        tuple(_warning(row, limits, float(p), bands) for row, limits, p in rows),
    )


def deviates(z: np.ndarray, fraction: np.ndarray, errors: ErrorModel) -> np.ndarray:
    """Residuals over their errors as the normal deviates that are as probable under the likelihood."""
    if not errors.robust:
        return z
    far = -np.abs(z)
    if errors.likelihood == "student_t":
        log_tail = stats.t.logcdf(far, errors.degrees_of_freedom)
    else:
        wide = special.log_ndtr(far / errors.nsigma_outlier_phot)
        log_tail = np.logaddexp(np.log1p(-fraction) + special.log_ndtr(far), np.log(fraction) + wide)
    return np.sign(z) * np.abs(special.ndtri_exp(np.minimum(log_tail, np.log(0.5))))


def _warning(mean: np.ndarray, limit: np.ndarray, p: float, bands: tuple[str, ...]) -> str:
    """What is said of one galaxy, with the bands that are furthest off and by how many sigma."""
    if not p < IMPROBABLE:
        return ""
    size = np.where(limit, np.maximum(-mean, 0.0), np.abs(mean))
    order = np.argsort(-size, kind="stable")[:_MOST_NAMED]
    named = [index for index in order if size[index] > _LARGE] or list(order[:1])
    texts = [
        f"{bands[index]} {mean[index]:+.1f} sigma{' below the model, an upper limit' if limit[index] else ''}"
        for index in named
    ]
    return f"the model does not explain the data (p = {p:.0e}): {', '.join(texts)}"


def predictive_variables(
    observations: Observation,
    forward_model: ForwardModel,
    settings: SamplerSettings,
    theta: Float[np.ndarray, "galaxy draw param"],
    flux: Float[np.ndarray, "galaxy draw band"],
    score: Float[np.ndarray, "galaxy draw group"] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checks named and described: variables per galaxy and band, and per galaxy."""
    found = predictive_residuals(
        observations,
        forward_model,
        jnp.asarray(settings.error_floor),
        jnp.asarray(theta),
        jnp.asarray(flux),
        None if score is None else jnp.asarray(score),
        model_error=settings.model_error,
        errors=settings.errors,
    )
    used, limit = np.asarray(observations.mask), np.asarray(observations.upper_limit)
    check = check_fluxes(found, used, limit, tuple(forward_model.bands), settings.errors)
    per_band = ("galaxy", "band")
    words = "residual as the normal deviate that is as probable under the likelihood"
    observed = {
        "residual": (per_band, check.deviate.astype(np.float32), {"long_name": f"{words}, mean over draws"}),
        "residual_rms": (
            per_band,
            check.rms.astype(np.float32),
            {"long_name": f"{words}, root mean square over draws"},
        ),
    }
    galaxies = {
        "p_value": (
            "galaxy",
            check.p_value,
            {"long_name": "posterior predictive p-value of chi^2 over the detections"},
        ),
        "p_value_band": (
            "galaxy",
            check.p_value_band,
            {"long_name": "posterior predictive p-value of the band that is furthest off"},
        ),
        "unexplained": (
            "galaxy",
            np.asarray(check.warning, dtype=str),
            {"long_name": "what the model does not explain in the data"},
        ),
    }
    return observed, galaxies
