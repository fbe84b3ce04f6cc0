"""Parameters to simulate at: draws from a space or points that are given, any part of them reproducible by itself."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt64
from scipy.stats import qmc

from starling.parameters import ParameterSpace

Method = Literal["sobol", "uniform", "latin_hypercube"]


@runtime_checkable
class Plan(Protocol):
    """What a simulated set is to hold: ``n`` points of a space in shards of ``chunk`` rows; see ``DrawPlan``.

    ``draw`` gives all ``chunk`` points of a shard, of the last one too, so that shapes never change; float32.
    """

    @property
    def space(self) -> ParameterSpace: ...
    @property
    def n(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    @property
    def n_chunks(self) -> int: ...
    def rows(self, index: int) -> int:
        """Number of rows that belong to a shard; only the last one may be shorter."""
        ...

    def draw(self, index: int) -> Float[np.ndarray, "chunk param"]: ...
    def to_dict(self) -> dict[str, Any]:
        """What decides every point, JSON-able."""
        ...


@dataclass(frozen=True)
class DrawPlan:
    """``n`` draws from the prior of ``space``, cut into shards of ``chunk`` rows (a power of two).

    ``method`` is "sobol" (scrambled Sobol sequence), "uniform" (independent draws) or "latin_hypercube" (in every
    parameter, one draw in each of ``n`` parts of equal prior probability). A larger ``n`` with the same seed continues
    the same sequence, but for the Latin hypercube, which ``n`` decides.
    """

    space: ParameterSpace
    n: int
    seed: int
    method: Method = "sobol"
    chunk: int = 4096

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"a set needs at least one draw, got n = {self.n}")
        if self.chunk < 1 or self.chunk & (self.chunk - 1):
            raise ValueError(
                f"chunk must be a power of two (Sobol points balance only then), got {self.chunk}"
            )

    @property
    def n_chunks(self) -> int:
        return -(-self.n // self.chunk)

    def rows(self, index: int) -> int:
        return min(self.chunk, self.n - index * self.chunk)

    def to_dict(self) -> dict[str, Any]:
        """What decides every draw, JSON-able; not ``n`` where a set can be lengthened."""
        return {
            "space": self.space.to_dict(),
            "seed": self.seed,
            "method": self.method,
            "chunk": self.chunk,
            **({"n": self.n} if self.method == "latin_hypercube" else {}),
        }

    def draw(self, index: int) -> Float[np.ndarray, "chunk param"]:
        size = len(self.space)
        if self.method == "sobol":
            engine = qmc.Sobol(size, scramble=True, rng=np.random.default_rng(self.seed))
            if index:
                engine.fast_forward(index * self.chunk)
            return points(self.space, engine.random(self.chunk))
        within = np.random.default_rng([self.seed, index]).random((self.chunk, size))
        if self.method == "uniform":
            return points(self.space, within)
        # rows beyond the last one, which nobody keeps, begin again at the first
        rows = np.arange(index * self.chunk, (index + 1) * self.chunk) % self.n
        strata = np.stack([shuffled(rows, self.n, (self.seed, column)) for column in range(size)], axis=1)
        return points(self.space, (strata + within) / self.n)


def draw_chunk(plan: Plan, index: int) -> Float[np.ndarray, "chunk param"]:
    """The points of a shard of a plan; ValueError where it has no such shard."""
    if not 0 <= index < plan.n_chunks:
        raise ValueError(f"chunk {index} of a set with {plan.n_chunks} chunks")
    return plan.draw(index)


def points(space: ParameterSpace, u: Float[np.ndarray, "row param"]) -> Float[np.ndarray, "row param"]:
    """Points of a space from points of its unit cube, float32."""
    # float32 has no number between 1 - 6e-8 and 1, and a quantile at exactly 0 or 1 can be infinite
    u = np.clip(u, 1e-7, 1.0 - 1e-7).astype(np.float32)
    return np.asarray(_from_unit_cube(space, jnp.asarray(u)), np.float32)


def shuffled(places: np.ndarray, n: int, key: tuple[int, ...]) -> UInt64[np.ndarray, " row"]:
    """What a random permutation of 0 ... n - 1 has at some places; no other part of it is computed.

    A Feistel network permutes the numbers of an even number of bits; what leaves the range is sent through again.
    """
    half = max(1, -(-(n - 1).bit_length() // 2))
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    keys = np.random.default_rng(key).integers(0, 2**64, 8, np.uint64)

    def permute(x: np.ndarray) -> np.ndarray:
        left, right = x >> shift, x & mask
        for round_key in keys:
            left, right = right, left ^ (_mixed(right ^ round_key) & mask)
        return (left << shift) | right

    found = permute(np.asarray(places, np.uint64))
    while (outside := found >= n).any():
        found[outside] = permute(found[outside])
    return found


def _mixed(x: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit of a 64-bit number (the finaliser of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _prior_transform(
    space: ParameterSpace, u: Float[jax.Array, "row param"]
) -> Float[jax.Array, "row param"]:
    return jax.vmap(space.from_unit_cube)(u)


_from_unit_cube = jax.jit(_prior_transform, static_argnums=0)
