"""From a NumPyro model to what nested sampling wants: a log likelihood over the unit cube of all its latent sites."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from starling.inference.density import Model


class CubeDensity(NamedTuple):
    """A NumPyro model, conditioned on its arguments, where the prior of all its latent sites is uniform."""

    size: int
    log_likelihood: Callable[[Float[Array, " dim"]], Float[Array, ""]]  # -inf where it is not a number
    sites: Callable[[Float[Array, " dim"]], dict[str, Array]]  # latent and deterministic sites
    latent: tuple[str, ...]


def cube_density(model: Model, *args: Any, **kwargs: Any) -> CubeDensity:
    """The log likelihood of ``model(*args, **kwargs)`` over the unit cube: each site is its quantile function of u.

    The sites are replaced in the order in which the model draws them, so that priors may depend on earlier sites. In
    the models of this package the one latent site is normal in prior-whitened coordinates, and the map is that of
    ``ParameterSpace.from_unit_cube``. Raises ValueError for a model without a latent site, with a discrete one, or with
    one that has no quantile function.
    """
    trace = numpyro.handlers.trace(numpyro.handlers.seed(model, jax.random.key(0))).get_trace(*args, **kwargs)
    shapes = {name: jnp.shape(site["value"]) for name, site in trace.items() if _latent(site)}
    if not shapes:
        raise ValueError("the model has no latent site to sample")
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    starts = dict(zip(shapes, ends - [int(np.prod(shape)) for shape in shapes.values()], strict=True))

    def run(u: Float[Array, " dim"]) -> dict[str, Any]:
        info = jnp.finfo(u.dtype)
        inside = jnp.clip(u, info.tiny, 1.0 - info.epsneg)

        def value(site: dict[str, Any]) -> Array | None:
            if not _latent(site):
                return None
            first, shape = int(starts[site["name"]]), shapes[site["name"]]
            piece = inside[first : first + int(np.prod(shape))].reshape(shape)
            return _quantile(site["name"], site["fn"], piece)

        filled = numpyro.handlers.substitute(model, substitute_fn=value)
        found: dict[str, Any] = numpyro.handlers.trace(filled).get_trace(*args, **kwargs)
        return found

    def log_likelihood(u: Float[Array, " dim"]) -> Float[Array, ""]:
        observed = [s for s in run(u).values() if s["type"] == "sample" and s["is_observed"]]
        terms = [jnp.sum(_scaled(site, site["fn"].log_prob(site["value"]))) for site in observed]
        total = jnp.sum(jnp.stack(terms)) if terms else jnp.zeros((), u.dtype)
        return jnp.where(jnp.isnan(total), -jnp.inf, total)

    def sites(u: Float[Array, " dim"]) -> dict[str, Array]:
        kept = {n: s for n, s in run(u).items() if _latent(s) or s["type"] == "deterministic"}
        return {name: jnp.asarray(site["value"]) for name, site in kept.items()}

    partial(jax.eval_shape, sites)(
        jax.ShapeDtypeStruct((int(ends[-1]),), jnp.float32)
    )  # errors now, not later
    return CubeDensity(int(ends[-1]), log_likelihood, sites, tuple(shapes))


def _latent(site: dict[str, Any]) -> bool:
    return site["type"] == "sample" and not site["is_observed"]


def _scaled(site: dict[str, Any], log_prob: Array) -> Array:
    return log_prob if site["scale"] is None else site["scale"] * log_prob


def _quantile(name: str, distribution: Any, u: Array) -> Array:
    """Quantiles of independent variables; ValueError where the distribution has no such function."""
    if distribution.support.is_discrete:
        raise ValueError(f"site {name!r} is discrete: nested sampling needs continuous sites")
    while isinstance(distribution, dist.Independent | dist.ExpandedDistribution):
        distribution = distribution.base_dist
    try:
        return distribution.icdf(u)
    except (NotImplementedError, ImportError) as error:
        raise ValueError(
            f"site {name!r}: {type(distribution).__name__} has no quantile function; write it as a function of "
            "a Normal or Uniform site"
        ) from error
