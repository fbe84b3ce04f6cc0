"""Chains for the galaxies whose weights do not pass, in coordinates in which their posteriors are nearly round.

The coordinates are those of the flow, whitened by the adapted proposal, and one for the mass: the normal score of its
nearly closed posterior given all else. A transition is a Hamiltonian trajectory (bent and stiff shapes) and then a
choice among the present point and fresh draws of the proposal, by their weights (iterated sampling importance
resampling; Andrieu et al. 2010, Samsonov et al. 2022): that moves between modes and through tails. Both leave the exact
posterior as it is.

The gradient and the density stand ONCE each in a compiled transition: trajectories drift, kick and drift, so that only
kicks need a gradient, and the end of a trajectory is evaluated together with the fresh draws.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.adaptation.step_size import DualAveragingAdaptationState, dual_averaging_adaptation
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Bool, Float, Int

from starling.amortised.adapt import Mixture, draw, log_density, moments
from starling.amortised.importance import Evaluated, Galaxy, placed
from starling.amortised.proposal import Proposal
from starling.amortised.settings import LatentChains
from starling.forward import ForwardModel
from starling.inference.chains import Moments, leapfrogs, merge, no_moments, pooled_metric, without_weak_types

_FIRST = 128  # draws among which a chain's start is chosen
_DIVERGED = 1000.0  # energy lost or won along a trajectory


class Point(NamedTuple):
    """Where a chain is."""

    y: Float[Array, " dim"]
    theta: Float[Array, " param"]
    log_density: Float[Array, ""]  # likelihood times prior, over y
    log_reported: Float[Array, ""]  # the same over the prior-whitened coordinates and the mass
    log_weight: Float[Array, ""]  # that over the proposal


class Chains(NamedTuple):
    """State of the chains of one galaxy, with the step size and metric that they share."""

    points: Point  # leading axis: chain
    step_size: DualAveragingAdaptationState
    inverse_metric: Float[Array, "dim dim"]
    moments: Moments


class LatentDraws(NamedTuple):
    """What the chains of one galaxy left."""

    theta: Float[Array, "chain draw param"]
    log_density: Float[Array, "chain draw"]
    acceptance_rate: Float[Array, "chain draw"]
    diverging: Bool[Array, "chain draw"]
    n_steps: Int[Array, "chain draw"]


class _Target(NamedTuple):
    """The posterior and the proposal over ``y``: the flow's coordinates, whitened, and the score of the mass."""

    log_density: Callable[[Float[Array, " dim"]], Float[Array, ""]]
    points: Callable[[Float[Array, "draw dim"]], Point]
    propose: Callable[[Array, int], Float[Array, "draw dim"]]
    size: int


def begin(
    key: Array,
    n_chains: int,
    plan: LatentChains,
    mixture: Mixture,
    galaxy: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
) -> Chains:
    """Chains of ONE galaxy, each at one of many draws of the proposal that was adapted to it; callers ``vmap``."""
    target = _target(mixture, galaxy, proposal, forward_model)
    key_draw, key_choice = jax.random.split(key)
    points = target.points(target.propose(key_draw, n_chains * _FIRST))
    of_chain = jax.tree.map(lambda leaf: leaf.reshape(n_chains, _FIRST, *leaf.shape[1:]), points)
    chosen = jax.random.categorical(key_choice, of_chain.log_weight, axis=1)
    starts = jax.tree.map(lambda leaf: jax.vmap(lambda some, i: some[i])(leaf, chosen), of_chain)
    first, _, _ = dual_averaging_adaptation(plan.target_accept)
    step_size = first(jnp.asarray(1.0 / target.size**0.25))
    return without_weak_types(Chains(starts, step_size, jnp.eye(target.size), no_moments(target.size)))


