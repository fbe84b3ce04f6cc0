"""Simulated galaxies for simulation-based calibration: drawn from the prior, observed as a catalogue's galaxies are.

Calibration holds over galaxies drawn from the prior and data drawn from the likelihood (Cook, Gelman & Rubin 2006;
Talts et al. 2018, arXiv:1804.06788), and over any of them that are chosen by their DATA, since the choice says no more
about the parameters than the data do. The prior's galaxies are mostly fainter or brighter than those of a catalogue. So
each simulated galaxy takes the errors, bands and known parameters of one of the catalogue's, several points of the
prior are observed in that way, and the one whose data are closest in brightness stays.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.forward import ForwardModel
from starling.inference.error_model import ErrorModel
from starling.inference.observation import Observation, take
from starling.inference.replicate import LARGEST_FLOOR, as_observed
from starling.inference.settings import SamplerSettings
from starling.inference.zero_points import gain, zero_points_of

CANDIDATES = 64
_BRIGHT_MAGGIES = 1e-3  # where a model's error is a fraction of the flux
_TOGETHER = 16  # galaxies, with all their candidates


class Replicas(NamedTuple):
    """``theta``: true parameters; ``like``: the row of the catalogue that each galaxy is observed as."""

    observations: Observation
    theta: Float[np.ndarray, "galaxy param"]
    like: Int[np.ndarray, " galaxy"]


def draw_replicas(
    seed: int,
    n: int,
    observations: Observation,
    forward_model: ForwardModel,
    settings: SamplerSettings,
    *,
    exact: bool = False,
    candidates: int = CANDIDATES,
) -> Replicas:
    """``n`` galaxies of ``forward_model`` with noise as the likelihood of ``settings`` has it.

    Rows of the catalogue are taken in a random order, again and again where it has fewer than ``n``. The model's own
    error is part of the noise unless it is ``exact``. Upper limits become bands that were not observed. Raises
    ValueError for a likelihood that the data cannot be drawn from.
    """
    errors = settings.errors
    if errors.robust:
        raise ValueError(
            f"data cannot be simulated for likelihood: {errors.likelihood} (with a floor it is no distribution of "
            "data): calibrate with likelihood: gaussian"
        )
    if settings.model_error not in ("band", "none"):
        raise ValueError(
            f"data cannot be simulated for model_error: {settings.model_error}: calibrate with band or none"
        )
    rng = np.random.default_rng(seed)
    size = len(observations.flux)
    like = np.concatenate([rng.permutation(size) for _ in range(-(-n // size))])[:n]
    keys = jax.random.split(jax.random.key(seed), n)
    own = not exact and settings.model_error == "band"
    floors = _floors(settings, forward_model.bands)
    pieces = []
    for first in range(0, n, _TOGETHER):
        # the last piece is filled up, so that nothing compiles again
        rows = np.minimum(np.arange(first, first + _TOGETHER), n - 1)
        found = _some(
            keys[rows],
            take(observations, like[rows]),
            forward_model,
            floors,
            own=own,
            errors=errors,
            candidates=candidates,
        )
        pieces.append(jax.tree.map(lambda leaf, stop=n - first: np.asarray(leaf)[:stop], found))
    theta, flux = (np.concatenate(leaves) for leaves in zip(*pieces, strict=True))
    known = take(observations, like)
    mask = known.mask & ~known.upper_limit
    seen = known._replace(
        flux=jnp.where(mask, flux, jnp.nan), mask=mask, upper_limit=jnp.zeros_like(known.upper_limit)
    )
    return Replicas(seen, theta, like)


def _floors(settings: SamplerSettings, bands: tuple[str, ...]) -> Float[Array, " band"]:
    own = [settings.errors.floor_of(band) for band in bands]
    return jnp.asarray([settings.error_floor if floor is None else floor for floor in own])


@partial(jax.jit, static_argnames=("own", "errors", "candidates"))
def _some(
    keys: Array,
    observations: Observation,
    model: ForwardModel,
    floors: Float[Array, " band"],
    *,
    own: bool,
    errors: ErrorModel,
    candidates: int,
) -> tuple[Float[Array, "galaxy param"], Float[Array, "galaxy band"]]:
    """True parameters and data of one simulated galaxy for each of these."""
    bright = jnp.full(len(model.bands), _BRIGHT_MAGGIES)
    fraction = model.flux_error(bright) / bright if own else jnp.zeros_like(bright)
    faintest = model.flux_error(jnp.zeros_like(bright)) if own else jnp.zeros_like(bright)
    floors = jnp.minimum(jnp.hypot(floors, fraction), LARGEST_FLOOR)

    def one(key: Array, observation: Observation) -> tuple[Array, Array]:
        keys = jax.random.split(key, 3)
        free = model.space.free(tuple(observation.fixed))
        cube = jax.random.uniform(keys[0], (candidates, len(free)), minval=1e-7)
        theta = jax.vmap(lambda u: model.space.from_unit_cube(u, observation.fixed))(cube)
        true = jax.vmap(model)(theta)
        if errors.zero_points:
            zero = zero_points_of(errors, model.bands)
            score = jax.random.normal(keys[2], (candidates, zero.sigma.size))
            true = true * jax.vmap(partial(gain, zero))(score)
        used = observation.mask & ~observation.upper_limit
        depth = jnp.where(used, observation.flux_err, 1.0)
        flux = as_observed(keys[1], true, jnp.hypot(depth, faintest), floors)

        def brightness(flux: Array) -> Array:
            return jnp.nanmedian(jnp.where(used, jnp.arcsinh(flux / depth), jnp.nan), axis=-1)

        wanted = brightness(jnp.where(used, observation.flux, 0.0))
        best = jnp.argmin(jnp.abs(brightness(flux) - wanted))
        return theta[best], flux[best]

    return jax.vmap(one)(keys, observations)
