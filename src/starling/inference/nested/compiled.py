"""The compiled steps of the judge, for one galaxy and many points: values, slices, and what the points mean."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from starling.forward import ForwardModel
from starling.inference.density import Model
from starling.inference.nested.cube import CubeDensity, cube_density
from starling.inference.nested.slices import Moved, slice_chain
from starling.inference.noise import Noise
from starling.inference.observation import Observation
from starling.inference.target import remoteness, takes_noise


class Galaxy(NamedTuple):
    """What the likelihood of one galaxy depends on; a pytree, so that one compilation serves all galaxies."""

    observation: Observation
    noise: Noise
    forward_model: ForwardModel


class Static(NamedTuple):
    """What compiled code depends on beside shapes."""

    model: Model
    error_floor: float
    n_slices: int


def density_of(galaxy: Galaxy, static: Static) -> CubeDensity:
    """The log likelihood of a galaxy over the unit cube, errors prepared once."""
    prepared = {"noise": galaxy.noise} if takes_noise(static.model) else {}
    return cube_density(
        static.model, galaxy.observation, galaxy.forward_model, error_floor=static.error_floor, **prepared
    )


@partial(jax.jit, static_argnames="static")
def values(u: Float[Array, "point dim"], galaxy: Galaxy, *, static: Static) -> Float[Array, " point"]:
    """Log likelihoods."""
    return jax.vmap(density_of(galaxy, static).log_likelihood)(u)


@partial(jax.jit, static_argnames="static")
def move(
    key: Array,
    starts: Float[Array, "point dim"],
    axes: Float[Array, "point dim dim"],
    threshold: Float[Array, ""],
    galaxy: Galaxy,
    *,
    static: Static,
) -> Moved:
    """Every start moved by ``static.n_slices`` slices above the threshold."""
    log_likelihood = density_of(galaxy, static).log_likelihood

    def one(key: Array, start: Array, axes: Array) -> Moved:
        return slice_chain(log_likelihood, key, start, axes, threshold, static.n_slices)

    return jax.vmap(one)(jax.random.split(key, starts.shape[0]), starts, axes)


@partial(jax.jit, static_argnames="static")
def meaning(
    u: Float[Array, "point dim"], galaxy: Galaxy, *, static: Static
) -> tuple[Float[Array, "point param"], Float[Array, " point"], dict[str, Array]]:
    """theta, how far out of the forward model's domain it is, and the model's further latent sites."""
    density = density_of(galaxy, static)
    names = galaxy.forward_model.space.names

    def at(u: Array) -> tuple[Array, Array, dict[str, Array]]:
        sites = density.sites(u)
        missing = [name for name in names if name not in sites]
        if missing:
            raise ValueError(
                f"the model has no site {', '.join(missing)}: call galaxy_model inside it, unscoped"
            )
        theta = jnp.stack([sites[name] for name in names])
        extra = {name: sites[name] for name in density.latent if name != "x"}
        return theta, remoteness(galaxy.forward_model, theta), extra

    return jax.vmap(at)(u)
