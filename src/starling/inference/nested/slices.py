"""Random slices inside a likelihood contour, for many points at once in one compiled loop.

What dynesty's ``rslice`` does point by point (Neal 2003; Handley et al. 2015): from a live point, choose a random
direction, step out to both sides of the contour, draw a point between, shrink towards the start until it is inside;
``slices`` times. Here every pass of the loop evaluates the likelihood once for every point, whatever each is at: a
batch costs a small part of as many single calls. Ends of a slice outside the unit cube are set to its walls, which are
known without a call.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

LEFT, RIGHT, INSIDE, DONE = 0, 1, 2, 3
# a slice that has shrunk to this share of its first width has no room left in float32: the point stays where it is
_NARROWEST = 1e-6


class Moved(NamedTuple):
    """The end of a chain of slices: the point, its log likelihood (-inf where it never moved) and what it took."""

    u: Float[Array, " dim"]
    log_likelihood: Float[Array, ""]
    calls: Int[Array, ""]
    expansions: Int[Array, ""]
    contractions: Int[Array, ""]


class _State(NamedTuple):
    u: Array
    log_likelihood: Array
    left: Array
    right: Array
    stage: Array
    slice: Array
    calls: Array
    expansions: Array
    contractions: Array


def walls(
    u: Float[Array, " dim"], direction: Float[Array, " dim"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Between which t the point u + t direction is inside the unit cube."""
    safe = jnp.where(direction == 0.0, 1.0, direction)
    ends = jnp.stack([-u / safe, (1.0 - u) / safe])
    low, high = jnp.min(ends, axis=0), jnp.max(ends, axis=0)
    still = direction == 0.0
    return jnp.max(jnp.where(still, -jnp.inf, low)), jnp.min(jnp.where(still, jnp.inf, high))


def slice_chain(
    log_likelihood: Callable[[Float[Array, " dim"]], Float[Array, ""]],
    key: Array,
    start: Float[Array, " dim"],
    axes: Float[Array, "dim dim"],
    threshold: Float[Array, ""],
    n_slices: int,
) -> Moved:
    """``n_slices`` slices from ``start``, along random directions through ``axes`` (columns), above ``threshold``."""
    key_direction, key_offset, key_inside = jax.random.split(key, 3)
    unit = jax.random.normal(key_direction, (n_slices, start.size), start.dtype)
    unit = unit / jnp.linalg.norm(unit, axis=1, keepdims=True)
    offsets = jax.random.uniform(key_offset, (n_slices,), start.dtype)
    directions = unit @ axes.T
    # no longer than half of the cube's diagonal, as in dynesty
    longest = 0.5 * jnp.sqrt(jnp.asarray(start.size, start.dtype))
    directions = directions / jnp.maximum(jnp.linalg.norm(directions, axis=1, keepdims=True) / longest, 1.0)

    def opened(u: Array, number: Array) -> tuple[Array, Array, Array]:
        """Ends of a new slice, and what has to be evaluated first."""
        index = jnp.minimum(number, n_slices - 1)
        low, high = walls(u, directions[index])
        left, right = jnp.maximum(-offsets[index], low), jnp.minimum(1.0 - offsets[index], high)
        stage = jnp.where(left > low, LEFT, jnp.where(right < high, RIGHT, INSIDE))
        return left, right, jnp.where(number >= n_slices, DONE, stage)

    def step(state: _State) -> _State:
        direction = directions[jnp.minimum(state.slice, n_slices - 1)]
        low, high = walls(state.u, direction)
        share = jax.random.uniform(jax.random.fold_in(key_inside, state.calls), (), start.dtype)
        between = state.left + share * (state.right - state.left)
        t = jnp.where(state.stage == LEFT, state.left, jnp.where(state.stage == RIGHT, state.right, between))
        at = jnp.clip(state.u + t * direction, 0.0, 1.0)
        value = log_likelihood(at)
        above = value > threshold
        return _after(state, t, at, value, above, (low, high), opened)

    left, right, stage = opened(start, jnp.asarray(0))
    none = jnp.asarray(0)
    first = _State(start, jnp.asarray(-jnp.inf, start.dtype), left, right, stage, none, none, none, none)
    last = jax.lax.while_loop(lambda state: state.stage != DONE, step, first)
    return Moved(last.u, last.log_likelihood, last.calls, last.expansions, last.contractions)


def _after(
    state: _State,
    t: Array,
    at: Array,
    value: Array,
    above: Bool[Array, ""],
    walls_of: tuple[Array, Array],
    opened: Callable[[Array, Array], tuple[Array, Array, Array]],
) -> _State:
    """What follows from one evaluation."""
    low, high = walls_of
    inside = state.stage == INSIDE
    # stepping out: one width further while the end is above, until it is below or at the wall
    left = jnp.where((state.stage == LEFT) & above, jnp.maximum(state.left - 1.0, low), state.left)
    right = jnp.where((state.stage == RIGHT) & above, jnp.minimum(state.right + 1.0, high), state.right)
    left_ends = (state.stage == LEFT) & (~above | (left <= low))
    right_ends = (state.stage == RIGHT) & (~above | (right >= high))
    stage = jnp.where(left_ends, jnp.where(right < high, RIGHT, INSIDE), state.stage)
    stage = jnp.where(right_ends, INSIDE, stage)
    # shrinking: towards the start, at 0
    left = jnp.where(inside & ~above & (t < 0.0), t, left)
    right = jnp.where(inside & ~above & (t >= 0.0), t, right)
    stuck = inside & ~above & (right - left < _NARROWEST)
    moved = inside & above
    number = state.slice + (moved | stuck)
    u = jnp.where(moved, at, state.u)
    new_left, new_right, new_stage = opened(u, number)
    over = moved | stuck
    return _State(
        u,
        jnp.where(moved, value, state.log_likelihood),
        jnp.where(over, new_left, left),
        jnp.where(over, new_right, right),
        jnp.where(over, new_stage, stage),
        number,
        state.calls + 1,
        state.expansions + (~inside & above),
        state.contractions + inside,
    )
