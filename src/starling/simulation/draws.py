"""Parameters to simulate at: low-discrepancy or random draws from a space, any part of them reproducible by itself."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.stats import qmc

from starling.parameters import ParameterSpace


@dataclass(frozen=True)
class DrawPlan:
    """``n`` draws from the prior of ``space``, cut into chunks of ``chunk`` rows (a power of two).

    ``method`` is "sobol" (scrambled Sobol sequence) or "uniform" (independent draws). A larger ``n`` with the same seed
    continues the same sequence.
    """

    space: ParameterSpace
    n: int
    seed: int
    method: Literal["sobol", "uniform"] = "sobol"
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
        """Number of rows that belong to chunk ``index``; only the last one may be shorter."""
        return min(self.chunk, self.n - index * self.chunk)

    def to_dict(self) -> dict[str, Any]:
        """What decides every draw, JSON-able; not ``n``, so that a set can be lengthened."""
        return {
            "space": self.space.to_dict(),
            "seed": self.seed,
            "method": self.method,
            "chunk": self.chunk,
        }


def draw_chunk(plan: DrawPlan, index: int) -> Float[np.ndarray, "chunk param"]:
    """All ``plan.chunk`` points of chunk ``index`` (the last chunk too, so that shapes never change), float32."""
    if not 0 <= index < plan.n_chunks:
        raise ValueError(f"chunk {index} of a set with {plan.n_chunks} chunks")
    size = len(plan.space)
    if plan.method == "sobol":
        engine = qmc.Sobol(size, scramble=True, rng=np.random.default_rng(plan.seed))
        if index:
            engine.fast_forward(index * plan.chunk)
        u = engine.random(plan.chunk)
    else:
        u = np.random.default_rng([plan.seed, index]).random((plan.chunk, size))
    return points(plan.space, u)


def points(space: ParameterSpace, u: Float[np.ndarray, "row param"]) -> Float[np.ndarray, "row param"]:
    """Points of a space from points of its unit cube, float32."""
    # float32 has no number between 1 - 6e-8 and 1, and a quantile at exactly 0 or 1 can be infinite
    u = np.clip(u, 1e-7, 1.0 - 1e-7).astype(np.float32)
    return np.asarray(_from_unit_cube(space, jnp.asarray(u)), np.float32)


def _prior_transform(
    space: ParameterSpace, u: Float[jax.Array, "row param"]
) -> Float[jax.Array, "row param"]:
    return jax.vmap(space.from_unit_cube)(u)


_from_unit_cube = jax.jit(_prior_transform, static_argnums=0)
