"""The errors of an emulator, in arsinh magnitudes: their covariance over bands, and their size as a function of theta.

Both are measured on galaxies that the emulator has never seen. The covariance is that of draws from the prior. The size
is what a small network says: it is trained to make the errors most probable as normal ones,
``sum_b [ln sigma_b(theta) + (error_b / sigma_b(theta))^2 / 2]``, and knows the errors at draws from the prior and from
the wider training distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jaxtyping import Float

from starling.components import RATIOS
from starling.emulators.branch import Branch
from starling.emulators.features import REDSHIFT, FeatureRecipe, fit_features
from starling.emulators.networks import Architecture, Network, network_from_weights, weights_of
from starling.parameters import ParameterSpace

# No sigma is more than exp(6) = 400 times larger or smaller than that of the prior's draws.
_RANGE = 6.0
_HARMONICS = 16
_WIDTH, _DEPTH = 32, 2
_RATE, _WARMUP, _BATCH, _EPOCHS, _LEAST_STEPS = 5e-3, 0.05, 512, 50, 300
_HELD_BACK = 10  # every tenth row decides which of the networks of a training is kept


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ErrorModel:
    """``covariance`` in mag^2 at draws from the prior; ``local`` gives ln of sigma over its root diagonal.

    (Before a soft limit, ``_RANGE``.)
    """

    covariance: Float[Array, "band band"]
    local: Branch

    def sigma_mag(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Standard deviation of the errors at ``theta``, arsinh magnitudes."""
        constant = jnp.sqrt(jnp.diagonal(self.covariance))
        return constant * _factor(self.local(theta))

    def correlation(self) -> Float[Array, "band band"]:
        """Correlation of the errors of the bands; 0 with a band that has none."""
        scale = jnp.sqrt(jnp.diagonal(self.covariance))
        whole = jnp.outer(scale, scale)
        ratio = self.covariance / jnp.where(whole > 0, whole, 1.0)
        return jnp.where(jnp.eye(scale.size, dtype=bool), 1.0, ratio)

    def select(self, columns: Sequence[int]) -> Self:
        """The errors in these of the bands."""
        index = jnp.asarray(columns, dtype=int)
        covariance = self.covariance[index[:, None], index]
        return replace(self, covariance=covariance, local=self.local.take(columns))


def _factor(output: Array) -> Array:
    return jnp.exp(_RANGE * jnp.tanh(output / _RANGE))


class Residuals(NamedTuple):
    """Errors of an emulator at some points: emulated minus exact arsinh magnitudes."""

    theta: Float[np.ndarray, "row param"]
    error: Float[np.ndarray, "row band"]


def fit_error_model(space: ParameterSpace, prior: Residuals, wide: Residuals, *, seed: int) -> ErrorModel:
    """The errors of an emulator from those at held-out draws from the prior and from the training distribution."""
    deviation = prior.error - prior.error.mean(axis=0, dtype=np.float64)
    covariance = (deviation.T @ deviation / len(deviation)).astype(np.float32)
    theta = np.concatenate([prior.theta, wide.theta])
    sigma = np.sqrt(np.diagonal(covariance))
    ratio = np.concatenate([prior.error, wide.error]) / np.where(sigma > 0, sigma, 1.0)
    local = _fit_local(space, theta, ratio.astype(np.float32), seed=seed)
    return ErrorModel(jnp.asarray(covariance), local)


def recipe_of(space: ParameterSpace) -> FeatureRecipe:
    """What the size of the errors may depend on: every parameter but the mass, bins of the SFH, features in filters."""
    return FeatureRecipe(
        transforms=((REDSHIFT, "log1p"),),
        log_bin_masses=all(name in space for name in RATIOS),
        redshift_harmonics=_HARMONICS,
    )


def _fit_local(
    space: ParameterSpace,
    theta: Float[np.ndarray, "row param"],
    ratio: Float[np.ndarray, "row band"],
    *,
    seed: int,
) -> Branch:
    """The network of ln sigma that is best on every tenth row, which it is not trained on."""
    features = fit_features(recipe_of(space), space, jnp.asarray(theta))
    inputs = np.asarray(
        jax.jit(lambda f, t: jax.lax.map(f, t, batch_size=8192))(features, jnp.asarray(theta))
    )
    held = np.arange(len(theta)) % _HELD_BACK == 0
    shape = Architecture(inputs.shape[1], ratio.shape[1], _WIDTH, _DEPTH)
    start = _start(shape, ratio[~held], seed)
    train, judge = ((jnp.asarray(inputs[rows]), jnp.asarray(ratio[rows])) for rows in (~held, held))
    graph, state = nnx.split(start)
    steps = max(_EPOCHS * len(train[0]) // _BATCH, _LEAST_STEPS)
    best = _train(graph, state, train, judge, jax.random.key(seed), steps)
    network: Network = nnx.merge(graph, best)
    return Branch(features, network)


def _start(shape: Architecture, ratio: Float[np.ndarray, "row band"], seed: int) -> Network:
    """A network that says everywhere how large the errors are on average."""
    weights = weights_of(Network(shape, rngs=nnx.Rngs(seed)))
    weights["head.kernel"] = jnp.zeros_like(weights["head.kernel"])
    level = 0.5 * np.log(np.maximum(np.mean(ratio.astype(float) ** 2, axis=0), 1e-12))
    weights["head.bias"] = jnp.asarray(np.clip(level, -_RANGE / 2, _RANGE / 2), jnp.float32)
    return network_from_weights(shape, weights)


def _surprise(network: Network, inputs: Array, ratio: Array) -> Float[Array, ""]:
    """Mean of minus the log probability of the errors, up to a constant."""
    log_sigma = _RANGE * jnp.tanh(network(inputs) / _RANGE)
    return jnp.mean(log_sigma + 0.5 * (ratio * jnp.exp(-log_sigma)) ** 2)


@partial(jax.jit, static_argnames=("graph", "steps"))
def _train(graph: Any, state: Any, train: Any, judge: Any, key: Array, steps: int) -> Any:
    """``steps`` of NADAM; the state that was best on ``judge`` at one of 30 stops."""
    rows, size = train[0].shape[0], min(_BATCH, train[0].shape[0])
    schedule = optax.warmup_cosine_decay_schedule(0.0, _RATE, int(_WARMUP * steps), steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.nadam(schedule))

    def loss(state: Any, batch: Any) -> Array:
        return _surprise(nnx.merge(graph, state), *batch)

    def step(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], None]:
        state, moments = carry
        index = jax.random.randint(key, (size,), 0, rows)
        gradient = jax.grad(loss)(state, (train[0][index], train[1][index]))
        updates, moments = optimizer.update(gradient, moments, state)
        return (optax.apply_updates(state, updates), moments), None

    def stretch(carry: tuple[Any, Any, Any, Array], keys: Array) -> tuple[Any, None]:
        state, moments, best, least = carry
        (state, moments), _ = jax.lax.scan(step, (state, moments), keys)
        now = loss(state, judge)
        best = jax.tree.map(lambda new, old: jnp.where(now < least, new, old), state, best)
        return (state, moments, best, jnp.minimum(now, least)), None

    keys = jax.random.split(key, (30, max(steps // 30, 1)))
    begin = (state, optimizer.init(state), state, loss(state, judge))
    (_, _, best, _), _ = jax.lax.scan(stretch, begin, keys)
    return best
