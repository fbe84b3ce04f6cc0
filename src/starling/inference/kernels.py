"""One transition of ONE chain, by any of the kernels: BlackJAX's and NumPyro's NUTS, HMC, adjusted microcanonical HMC.

All of them move by a displacement ``y`` from where the chain is, in coordinates in which the metric is the identity:
what a kernel does not know (dense metrics, other coordinates) it need not know. Each returns a ``Move``.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import blackjax
import jax
import jax.numpy as jnp
from blackjax.mcmc.adjusted_mclmc import adjusted_mclmc_proposal
from blackjax.mcmc.hmc import HMCState
from blackjax.mcmc.integrators import IntegratorState, isokinetic_mclachlan, with_isokinetic_maruyama
from blackjax.util import generate_unit_vector
from jax import Array
from jaxtyping import Bool, Float, Int
from numpyro.infer.hmc_util import IntegratorState as NumpyroState
from numpyro.infer.hmc_util import build_tree, euclidean_kinetic_energy, velocity_verlet

Kernel = Literal["hmc", "chees", "nuts", "numpyro_nuts", "mclmc"]
KERNELS: tuple[str, ...] = get_args(Kernel)
LogDensity = Callable[[Float[Array, " dim"]], Float[Array, ""]]
_DIVERGED = 1000.0  # energy lost or won along a trajectory


class Move(NamedTuple):
    """Where a transition goes, from the origin, and how it went. ``end`` and ``velocity``: what was proposed."""

    y: Float[Array, " dim"]
    log_density: Float[Array, ""]
    gradient: Float[Array, " dim"]
    acceptance_rate: Float[Array, ""]
    diverging: Bool[Array, ""]
    n_steps: Int[Array, ""]  # gradients
    end: Float[Array, " dim"]
    velocity: Float[Array, " dim"]


def transition(
    kernel: Kernel,
    key: Array,
    log_density: LogDensity,
    here: HMCState,
    step_size: Float[Array, ""],
    n_steps: Int[Array, ""],
    max_doublings: int,
) -> Move:
    """One transition from the origin; ``here`` has its log density and gradient.

    ``n_steps`` is not for NUTS, ``max_doublings`` for NUTS only.
    """
    if kernel == "nuts":
        return _nuts(key, log_density, here, step_size, max_doublings)
    if kernel == "numpyro_nuts":
        return _numpyro_nuts(key, log_density, here, step_size, max_doublings)
    if kernel == "mclmc":
        return _microcanonical(key, log_density, here, step_size, n_steps)
    return _hmc(key, log_density, here, step_size, n_steps)


def _move(state: Any, rate: Array, diverging: Array, n_steps: Array, end: Any = None) -> Move:
    """Of BlackJAX's states."""
    rate = jnp.where(jnp.isfinite(rate), jnp.clip(rate, 0.0, 1.0), 0.0)
    end, velocity = (state.position, jnp.zeros_like(state.position)) if end is None else end
    return Move(
        state.position,
        state.logdensity,
        state.logdensity_grad,
        rate,
        diverging,
        jnp.asarray(n_steps, jnp.int32),
        end,
        velocity,
    )


def _hmc(key: Array, log_density: LogDensity, here: HMCState, step_size: Array, n_steps: Array) -> Move:
    eye = jnp.ones_like(here.position)
    state, info = blackjax.hmc.build_kernel()(key, here, log_density, step_size, eye, n_steps)
    end = info.proposal.position, -info.proposal.momentum
    return _move(state, info.acceptance_rate, info.is_divergent, info.num_integration_steps, end)


def _nuts(key: Array, log_density: LogDensity, here: HMCState, step_size: Array, max_doublings: int) -> Move:
    eye = jnp.ones_like(here.position)
    state, info = blackjax.nuts.build_kernel()(key, here, log_density, step_size, eye, max_doublings)
    return _move(state, info.acceptance_rate, info.is_divergent, info.num_integration_steps)


def _numpyro_nuts(
    key: Array, log_density: LogDensity, here: HMCState, step_size: Array, max_doublings: int
) -> Move:
    key_momentum, key_tree = jax.random.split(key)
    momentum = jax.random.normal(key_momentum, here.position.shape, here.position.dtype)
    _, leap = velocity_verlet(lambda y: -log_density(y), euclidean_kinetic_energy)
    tree = build_tree(
        leap,
        euclidean_kinetic_energy,
        NumpyroState(here.position, momentum, -here.logdensity, -here.logdensity_grad),
        jnp.ones_like(here.position),
        step_size,
        key_tree,
        _DIVERGED,
        max_doublings,
    )
    state = HMCState(tree.z_proposal, -tree.z_proposal_pe, -tree.z_proposal_grad)
    rate = tree.sum_accept_probs / tree.num_proposals
    return _move(state, rate, tree.diverging, tree.num_proposals)


def _microcanonical(
    key: Array, log_density: LogDensity, here: HMCState, step_size: Array, n_steps: Array
) -> Move:
    """Adjusted: a trajectory of constant speed, two gradients a step, then accepted or not."""
    key_momentum, key_path = jax.random.split(key)
    momentum = generate_unit_vector(key_momentum, here.position)
    propose = adjusted_mclmc_proposal(
        integrator=with_isokinetic_maruyama(isokinetic_mclachlan(log_density, 1.0)),
        step_size=step_size,
        L_proposal_factor=jnp.asarray(jnp.inf),
        num_integration_steps=n_steps,
        divergence_threshold=_DIVERGED,
    )
    state, info, _ = propose(
        key_path, IntegratorState(here.position, momentum, here.logdensity, here.logdensity_grad)
    )
    return _move(state, info.acceptance_rate, info.is_divergent, 2 * n_steps)
