"""The compiled steps of a fit, for a batch of galaxies shared out over devices."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from starling.forward import ForwardModel
from starling.inference import chains as chain_kernels
from starling.inference.chains import Chains, Transition
from starling.inference.density import Model
from starling.inference.initialise import starts
from starling.inference.kernels import Kernel
from starling.inference.noise import Noise
from starling.inference.observation import Observation
from starling.inference.target import galaxy_density, remoteness


class Static(NamedTuple):
    """The settings that compiled code depends on; the others (numbers of draws, batch size) never recompile."""

    kernel: Kernel
    n_chains: int
    chunk: int
    target: float
    max_doublings: int
    n_descents: int
    descent_steps: int
    error_floor: float
    devices: int


def over_galaxies(function: Callable[..., Any], devices: int, *arguments: Any) -> Any:
    """``function`` of arrays with galaxies first, shared out over the devices: no device ever waits for another."""
    if devices == 1:
        return function(*arguments)
    mesh, each = _mesh(devices)
    return jax.shard_map(function, mesh=mesh, in_specs=each, out_specs=each, check_vma=False)(*arguments)


def put(arrays: Any, devices: int) -> Any:
    """Arrays with galaxies first, placed as ``over_galaxies`` leaves its results, so that nothing compiles twice."""
    if devices == 1:
        return jax.tree.map(jnp.asarray, arrays)
    return jax.device_put(arrays, jax.sharding.NamedSharding(*_mesh(devices)))


def _mesh(devices: int) -> tuple[jax.sharding.Mesh, jax.sharding.PartitionSpec]:
    mesh = jax.make_mesh((devices,), ("galaxy",), axis_types=(jax.sharding.AxisType.Auto,))
    return mesh, jax.sharding.PartitionSpec("galaxy")


@partial(jax.jit, static_argnames=("model", "static"))
def begin(
    key: Array,
    index: Array,
    observations: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    *,
    model: Model,
    static: Static,
) -> tuple[Chains, Array]:
    """The chains of every galaxy at their starts, and the modes of comparable mass that were found."""

    def one(index: Array, observation: Observation, noise: Noise) -> tuple[Chains, Array]:
        density = galaxy_density(model, observation, forward_model, noise, static.error_floor)
        start = starts(
            jax.random.fold_in(key, index),
            density,
            observation,
            forward_model,
            noise,
            n_chains=static.n_chains,
            n_descents=static.n_descents,
            n_steps=static.descent_steps,
        )
        begun = chain_kernels.begin(start.states, start.inverse_metric, static.target)
        return begun, start.n_modes

    return over_galaxies(jax.vmap(one), static.devices, index, observations, noise)


@partial(jax.jit, static_argnames=("model", "static"))
def advance(
    key: Array,
    index: Array,
    observations: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    chains: Chains,
    first: Array,
    mean_steps: Array,
    adapt: Array,
    *,
    model: Model,
    static: Static,
) -> tuple[Chains, Transition]:
    """The next ``static.chunk`` transitions, from the one numbered ``first``; step sizes adapt where ``adapt``."""
    iterations = first + jnp.arange(static.chunk)

    def one(
        index: Array, observation: Observation, noise: Noise, chains: Chains
    ) -> tuple[Chains, Transition]:
        return chain_kernels.advance(
            jax.random.fold_in(key, index),
            galaxy_density(model, observation, forward_model, noise, static.error_floor),
            chains,
            iterations,
            mean_steps,
            adapt,
            kernel=static.kernel,
            target=static.target,
            max_doublings=static.max_doublings,
        )

    return over_galaxies(jax.vmap(one), static.devices, index, observations, noise, chains)


@partial(jax.jit, static_argnames=("static",))
def update_metric(chains: Chains, static: Static) -> Chains:
    """The metric of every galaxy from the draws since the last time."""
    update = jax.vmap(lambda one: chain_kernels.update_metric(one, static.target))
    return over_galaxies(update, static.devices, chains)


@partial(jax.jit, static_argnames=("model", "static"))
def sites_of(
    positions: Float[Array, "galaxy draw chain dim"],
    observations: Observation,
    noise: Noise,
    forward_model: ForwardModel,
    *,
    model: Model,
    static: Static,
) -> tuple[Array, Array, dict[str, Array], Array]:
    """At every draw: theta, how far out of the forward model's domain it is, the model's further latent sites, and the
    log density of the model itself."""
    names = forward_model.space.names

    def one(
        observation: Observation, noise: Noise, positions: Array
    ) -> tuple[Array, Array, dict[str, Array], Array]:
        density = galaxy_density(model, observation, forward_model, noise, static.error_floor)

        def at(position: Array) -> tuple[Array, Array, dict[str, Array], Array]:
            sites = density.sites(position)
            missing = [name for name in (*names, "flux") if name not in sites]
            if missing:
                raise ValueError(
                    f"the model has no site {', '.join(missing)}: call galaxy_model inside it, unscoped"
                )
            theta = jnp.stack([sites[n] for n in names])
            extra = {n: sites[n] for n in density.latent if n != "x"}
            return theta, remoteness(forward_model, theta), extra, density.reported(position)

        return jax.vmap(jax.vmap(at))(positions)

    return over_galaxies(jax.vmap(one), static.devices, observations, noise, positions)
