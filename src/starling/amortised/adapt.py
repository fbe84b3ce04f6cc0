"""A proposal that adapts itself to ONE galaxy, in the coordinates in which the flow is a standard normal.

Where a flow is too wide, or a galaxy is unlike its training, the posterior is still one compact, bent lump in those
coordinates. Rounds of draws find its mean and covariance: the weights of each round are tempered until they are worth a
given number of draws, so that the proposal moves by what it can see (adaptive importance sampling; Cappe et al. 2008,
Koblents & Miguez 2015). What comes out is a mixture of a Student-t and of the flow itself, whose tails it keeps.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Float

_FREEDOM = 8.0  # degrees of freedom of the Student-t
_OF_FLOW = 0.1  # share of the flow in the mixture
_BISECTIONS = 20
_RIDGE = 1e-4
_ARRIVED = 0.5  # power of the weights from which a proposal counts as near the posterior
_MEMORY = 0.5  # share of what was known before a round


class Mixture(NamedTuple):
    """A Student-t with this mean and this lower Cholesky factor of its scale matrix, and the flow's own normal."""

    mean: Float[Array, " free"]
    factor: Float[Array, "free free"]
    share: Float[Array, ""]  # of the flow


class Adaptation(NamedTuple):
    """``rounds`` of ``n`` draws each; their weights are tempered until they are worth the share ``worth`` of them."""

    rounds: int = 8
    n: int = 2500
    worth: float = 0.1


def of_flow(n_free: int) -> Mixture:
    """The flow as it is."""
    return Mixture(jnp.zeros(n_free), jnp.eye(n_free), jnp.ones(()))


def draw(key: Array, mixture: Mixture, n: int) -> Float[Array, "free draw"]:
    """Draws of a mixture."""
    keys = jax.random.split(key, 3)
    normal = jax.random.normal(keys[0], (mixture.mean.size, n))
    chi2 = 2.0 * jax.random.gamma(keys[1], 0.5 * _FREEDOM, (n,))
    student = mixture.mean[:, None] + mixture.factor @ (normal * jnp.sqrt(_FREEDOM / chi2))
    return jnp.where(jax.random.uniform(keys[2], (n,)) < mixture.share, normal, student)


def log_density(mixture: Mixture, z: Float[Array, "free draw"]) -> Float[Array, " draw"]:
    """Log density of a mixture."""
    n = mixture.mean.size
    normal = -0.5 * jnp.sum(z**2, axis=0) - 0.5 * n * np.log(2.0 * np.pi)
    white = solve_triangular(mixture.factor, z - mixture.mean[:, None], lower=True)
    constant = gammaln(0.5 * (_FREEDOM + n)) - gammaln(0.5 * _FREEDOM) - 0.5 * n * np.log(_FREEDOM * np.pi)
    constant -= jnp.sum(jnp.log(jnp.diag(mixture.factor)))
    student = constant - 0.5 * (_FREEDOM + n) * jnp.log1p(jnp.sum(white**2, axis=0) / _FREEDOM)
    both = jnp.stack([jnp.log(mixture.share) + normal, jnp.log1p(-mixture.share) + student])
    return logsumexp(both, axis=0)


def temper(
    log_weight: Float[Array, " draw"], wanted: float
) -> tuple[Float[Array, " draw"], Float[Array, ""]]:
    """Normalised weights to the highest power up to 1 at which they are worth ``wanted`` draws, and that power."""
    log_weight = log_weight - jnp.max(log_weight)
    log_weight = jnp.maximum(jnp.where(jnp.isfinite(log_weight), log_weight, -1e4), -1e4)

    def worth(power: Array) -> Array:
        w = jnp.exp(power * log_weight)
        return jnp.sum(w) ** 2 / jnp.sum(w**2)

    def halve(ends: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = ends
        middle = 0.5 * (low + high)
        enough = worth(middle) >= wanted
        return (jnp.where(enough, middle, low), jnp.where(enough, high, middle)), None

    (low, _), _ = jax.lax.scan(halve, (jnp.zeros(()), jnp.ones(())), None, length=_BISECTIONS)
    power = jnp.where(worth(jnp.ones(())) >= wanted, 1.0, low)
    w = jnp.exp(power * log_weight)
    return w / jnp.sum(w), power


def adapt(
    key: Array,
    log_target: Callable[[Array, Float[Array, "free draw"]], Float[Array, " draw"]],
    start: Mixture,
    plan: Adaptation,
) -> Mixture:
    """The mixture after some rounds; ``log_target`` takes a key of its own and draws, and gives their log densities."""
    n_free, wanted = start.mean.size, plan.worth * plan.n

    def step(mixture: Mixture, key: Array) -> tuple[Mixture, None]:
        key_draw, key_target = jax.random.split(key)
        z = draw(key_draw, mixture, plan.n)
        weight, power = temper(log_target(key_target, z) - log_density(mixture, z), wanted)
        mean = z @ weight
        centred = z - mean[:, None]
        covariance = (centred * weight) @ centred.T
        # once it has arrived a proposal remembers earlier rounds
        kept = jnp.where(power < _ARRIVED, 0.0, _MEMORY)
        moved = mixture.mean - mean
        before = mixture.factor @ mixture.factor.T * _FREEDOM / (_FREEDOM - 2.0) / (1.0 + n_free / wanted)
        covariance = (1.0 - kept) * covariance + kept * before + kept * (1.0 - kept) * jnp.outer(moved, moved)
        mean = mean + kept * moved
        # a covariance of so few draws has directions that look too narrow
        inflated = covariance * (1.0 + n_free / wanted) + _RIDGE * jnp.eye(n_free)
        factor = jnp.linalg.cholesky(inflated * (_FREEDOM - 2.0) / _FREEDOM)
        good = jnp.all(jnp.isfinite(factor)) & jnp.all(jnp.isfinite(mean))
        new = Mixture(mean, factor, jnp.asarray(_OF_FLOW))
        return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, mixture), None

    last, _ = jax.lax.scan(step, start, jax.random.split(key, plan.rounds))
    return last
