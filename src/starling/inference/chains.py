"""Chains of ONE galaxy: a kernel, a step size and a dense metric that all its chains share and adapt.

``advance`` runs a number of transitions; warm-up and sampling are the same compiled function. Callers ``vmap`` it over
galaxies; since lanes of a ``vmap`` run in lockstep, the HMC kernel gives every lane the same number of leapfrog steps
at each transition (jittered from one transition to the next), so no lane ever waits for another.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from blackjax.adaptation.step_size import DualAveragingAdaptationState, dual_averaging_adaptation
from blackjax.mcmc.dynamic_hmc import halton_sequence
from blackjax.mcmc.hmc import HMCState
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Bool, Float, Int

from starling.inference.chees import Length, first_length, longer_or_shorter
from starling.inference.density import FlatDensity
from starling.inference.kernels import Kernel, Move, transition

_LONGEST = 2.0  # mean of the trajectories that ChEES may choose, in ``mean_steps``


class Moments(NamedTuple):
    """Running mean and scatter matrix of the positions of all chains."""

    n: Float[Array, ""]
    mean: Float[Array, " dim"]
    scatter: Float[Array, "dim dim"]


class Chains(NamedTuple):
    """State of the chains of one galaxy."""

    hmc: HMCState  # leading axis: chain
    step_size: DualAveragingAdaptationState
    inverse_metric: Float[Array, "dim dim"]
    moments: Moments
    length: Length


class Transition(NamedTuple):
    """What one transition leaves behind, per chain."""

    position: Float[Array, "chain dim"]
    log_density: Float[Array, " chain"]
    acceptance_rate: Float[Array, " chain"]
    diverging: Bool[Array, " chain"]
    n_steps: Int[Array, " chain"]


def no_moments(dim: int) -> Moments:
    """Before any draw."""
    return Moments(jnp.zeros(()), jnp.zeros(dim), jnp.zeros((dim, dim)))


def without_weak_types[Tree](chains: Tree) -> Tree:
    """The same arrays: chains from anywhere are the same input to compiled code, which then compiles once."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype), chains)


def _dual_averaging(target: float) -> tuple[Any, Any, Any]:
    return dual_averaging_adaptation(target)


def begin(states: HMCState, inverse_metric: Float[Array, "dim dim"], target: float) -> Chains:
    """Chains at their starts, with a first step size for a metric that is nearly right."""
    dim = inverse_metric.shape[0]
    step_size = _dual_averaging(target)[0](jnp.asarray(0.5 / dim**0.25))
    return without_weak_types(Chains(states, step_size, inverse_metric, no_moments(dim), first_length()))


def merge(moments: Moments, positions: Float[Array, "chain dim"]) -> Moments:
    """Chan's update of mean and scatter by one position of every chain."""
    n, m = moments.n, positions.shape[0]
    mean = jnp.mean(positions, axis=0)
    centred, shift = positions - mean, mean - moments.mean
    return Moments(
        n + m,
        moments.mean + shift * m / (n + m),
        moments.scatter + centred.T @ centred + jnp.outer(shift, shift) * n * m / (n + m),
    )


def pooled_metric(moments: Moments, before: Float[Array, "dim dim"]) -> Float[Array, "dim dim"]:
    """The covariance of the moments, with ``before`` counting as much as 2 dim draws.

    Autocorrelated draws of a short window leave the covariance noisy. ``before`` where the moments are not finite.
    """
    weight = 2.0 * before.shape[0]
    pooled = (moments.scatter + weight * before) / (moments.n + weight)
    good = jnp.all(jnp.isfinite(jnp.linalg.cholesky(pooled)))
    return jnp.where(good, pooled, before)


def update_metric(chains: Chains, target: float) -> Chains:
    """Replace the metric by the pooled covariance of the moments gathered so far, and begin the step size anew."""
    metric = pooled_metric(chains.moments, chains.inverse_metric)
    step = jnp.exp(chains.step_size.log_step_size_avg)
    return without_weak_types(
        chains._replace(
            step_size=_dual_averaging(target)[0](step), inverse_metric=metric, moments=no_moments(len(metric))
        )
    )


def jitter(iteration: Int[Array, ""]) -> Float[Array, ""]:
    """A quasi-random number between 0.2 and 1.8 for a transition, the same in every galaxy."""
    return 0.2 + 1.6 * halton_sequence(iteration.astype(jnp.int32) % 1024)


def leapfrogs(iteration: Int[Array, ""], mean_steps: Float[Array, ""]) -> Int[Array, ""]:
    """Leapfrog steps of this transition: ``mean_steps`` on average, jittered."""
    return jnp.maximum(jnp.rint(mean_steps * jitter(iteration)), 1).astype(jnp.int32)


def advance(
    key: Array,
    density: FlatDensity,
    chains: Chains,
    iterations: Int[Array, " draw"],
    mean_steps: Float[Array, ""],
    adapt: Bool[Array, ""],
    *,
    kernel: Kernel,
    target: float,
    max_doublings: int,
) -> tuple[Chains, Transition]:
    """Run one transition per entry of ``iterations``; ``adapt`` tunes the step size and gathers moments meanwhile.

    ``mean_steps`` is not for NUTS, and for ChEES half of the longest mean; ``max_doublings`` is for NUTS only.
    """
    _, tune, _ = _dual_averaging(target)
    factor = jnp.linalg.cholesky(chains.inverse_metric)

    def one(state: Chains, iteration: Int[Array, ""]) -> tuple[Chains, Transition]:
        log_step = jnp.where(adapt, state.step_size.log_step_size, state.step_size.log_step_size_avg)
        n_steps = leapfrogs(iteration, mean_steps)
        if kernel == "chees":
            log_length = jnp.where(adapt, state.length.log_length, state.length.log_average)
            own = jnp.clip(jnp.exp(log_length - log_step), 1.0, _LONGEST * mean_steps)
            n_steps = leapfrogs(iteration, own)

        def move(key: Array, here: HMCState) -> tuple[HMCState, Move]:
            def log_density(y: Array) -> Array:
                return density.log_density(here.position + factor @ y)

            origin = HMCState(jnp.zeros_like(here.position), here.logdensity, factor.T @ here.logdensity_grad)
            found = transition(kernel, key, log_density, origin, jnp.exp(log_step), n_steps, max_doublings)
            gradient = solve_triangular(factor, found.gradient, lower=True, trans=1)
            return HMCState(here.position + factor @ found.y, found.log_density, gradient), found

        keys = jax.random.split(jax.random.fold_in(key, iteration), state.hmc.position.shape[0])
        moved, found = jax.vmap(move)(keys, state.hmc)
        rate = found.acceptance_rate
        tuned = tune(state.step_size, jnp.mean(rate)), merge(state.moments, moved.position), state.length
        if kernel == "chees":
            white = solve_triangular(factor, state.hmc.position.T, lower=True).T
            ends = white + found.end
            length = longer_or_shorter(state.length, white, ends, found.velocity, rate, jitter(iteration))
            tuned = (*tuned[:2], length)
        step_size, moments, length = jax.tree.map(
            lambda new, old: jnp.where(adapt, new, old), tuned, (state.step_size, state.moments, state.length)
        )
        record = Transition(moved.position, moved.logdensity, rate, found.diverging, found.n_steps)
        return Chains(moved, step_size, state.inverse_metric, moments, length), record

    last, record = jax.lax.scan(one, chains, iterations)
    return without_weak_types(last), record
