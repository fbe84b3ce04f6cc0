"""The mass of a galaxy whose other parameters are given: the flux is linear in it, so its posterior is nearly closed.

With ``model`` the flux at a mass and ``amplitude`` what it has to be multiplied with, chi^2 is a parabola in
``amplitude``: mean = sum(model flux / s^2) / sum(model^2 / s^2), variance = 1 / sum(model^2 / s^2). The mass is drawn
from that normal, cut at the ends of the prior, and in a share of the draws from the prior's range itself: much where
the amplitude is hardly known (the prior, flat in the logarithm, then matters), little where it is. Weights put right
what is not exact.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Float

_LN10 = float(np.log(10.0))
_LEAST_SHARE = 0.005  # of draws from the prior's range
_HARDLY_KNOWN = 4.0  # amplitude over its error at which half of the largest share is reached
_WIDER = 1.5
_LEAST_PROBABILITY = 1e-4  # of the normal within the range; below it nothing is drawn from it


class Amplitude(NamedTuple):
    """Mean and deviation of the factor that a model's flux is to be multiplied with."""

    mean: Float[Array, ""]
    sigma: Float[Array, ""]


def best_amplitude(
    model: Float[Array, " band"], flux: Float[Array, " band"], error: Float[Array, " band"], used: Array
) -> Amplitude:
    """From the bands that are used."""
    m = jnp.where(used, model / error, 0.0)
    y = jnp.where(used, flux / error, 0.0)
    square = jnp.maximum(jnp.sum(m**2), 1e-20)
    return Amplitude(jnp.sum(m * y) / square, 1.0 / jnp.sqrt(square))


def draw_log_mass(
    uniforms: Float[Array, " two"], amplitude: Amplitude, reference: float, low: float, high: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """log10 of the mass and the log density it was drawn with; ``amplitude`` is for a mass of 10**``reference``."""
    least, most = 10.0 ** (low - reference), 10.0 ** (high - reference)
    ends = ndtr((jnp.asarray([least, most]) - amplitude.mean) / amplitude.sigma)
    inside = ends[1] - ends[0]
    known = inside > _LEAST_PROBABILITY
    signal = jnp.maximum(amplitude.mean, 0.0) / amplitude.sigma
    share = _LEAST_SHARE + 0.5 / (1.0 + (signal / _HARDLY_KNOWN) ** 4)
    share = jnp.where(known, share, 1.0)
    p = jnp.clip(ends[0] + uniforms[1] * inside, 1e-7, 1.0 - 1e-7)
    drawn = jnp.clip(amplitude.mean + amplitude.sigma * ndtri(p), least, most)
    from_normal = reference + jnp.log10(drawn)
    log_mass = jnp.where(uniforms[0] < share, low + uniforms[1] * (high - low), from_normal)
    log_mass = jnp.clip(log_mass, low, high)
    value = 10.0 ** (log_mass - reference)
    e = (value - amplitude.mean) / amplitude.sigma
    scale = jnp.where(known, inside, 1.0) * amplitude.sigma * jnp.sqrt(2.0 * jnp.pi)
    normal = jnp.exp(-0.5 * e**2) / scale * value * _LN10
    return log_mass, jnp.log(share / (high - low) + (1.0 - share) * normal)


def log_mass_at(
    score: Float[Array, ""], amplitude: Amplitude, reference: float, low: float, high: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """log10 of the mass with this normal score in the cut normal alone, and the log of its slope over the score.

    The normal is taken wider than the errors of the bands make it: they may be correlated, or depend on the parameters,
    and a score ends at 4.75. Where it lies outside the prior's range the score is that of the range itself.
    """
    amplitude = amplitude._replace(sigma=_WIDER * amplitude.sigma)
    least, most = 10.0 ** (low - reference), 10.0 ** (high - reference)
    ends = ndtr((jnp.asarray([least, most]) - amplitude.mean) / amplitude.sigma)
    inside = ends[1] - ends[0]
    known = inside > _LEAST_PROBABILITY
    p = ndtr(score)
    q = ndtri(jnp.clip(jnp.where(known, ends[0] + p * inside, 0.5), 1e-6, 1.0 - 1e-6))
    value = jnp.clip(amplitude.mean + amplitude.sigma * q, least, most)
    slope = jnp.log(amplitude.sigma / (value * _LN10)) + jnp.log(jnp.where(known, inside, 1.0))
    slope += 0.5 * (q**2 - score**2)
    from_range = jnp.log(high - low) - 0.5 * score**2 - 0.5 * np.log(2.0 * np.pi)
    log_mass = jnp.where(known, reference + jnp.log10(value), low + p * (high - low))
    return jnp.clip(log_mass, low, high), jnp.where(known, slope, from_range)
