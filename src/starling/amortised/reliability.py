"""How far weights can be trusted while they still grow in number: as ``psis``, in shapes that stay the same."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.amortised.psis import n_in_tail

_FEWEST = 5  # draws in a tail that can be fitted


class Reliability(NamedTuple):
    """Shape of the weights' tail (infinite where it cannot be fitted), and how many draws they are worth."""

    k_hat: Float[Array, ""] | float
    ess: Float[Array, ""] | float


NEVER = Reliability(-np.inf, np.inf)  # more than any weights have


def reliability(log_weight: Float[Array, " draw"], n: Int[Array, ""]) -> Reliability:
    """Of the weights of ``n`` draws; what is -inf beyond those has not been drawn."""
    there = jnp.isfinite(log_weight)
    largest = jnp.max(jnp.where(there, log_weight, -jnp.inf))
    weight = jnp.where(there, jnp.exp(log_weight - largest), 0.0)
    ess = jnp.sum(weight) ** 2 / jnp.sum(weight**2)
    most = n_in_tail(log_weight.size)
    top = jax.lax.top_k(weight, min(most + 1, weight.size))[0]
    n_tail = _n_tail(n).astype(int)
    excess = top - top[jnp.minimum(n_tail, top.size - 1)]
    counts = (jnp.arange(top.size) < n_tail) & (excess > 0.0)
    k_hat = _shape(jnp.where(counts, excess, 0.0), jnp.sum(counts))
    good = jnp.isfinite(largest) & (jnp.sum(counts) >= _FEWEST) & jnp.isfinite(k_hat)
    return Reliability(jnp.where(good, k_hat, jnp.inf), jnp.where(jnp.isfinite(largest), ess, 0.0))


def k_hat_error(k_hat: Float[Array, ""] | float, n: Int[Array, ""]) -> Float[Array, ""]:
    """One sigma of the k-hat of ``n`` weights: that of a Pareto shape by maximum likelihood (Smith 1987)."""
    return (1.0 + k_hat) / jnp.sqrt(_n_tail(n))


def _n_tail(n: Int[Array, ""]) -> Float[Array, ""]:
    return jnp.minimum(0.2 * n, 3.0 * jnp.sqrt(n))


def _shape(excess: Float[Array, " draw"], n: Int[Array, ""]) -> Float[Array, ""]:
    """``psis.fit_pareto`` of the first ``n``, which descend; those after them are 0."""
    most = 30 + int(np.sqrt(excess.size))
    m = 30 + jnp.sqrt(n).astype(int)
    number = jnp.arange(1, most + 1)
    quartile = excess[jnp.clip(n - jnp.floor(n / 4 + 0.5).astype(int), 0, excess.size - 1)]
    grid = (1.0 - jnp.sqrt(m / (number - 0.5))) / (3.0 * quartile) + 1.0 / excess[0]

    def mean_log(b: Array) -> Array:
        # of what is 0 the logarithm is 0
        return jnp.sum(jnp.log1p(-b * excess), axis=-1) / n

    shapes = mean_log(grid[:, None])
    value = n * (jnp.log(-grid / shapes) - shapes - 1.0)
    posterior = jax.nn.softmax(jnp.where(number <= m, value, -jnp.inf))
    k = mean_log(jnp.sum(jnp.where(number <= m, grid, 0.0) * posterior))
    return (n * k + 5.0) / (n + 10.0)
