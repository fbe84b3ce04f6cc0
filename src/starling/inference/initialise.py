"""Where chains start and in which metric: batched Levenberg-Marquardt and the Laplace approximation it ends in.

In prior-whitened coordinates the prior's Hessian is the identity, so the Gauss-Newton Hessian of the negative log
posterior is J^T W J + I with J the Jacobian of the band fluxes: positive definite, and never in need of second
derivatives of a network. Everything here is for ONE galaxy; callers ``vmap``.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from blackjax.mcmc.hmc import HMCState
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular
from jaxtyping import Float

from starling.forward import ForwardModel
from starling.inference.density import FlatDensity
from starling.inference.likelihood import curvature, independent_residuals, residuals
from starling.inference.noise import Noise
from starling.inference.observation import Observation

_MAX_STEP = 2.0  # longest Levenberg-Marquardt step in one coordinate, in prior standard deviations
_MODE_LOG_WEIGHT = 4.0  # a mode whose Laplace mass is below exp(-4) of the best one gets no chain
_SPREADS = (1.5, 1.0, 0.5, 0.2, 0.0)  # tried in turn for a chain's start, in Laplace standard deviations


class Optimum(NamedTuple):
    """Where one descent stands: log density, its gradient and the Gauss-Newton Hessian of its negative."""

    position: Float[Array, " dim"]
    log_density: Float[Array, ""]
    gradient: Float[Array, " dim"]
    hessian: Float[Array, "dim dim"]


class Start(NamedTuple):
    """Starts of the chains of one galaxy (BlackJAX states, leading axis chain) and the first inverse metric."""

    states: HMCState
    inverse_metric: Float[Array, "dim dim"]
    n_modes: Array


def evaluate(
    density: FlatDensity,
    observation: Observation,
    noise: Noise,
    position: Float[Array, " dim"],
) -> Optimum:
    """Log density, gradient and J^T W J + K^T K at ``position``; W is the inverse of the residuals' covariance (without
    its dependence on the parameters); limits and outliers count as ``curvature`` says. K is the Jacobian of
    prior-whitened coordinates, mostly the identity.

    One forward-mode pass gives all of it, so the network is compiled once.
    """

    def value(position: Float[Array, " dim"]) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
        sites = density.sites(position)
        flux = sites.get("calibrated", sites["flux"])
        both = density.log_density(position), independent_residuals(observation, flux, noise)
        return (*both, density.white(position)), both

    (gradient, jacobian, white), (log_density, z) = jax.jacfwd(value, has_aux=True)(position)
    weight = curvature(observation, z, noise)
    hessian = (jacobian * weight[:, None]).T @ jacobian + white.T @ white
    return Optimum(position, log_density, gradient, hessian)


def scale_mass(
    position: Float[Array, " free"],
    observation: Observation,
    forward_model: ForwardModel,
    error: Float[Array, " band"],
) -> Float[Array, " free"]:
    """Move the mass of a start to where its SED has the best amplitude; unchanged where mass is not free.

    Flux is linear in 10**logmass, so the amplitude that minimises chi^2 is closed.
    """
    space = forward_model.space
    if "logmass" not in space.free(observation.fixed):
        return position
    theta = space.constrain(position, observation.fixed)
    index, (low, high) = space.index("logmass"), space.bounds
    model = residuals(observation, jnp.zeros_like(error), error) - residuals(
        observation, forward_model(theta), error
    )
    data = residuals(observation, jnp.zeros_like(error), error)
    amplitude = jnp.sum(model * data) / jnp.maximum(jnp.sum(model**2), 1e-30)
    moved = theta[index] + jnp.log10(jnp.maximum(amplitude, 1e-6))
    margin = 0.02 * (high[index] - low[index])
    theta = theta.at[index].set(jnp.clip(moved, low[index] + margin, high[index] - margin))
    scaled = space.unconstrain(theta, observation.fixed)
    mass = space.free(observation.fixed).index("logmass")
    return position.at[mass].set(scaled[mass])


def levenberg_marquardt(
    at: Callable[[Float[Array, " dim"]], Optimum], position: Float[Array, " dim"], n_steps: int
) -> Optimum:
    """Maximise the log density with damped Gauss-Newton steps; a fixed number of them, none ever goes downhill."""
    dim = position.size

    def step(carry: tuple[Optimum, Array], _: None) -> tuple[tuple[Optimum, Array], None]:
        here, damping = carry
        damped = here.hessian + damping * jnp.diag(jnp.diag(here.hessian))
        move = jnp.clip(cho_solve(cho_factor(damped), here.gradient), -_MAX_STEP, _MAX_STEP)
        there = at(here.position + jnp.where(jnp.isfinite(move), move, 0.0))
        better = (there.log_density > here.log_density) & jnp.all(jnp.isfinite(there.hessian))
        new = jax.tree.map(lambda a, b: jnp.where(better, a, b), there, here)
        return (new, jnp.clip(jnp.where(better, damping / 4.0, damping * 3.0), 1e-5, 1e5)), None

    # the first step stays where it is and evaluates: ``at`` appears once in the compiled program
    nowhere = Optimum(position, jnp.asarray(-jnp.inf), jnp.zeros(dim), jnp.eye(dim))
    (last, _), _ = jax.lax.scan(step, (nowhere, jnp.asarray(0.4)), None, length=n_steps + 1)
    return last


def _laplace_log_mass(optimum: Optimum) -> Float[Array, ""]:
    factor = jnp.linalg.cholesky(optimum.hessian)
    mass = optimum.log_density - jnp.sum(jnp.log(jnp.diag(factor)))
    return jnp.where(jnp.isfinite(mass), mass, -jnp.inf)


def starts(
    key: Array,
    density: FlatDensity,
    observation: Observation,
    forward_model: ForwardModel,
    noise: Noise,
    *,
    n_chains: int,
    n_descents: int,
    n_steps: int,
) -> Start:
    """Descend from ``n_descents`` prior draws, keep the modes that matter, draw the chains' starts around them.

    Modes whose Laplace mass is negligible beside the best one are dropped; chains are dealt out over the others, each
    at a Laplace draw stretched by 1.5 (less where that lands far down the posterior).
    """
    key_prior, key_chain = jax.random.split(key)
    x = jax.random.normal(key_prior, (n_descents, density.size))
    x = x.at[0].set(0.0)
    if density.latent == ("x",):
        if not density.mass_apart:
            x = jax.vmap(lambda one: scale_mass(one, observation, forward_model, noise.error))(x)
        x = jax.vmap(lambda one: density.ravel({"x": one}))(x)

    at = partial(evaluate, density, observation, noise)
    optima = jax.vmap(lambda one: levenberg_marquardt(at, one, n_steps))(x)
    mass = jax.vmap(_laplace_log_mass)(optima)
    optima, mass = jax.tree.map(lambda leaf: leaf[jnp.argsort(-mass)], (optima, mass))
    n_kept = jnp.maximum(jnp.sum(mass > mass[0] - _MODE_LOG_WEIGHT), 1)

    def chain_start(key: Array, chain: Array) -> HMCState:
        mode = jax.tree.map(lambda leaf: leaf[chain % n_kept], optima)
        factor = jnp.linalg.cholesky(mode.hessian)
        draw = solve_triangular(factor, jax.random.normal(key, (density.size,)), lower=True, trans=1)
        tries = mode.position + jnp.asarray(_SPREADS)[:, None] * draw
        value, gradient = jax.vmap(jax.value_and_grad(density.log_density))(tries)
        near = (value > mode.log_density - 3.0 * density.size).at[-1].set(True)
        return jax.tree.map(lambda leaf: leaf[jnp.argmax(near)], HMCState(tries, value, gradient))

    states = jax.vmap(chain_start)(jax.random.split(key_chain, n_chains), jnp.arange(n_chains))
    eye = jnp.eye(density.size)
    inverse = cho_solve(cho_factor(optima.hessian[0]), eye)
    return Start(states, 0.5 * (inverse + inverse.T), n_kept)
