"""How long trajectories are, from what many chains do: the ChEES criterion (Hoffman, Radul & Sountsov 2021, eq. 8).

The criterion is the change of the squared distance from the mean along a trajectory; its derivative over the length
is climbed by Adam in ln(length). Everything is in coordinates in which the metric is the identity, and for the chains
of ONE galaxy: of few chains the criterion is noisy, so the average over the warm-up is what is used afterwards.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

_RATE = 0.05
_DECAY = 0.9, 0.95  # of Adam's moments
_AVERAGED = 0.1  # weight of the newest length in the average


class Length(NamedTuple):
    """Logarithm of the mean trajectory length, its running average, Adam's moments, and how often it was changed."""

    log_length: Float[Array, ""]
    log_average: Float[Array, ""]
    first: Float[Array, ""]
    second: Float[Array, ""]
    updates: Float[Array, ""]


def first_length() -> Length:
    """A quarter of the period of a standard normal."""
    start = jnp.log(jnp.asarray(jnp.pi / 2.0))
    return Length(start, start, jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


def longer_or_shorter(
    length: Length,
    before: Float[Array, "chain dim"],
    ends: Float[Array, "chain dim"],
    velocities: Float[Array, "chain dim"],
    acceptance_rate: Float[Array, " chain"],
    jitter: Float[Array, ""],
) -> Length:
    """After trajectories of ``jitter`` times the length, from ``before`` to ``ends``, whatever was accepted."""
    good = jnp.all(jnp.isfinite(ends), axis=1) & jnp.all(jnp.isfinite(velocities), axis=1)
    weight = jnp.where(good, acceptance_rate, 0.0)
    share = weight / jnp.maximum(jnp.sum(weight), 1e-6)
    ends, velocities = (jnp.where(good[:, None], values, 0.0) for values in (ends, velocities))
    there, here = ends - share @ ends, before - jnp.mean(before, axis=0)
    change = jnp.sum(there**2, axis=1) - jnp.sum(here**2, axis=1)
    slope = (
        jitter * jnp.exp(length.log_length) * jnp.sum(share * change * jnp.sum(there * velocities, axis=1))
    )
    count = length.updates + 1.0
    first = _DECAY[0] * length.first + (1.0 - _DECAY[0]) * slope
    second = _DECAY[1] * length.second + (1.0 - _DECAY[1]) * slope**2
    unbiased = first / (1.0 - _DECAY[0] ** count), second / (1.0 - _DECAY[1] ** count)
    step = _RATE * unbiased[0] / (jnp.sqrt(unbiased[1]) + 1e-8)
    log_length = length.log_length + jnp.clip(step, -0.35, 0.35)
    average = (1.0 - _AVERAGED) * length.log_average + _AVERAGED * log_length
    return Length(log_length, average, first, second, count)
