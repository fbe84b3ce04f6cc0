"""Data as the likelihood has them: scattered about the model's, with errors that grow with the OBSERVED flux."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

LARGEST_FLOOR = 0.25
_MOST_SIGMAS = 3.9  # floor times sigmas stays below 1, where an error no longer has a flux that it belongs to


def as_observed(
    key: Array,
    true: Float[Array, "*galaxy band"],
    depth: Float[Array, "... band"],
    floor: Float[Array, "... band"],
) -> Float[Array, "*galaxy band"]:
    """Observed fluxes f with the error s(f) = hypot(depth, floor f) and a density in proportion to L(f) / s(f).

    L is the likelihood exp(-(f - true)^2 / 2 s(f)^2). With e = (f - true) / s(f) that is a density of e in proportion
    to exp(-e^2 / 2) / (1 - e s'), which to second order in s' = ds/df is normal, with mean s' and variance 1 / (1 -
    s'^2). ``floor`` is at most ``LARGEST_FLOOR``; errors beyond 3.9 sigma are cut.
    """
    slope = floor**2 * true / jnp.hypot(depth, floor * true)
    e = slope + jax.random.normal(key, true.shape) / jnp.sqrt(1.0 - slope**2)
    e = jnp.clip(e, -_MOST_SIGMAS, _MOST_SIGMAS)
    # f = true + e s(f), solved for f; written with ratios since squares of faint fluxes have no place in float32
    left = 1.0 - (e * floor) ** 2
    return (true + e * jnp.hypot(floor * true, depth * jnp.sqrt(left))) / left
