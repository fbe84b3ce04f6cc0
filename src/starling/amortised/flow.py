"""The conditional normalising flow: an embedding of what is known of a galaxy, an affine map, spline couplings.

From a parameter vector to a standard normal:

    v [free] --Gaussian--> C^T (v - m) --affine--> L (. - mu) --couplings--> z [free]

The first map whitens a Gaussian approximation of the posterior (``starling.amortised.local``), which starts where a
network (``point``) guesses; L is lower triangular.
Everything that depends on the galaxy alone comes out of ONE network (``context``), computed once: ``mu``, ``L`` and
what every coupling's conditioner adds to its first layer. A draw costs only the small conditioners. Arrays have the
draws as their last axis; a context has one column for all of them or one for each.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from starling.amortised.local import Local, n_told, told
from starling.amortised.splines import inverse_spline, n_raw, spline
from starling.emulators.networks import Architecture, Network, with_affine_outputs

_LOG_2PI = float(np.log(2.0 * np.pi))
_GATE = -2.0  # of the Gaussian, before any training: little of it


@dataclass(frozen=True)
class FlowShape:
    """Sizes: ``width`` and ``depth`` of the embedding, ``couplings`` with ``hidden`` units in each of ``layers``
    layers.

    ``descent`` are the steps from the guess to the Gaussian. Splines have ``bins`` bins between ``-bound`` and
    ``bound``. ``orders`` are the permutations of the coordinates, one per coupling: the first half of a permutation is
    left as it is, the other half is transformed.
    """

    n_features: int
    n_free: int
    orders: tuple[tuple[int, ...], ...]
    descent: int = 1
    width: int = 256
    depth: int = 4
    hidden: int = 128
    layers: int = 2
    bins: int = 8
    bound: float = 6.0

    @property
    def n_kept(self) -> int:
        return self.n_free // 2

    @property
    def n_moved(self) -> int:
        return self.n_free - self.n_kept

    @property
    def n_context(self) -> int:
        return 3 * self.n_free + self.n_free**2 + len(self.orders) * self.hidden

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``."""
        orders = tuple(tuple(map(int, order)) for order in description["orders"])
        return cls(**{**description, "orders": orders})


