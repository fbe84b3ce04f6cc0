"""From a NumPyro model to what samplers want: a log density of one flat, unconstrained vector."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpyro
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float
from numpyro.distributions import biject_to
from numpyro.infer.util import constrain_fn, potential_energy

Model = Callable[..., None]


class FlatDensity(NamedTuple):
    """A NumPyro model, conditioned on its arguments, over one flat vector: all its latent sites, or new coordinates."""

    size: int
    log_density: Callable[[Float[Array, " dim"]], Float[Array, ""]]  # over the vector
    sites: Callable[[Float[Array, " dim"]], dict[str, Array]]  # latent and deterministic sites, constrained
    ravel: Callable[[dict[str, Array]], Float[Array, " dim"]]  # unconstrained latent sites -> vector
    latent: tuple[str, ...]
    reported: Callable[[Float[Array, " dim"]], Float[Array, ""]]  # NumPyro's own log density
    white: Callable[
        [Float[Array, " dim"]], Float[Array, " dim"]
    ]  # where the prior is (about) a standard normal
    mass_apart: bool = False  # whether the vector has the mass from what fits best: 0 is a good start


def flat_density(model: Model, *args: Any, **kwargs: Any) -> FlatDensity:
    """The log density of ``model(*args, **kwargs)`` over the real line in every dimension.

    Works inside ``jit`` and ``vmap``: ``args`` may be traced. Raises ValueError for a model without a continuous
    latent site or with a discrete one.
    """
    seeded = numpyro.handlers.seed(model, jax.random.key(0))
    template: dict[str, Array] = {}
    for name, site in numpyro.handlers.trace(seeded).get_trace(*args, **kwargs).items():
        if site["type"] != "sample" or site["is_observed"]:
            continue
        if site["fn"].support.is_discrete:
            raise ValueError(f"site {name!r} is discrete: gradient-based sampling needs continuous sites")
        template[name] = biject_to(site["fn"].support).inv(site["value"])
    if not template:
        raise ValueError("the model has no latent site to sample")
    flat, unravel = ravel_pytree(template)

    def log_density(position: Float[Array, " dim"]) -> Float[Array, ""]:
        return -potential_energy(model, args, kwargs, unravel(position))

    def sites(position: Float[Array, " dim"]) -> dict[str, Array]:
        return constrain_fn(model, args, kwargs, unravel(position), return_deterministic=True)

    def ravel(values: dict[str, Array]) -> Float[Array, " dim"]:
        return ravel_pytree(values)[0]

    return FlatDensity(
        flat.size, log_density, sites, ravel, tuple(template), log_density, lambda position: position
    )