def advance(
    key: Array,
    chains: Chains,
    iterations: Int[Array, " draw"],
    adapt: Bool[Array, ""],
    plan: LatentChains,
    mixture: Mixture,
    galaxy: Galaxy,
    proposal: Proposal,
    forward_model: ForwardModel,
) -> tuple[Chains, LatentDraws]:
    """One transition per entry of ``iterations``; ``adapt`` tunes the step size and gathers moments meanwhile."""
    target = _target(mixture, galaxy, proposal, forward_model)
    _, tune, _ = dual_averaging_adaptation(plan.target_accept)
    n_chains = chains.points.y.shape[0]

    def one(state: Chains, iteration: Int[Array, ""]) -> tuple[Chains, tuple[Point, Array, Array, Array]]:
        log_step = jnp.where(adapt, state.step_size.log_step_size, state.step_size.log_step_size_avg)
        n_steps = leapfrogs(iteration, jnp.asarray(plan.mean_steps))
        scale = jnp.exp(log_step) * jnp.linalg.cholesky(state.inverse_metric)

        def move(key: Array, here: Point) -> tuple[Point, Array]:
            keys = jax.random.split(key, 4)
            momentum = jax.random.normal(keys[0], here.y.shape)
            end, left = _trajectory(here.y, momentum, target, scale, n_steps)
            found = target.points(jnp.concatenate([end[None], target.propose(keys[1], plan.proposals)]))
            lost = here.log_density - found.log_density[0] + 0.5 * jnp.sum(left**2 - momentum**2)
            lost = jnp.where(jnp.isfinite(lost), lost, jnp.inf)
            moved = jax.random.uniform(keys[2]) < jnp.exp(-lost)
            there = jax.tree.map(lambda some, old: jnp.where(moved, some[0], old), found, here)
            among = jax.tree.map(lambda old, some: jnp.concatenate([old[None], some[1:]]), there, found)
            chosen = jax.random.categorical(keys[3], among.log_weight)
            return jax.tree.map(lambda leaf: leaf[chosen], among), lost

        keys = jax.random.split(jax.random.fold_in(key, iteration), n_chains)
        points, lost = jax.vmap(move)(keys, state.points)
        rate = jnp.minimum(jnp.exp(-lost), 1.0)
        tuned = tune(state.step_size, jnp.mean(rate)), merge(state.moments, points.y)
        step_size, moments = jax.tree.map(
            lambda new, old: jnp.where(adapt, new, old), tuned, (state.step_size, state.moments)
        )
        record = points, rate, lost > _DIVERGED, jnp.broadcast_to(n_steps, rate.shape)
        return Chains(points, step_size, state.inverse_metric, moments), record

    last, (points, *rest) = jax.lax.scan(one, chains, iterations)
    by_chain = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (points.theta, points.log_reported, *rest))
    return without_weak_types(last), LatentDraws(*by_chain)


def update_metric(chains: Chains, plan: LatentChains) -> Chains:
    """The pooled covariance of the draws since the last time as metric, and the step size begun anew."""
    first, _, _ = dual_averaging_adaptation(plan.target_accept)
    metric = pooled_metric(chains.moments, chains.inverse_metric)
    step_size = first(jnp.exp(chains.step_size.log_step_size_avg))
    return without_weak_types(Chains(chains.points, step_size, metric, no_moments(len(metric))))


def _trajectory(
    y: Float[Array, " dim"],
    momentum: Float[Array, " dim"],
    target: _Target,
    scale: Float[Array, "dim dim"],
    n_steps: Int[Array, ""],
) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
    """Where a trajectory ends, and with what momentum; ``scale`` is the step times the metric's root."""

    def leap(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        y, momentum = state
        y = y + 0.5 * scale @ momentum
        momentum = momentum + scale.T @ jax.grad(target.log_density)(y)
        return y + 0.5 * scale @ momentum, momentum

    return jax.lax.fori_loop(0, n_steps, leap, (y, momentum))


def _target(mixture: Mixture, galaxy: Galaxy, proposal: Proposal, forward_model: ForwardModel) -> _Target:
    n_free, n_scores = mixture.mean.shape[1], int(proposal.coordinates.has_mass)
    mean, factor = moments(mixture)

    def z_of(y: Array) -> Array:
        return mean + factor @ y[:n_free]

    def at(y: Array) -> Evaluated:
        score = y[n_free] if n_scores else jnp.zeros(())
        return placed(z_of(y), score, galaxy, proposal, forward_model)

    def points(y: Array) -> Point:
        found = jax.vmap(at)(y)
        value = found.log_density + found.log_slope
        score = y[:, n_free:]
        log_q = log_density(mixture, jax.vmap(z_of, out_axes=1)(y)) - 0.5 * jnp.sum(score**2, axis=1)
        log_weight = value - log_q + 0.5 * n_scores * np.log(2.0 * np.pi)
        log_weight = jnp.where(jnp.isfinite(log_weight), log_weight, -1e30)
        return Point(y, found.theta, value, found.log_density, log_weight)

    def propose(key: Array, n: int) -> Array:
        key_z, key_mass = jax.random.split(key)
        z = draw(key_z, mixture, n)
        y = solve_triangular(factor, z - mean[:, None], lower=True).T
        return jnp.concatenate([y, jax.random.normal(key_mass, (n, n_scores))], axis=1)

    def log_target(y: Array) -> Array:
        found = at(y)
        return found.log_density + found.log_slope

    return _Target(log_target, points, propose, n_free + n_scores)