def flow_orders(n_free: int, couplings: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Permutations, in pairs: the second of a pair transforms what the first one kept."""
    generator = np.random.default_rng(seed)
    orders: list[tuple[int, ...]] = []
    while len(orders) < couplings:
        order = generator.permutation(n_free).tolist()
        orders += [tuple(order), tuple(order[::-1])]
    return tuple(orders[:couplings])


class Context(NamedTuple):
    """What the flow is for one galaxy (one column) or for each of many (a column each)."""

    mean: Float[Array, "free column"]
    matrix: Float[Array, "free free column"]  # lower triangular, its diagonal positive
    hidden: tuple[Float[Array, "hidden column"], ...]


class Conditioner(nnx.Module):
    """From the coordinates that are kept, and what the context adds, to the raw splines of the others."""

    def __init__(self, shape: FlowShape, *, rngs: nnx.Rngs) -> None:
        scale = jax.nn.initializers.lecun_normal()
        self.first = nnx.Param(scale(rngs.params(), (shape.hidden, shape.n_kept)).astype(jnp.float32))
        self.inner = nnx.List(
            [nnx.Param(scale(rngs.params(), (shape.hidden, shape.hidden))) for _ in range(shape.layers - 1)]
        )
        self.inner_bias = nnx.List([nnx.Param(jnp.zeros((shape.hidden, 1))) for _ in range(shape.layers - 1)])
        n_out = n_raw(shape.bins) * shape.n_moved
        self.last = nnx.Param(jnp.zeros((n_out, shape.hidden)))  # zeros: every spline begins as the identity
        self.last_bias = nnx.Param(jnp.zeros((n_out, 1)))

    def __call__(
        self, kept: Float[Array, "kept draw"], context: Float[Array, "hidden column"]
    ) -> Float[Array, "raw draw"]:
        hidden = jax.nn.silu(self.first[...] @ kept + context)
        for weight, bias in zip(self.inner, self.inner_bias, strict=True):
            hidden = hidden + jax.nn.silu(weight[...] @ hidden + bias[...])
        return self.last[...] @ hidden + self.last_bias[...]


class Flow(nnx.Module):
    """A density over ``v`` given features; make one from a ``FlowShape``."""

    def __init__(self, shape: FlowShape, *, rngs: nnx.Rngs) -> None:
        self.shape = shape
        point = Architecture(shape.n_features, shape.n_free, shape.width, shape.depth, residual=True)
        self.point = Network(point, rngs=rngs)
        n_features = shape.n_features + n_told(shape.n_free)
        embedding = Architecture(n_features, shape.n_context, shape.width, shape.depth, residual=True)
        # a small head: every density begins near the prior
        small = jnp.full(shape.n_context, 0.1)
        self.embedding = with_affine_outputs(Network(embedding, rngs=rngs), small, 0.0 * small)
        self.conditioners = nnx.List([Conditioner(shape, rngs=rngs) for _ in shape.orders])

    def context(self, features: Float[Array, "column feature"], local: Local) -> Context:
        """What the flow is, given the features and the Gaussian (leading axis: column) of one galaxy or of each."""
        shape = self.shape
        out = self.embedding(jnp.concatenate([features, jax.vmap(told)(local)], axis=1)).T
        n = shape.n_free
        mean, of_mean, of_matrix, raw, hidden = jnp.split(out, np.cumsum([n, n, n, n * n]))
        raw = raw.reshape(n, n, -1)
        diagonal = np.eye(n, dtype=bool)[:, :, None]
        below = np.tri(n, k=-1, dtype=bool)[:, :, None]
        matrix = jnp.where(diagonal, jnp.exp(raw), jnp.where(below, raw, 0.0))
        mean = mean + jax.nn.sigmoid(of_mean + _GATE) * local.mean.T
        matrix = matrix + jax.nn.sigmoid(of_matrix + 2.0 * _GATE)[:, None] * jnp.moveaxis(
            local.whitener, 0, -1
        )
        return Context(mean, matrix, tuple(hidden.reshape(len(shape.orders), shape.hidden, -1)))

    def log_prob(self, context: Context, v: Float[Array, "free draw"]) -> Float[Array, " draw"]:
        """Log density of every draw."""
        z, log_slope = self.to_normal(context, v)
        return _log_normal(z) + log_slope

    def to_normal(
        self, context: Context, v: Float[Array, "free draw"]
    ) -> tuple[Float[Array, "free draw"], Float[Array, " draw"]]:
        """The coordinates in which the density is a standard normal, and the log determinant of the map to them."""
        x = jnp.sum(context.matrix * (v - context.mean)[None], axis=1)
        total = jnp.broadcast_to(_log_diagonal(context), v.shape[-1:])
        for order, conditioner, hidden in self._couplings(context):
            kept, moved = self._split(x, order)
            raw = self._raw(conditioner, kept, hidden)
            moved, log_slope = spline(moved, raw, self.shape.bins, self.shape.bound)
            x, total = self._join(kept, moved, order), total + jnp.sum(log_slope, axis=0)
        return x, total

    def from_normal(
        self, context: Context, z: Float[Array, "free draw"]
    ) -> tuple[Float[Array, "free draw"], Float[Array, " draw"]]:
        """The inverse of ``to_normal`` for ONE galaxy's context, and the log determinant of the inverse."""
        total, x = jnp.zeros(z.shape[-1]), z
        for order, conditioner, hidden in reversed(list(self._couplings(context))):
            kept, moved = self._split(x, order)
            raw = self._raw(conditioner, kept, hidden)
            moved, log_slope = inverse_spline(moved, raw, self.shape.bins, self.shape.bound)
            x, total = self._join(kept, moved, order), total + jnp.sum(log_slope, axis=0)
        eye = jnp.eye(self.shape.n_free)
        inverse = solve_triangular(context.matrix[..., 0], eye, lower=True)
        return context.mean + inverse @ x, total - _log_diagonal(context)

    def _couplings(self, context: Context) -> "zip[tuple[tuple[int, ...], Conditioner, Array]]":
        return zip(self.shape.orders, self.conditioners, context.hidden, strict=True)

    def _split(self, x: Array, order: tuple[int, ...]) -> tuple[Array, Array]:
        n, index = self.shape.n_kept, np.asarray(order)
        return x[index[:n]], x[index[n:]]

    def _join(self, kept: Array, moved: Array, order: tuple[int, ...]) -> Array:
        return jnp.concatenate([kept, moved])[np.argsort(order)]

    def _raw(self, conditioner: Conditioner, kept: Array, hidden: Array) -> Array:
        return conditioner(kept, hidden).reshape(n_raw(self.shape.bins), self.shape.n_moved, -1)


def _log_normal(z: Float[Array, "free draw"]) -> Float[Array, " draw"]:
    return -0.5 * jnp.sum(z**2, axis=0) - 0.5 * _LOG_2PI * z.shape[0]


def _log_diagonal(context: Context) -> Float[Array, " column"]:
    """Log determinant of the two triangular maps."""
    return jnp.sum(jnp.log(jnp.diagonal(context.matrix)), axis=-1)
