"""Derivatives in a simulated set: of every output, along one direction per galaxy.

A direction is a draw from a standard normal in the prior-whitened coordinates of the space (``ParameterSpace``), in
which samplers work; so the mean square of a directional derivative over directions is the gradient's squared length.
The direction of a galaxy is a function of its parameters: a simulator stays a function of them alone.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from starling.parameters import ParameterSpace

DIRECTION = "direction"
TANGENT = "tangent_"


def direction_of(space: ParameterSpace, theta: Float[Array, " param"]) -> Float[Array, " param"]:
    """The direction of a galaxy, in the units of its parameters."""
    bits = jax.lax.bitcast_convert_type(theta.astype(jnp.float32), jnp.uint32)
    odd = jnp.arange(1, 2 * theta.size, 2, dtype=jnp.uint32)
    whitened = jax.random.normal(jax.random.key(jnp.sum(bits * odd)), theta.shape, theta.dtype)
    _, direction = jax.jvp(space.constrain, (space.unconstrain(theta),), (whitened,))
    return direction


def with_tangents(
    simulate: Callable[[Float[Array, " param"]], Mapping[str, Array]], space: ParameterSpace
) -> Callable[[Float[Array, " param"]], dict[str, Array]]:
    """A simulator of one galaxy that also gives its direction, and the derivative of every output along it."""

    def simulate_both(theta: Float[Array, " param"]) -> dict[str, Array]:
        direction = direction_of(space, theta)
        outputs, change = jax.jvp(lambda point: dict(simulate(point)), (theta,), (direction,))
        return outputs | {TANGENT + name: value for name, value in change.items()} | {DIRECTION: direction}

    return simulate_both


def without_tangents(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs alone."""
    return {
        name: value for name, value in outputs.items() if name != DIRECTION and not name.startswith(TANGENT)
    }


def tangents_of(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The derivatives by the names of the outputs."""
    return {name.removeprefix(TANGENT): value for name, value in outputs.items() if name.startswith(TANGENT)}
