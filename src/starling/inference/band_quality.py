"""What the draws of a fit say of its bands: their errors in all, which are outliers, and which the model misses."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.forward import ForwardModel
from starling.inference.error_model import ErrorModel
from starling.inference.likelihood import residuals
from starling.inference.noise import ModelError, Noise, local_error, prepare_noise, single_error
from starling.inference.observation import Observation
from starling.inference.outliers import Suspects, suspects
from starling.inference.predictive import predictive_variables
from starling.inference.settings import SamplerSettings
from starling.inference.zero_points import gain

OUTLIER = 0.5  # probability from which on a band is counted as one


class BandQuality(NamedTuple):
    """``error``: one sigma of each flux by itself, maggies; ``suspects``: means over the draws, None for a Gaussian."""

    error: Float[Array, "galaxy band"]
    suspects: Suspects | None


@partial(jax.jit, static_argnames=("model_error", "errors"))
def band_quality(
    observations: Observation,
    forward_model: ForwardModel,
    error_floor: Array,
    theta: Float[Array, "galaxy draw param"],
    flux: Float[Array, "galaxy draw band"],
    score: Float[Array, "galaxy draw group"] | None,
    *,
    model_error: ModelError,
    errors: ErrorModel,
) -> BandQuality:
    """Of draws ``theta`` with their ``flux``; ``score`` are sampled zero points in units of their sigma."""

    def one(observation: Observation, theta: Array, flux: Array, score: Array | None) -> BandQuality:
        noise = prepare_noise(observation, forward_model, error_floor, model_error, errors)
        error = _error(observation, forward_model, noise, theta)
        whole = single_error(observation, noise, error)
        if noise.outliers is None:
            return BandQuality(whole, None)
        if noise.free is not None and score is not None:
            flux = flux * jax.vmap(partial(gain, noise.free))(score)
        outliers, limit = noise.outliers, observation.upper_limit & observation.mask

        def at(theta: Array, flux: Array) -> Suspects:
            z = residuals(observation, flux, local_error(observation, forward_model, theta, noise))
            return suspects(outliers, z, observation.mask, limit)

        means = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.vmap(at)(theta, flux))
        return BandQuality(whole, means)

    return jax.vmap(one)(observations, theta, flux, score)


def _error(
    observation: Observation, forward_model: ForwardModel, noise: Noise, theta: Float[Array, "draw param"]
) -> Float[Array, " band"]:
    """One sigma of every flux, as root mean square over the draws where it depends on the parameters."""
    if noise.known is None:
        return noise.error
    error = jax.vmap(lambda at: local_error(observation, forward_model, at, noise))(theta)
    # over the constant one, since the square of a faint flux has no place in float32
    return noise.error * jnp.sqrt(jnp.mean((error / noise.error) ** 2, axis=0))


class BandVariables(NamedTuple):
    """Variables of a tree: of ``observed_data`` (galaxy, band) and of ``diagnostics`` (galaxy)."""

    observed: dict[str, Any]
    galaxies: dict[str, Any]


def band_variables(
    observations: Observation,
    forward_model: ForwardModel,
    settings: SamplerSettings,
    theta: Float[np.ndarray, "galaxy chain draw param"],
    flux: Float[np.ndarray, "galaxy chain draw band"],
    score: Float[np.ndarray, "galaxy chain draw group"] | None,
) -> BandVariables:
    """``band_quality`` and the posterior predictive checks, named and described."""

    def flat(values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1, values.shape[-1])

    draws = flat(theta), flat(flux), None if score is None else flat(score)
    found = band_quality(
        observations,
        forward_model,
        jnp.asarray(settings.error_floor),
        *(None if one is None else jnp.asarray(one) for one in draws),
        model_error=settings.model_error,
        errors=settings.errors,
    )
    checked, galaxies = predictive_variables(observations, forward_model, settings, *draws)
    per_band, mask = ("galaxy", "band"), np.asarray(observations.mask)

    def used(values: Array, words: dict[str, str]) -> tuple[Any, ...]:
        return per_band, np.where(mask, np.asarray(values), np.nan), words

    observed = {"flux_err_total": used(found.error, {"units": "maggies"})} | checked
    if found.suspects is None:
        return BandVariables(observed, galaxies)
    probability, weight, fraction = found.suspects
    words = {"long_name": "what the squared residual counts, 1 in a Gaussian likelihood"}
    observed["outlier_weight"] = used(weight, words)
    if settings.errors.likelihood != "mixture":
        return BandVariables(observed, galaxies)
    observed["outlier_probability"] = used(
        probability, {"long_name": "posterior probability that the band is an outlier"}
    )
    count = np.sum(mask & (np.asarray(probability) > OUTLIER), axis=1)
    galaxies |= {
        "n_outliers": ("galaxy", count, {"long_name": "bands that are outliers, probability above 0.5"}),
        "f_outlier_phot": ("galaxy", np.asarray(fraction), {"long_name": "mean fraction of outliers"}),
    }
    return BandVariables(observed, galaxies)
