"""Galaxies to train a flow with: drawn from the prior, observed with every kind of noise that it is to know.

A pair (parameters, photometry) has to be one of the prior times the LIKELIHOOD THAT WILL BE USED. Two things would
spoil that. Errors that are a function of the true flux band by band would tell it: here the depths of the bands
follow other galaxies' spectra, and only their common level is tied to the galaxy, with a distribution that is flat in
its logarithm, so that it says nothing. And a floor is a fraction of the OBSERVED flux: noise is drawn so that the
density of the observed flux is that of the likelihood with such an error (``starling.inference.replicate``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from starling.amortised.features import Seen
from starling.forward import ForwardModel
from starling.inference.coordinates import Coordinates
from starling.inference.replicate import LARGEST_FLOOR, as_observed

_BRIGHT_MAGGIES = 1e-3


@dataclass(frozen=True)
class NoiseRange:
    """What a flow is trained for. Pairs are the ends of ranges that are flat in the logarithm.

    ``depth``: error over flux of a galaxy as a whole; ``floor``: fraction of the flux that adds to it, left out in
    the share
    ``no_floor`` of galaxies; ``missing``: the most bands that are missing at random, as a share, and
    ``missing_instruments`` the same of whole instruments; in the share ``outliers`` of galaxies every twentieth band
    is off by ``outlier_sigma`` errors.
    """

    depth: tuple[float, float] = (0.005, 1.0)
    floor: tuple[float, float] = (0.01, 0.2)
    no_floor: float = 0.2
    missing: float = 0.5
    missing_instruments: float = 0.5
    outliers: float = 0.1
    outlier_sigma: float = 4.0

    def __post_init__(self) -> None:
        for name, limit in (("depth", 10.0), ("floor", LARGEST_FLOOR)):
            low, high = getattr(self, name)
            if not 0.0 < low < high <= limit:
                raise ValueError(f"noise.{name} must ascend between 0 and {limit:g}, got {[low, high]}")
        for name in ("no_floor", "missing", "missing_instruments", "outliers"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"noise.{name} is a share between 0 and 1, got {getattr(self, name)}")

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> Self:
        pairs = {name: tuple(map(float, description[name])) for name in ("depth", "floor")}
        return cls(**{**description, **pairs})


def instruments(bands: Sequence[str]) -> np.ndarray:
    """A number per band: bands of one camera have the same."""
    names = ["_".join(band.split("_")[: max(1, min(2, band.count("_")))]) for band in bands]
    return np.unique(names, return_inverse=True)[1]


class Mock(NamedTuple):
    """Galaxies (leading axis) with what was drawn."""

    v: Float[Array, "galaxy free"]
    theta: Float[Array, "galaxy param"]
    seen: Seen


def draw_mocks(key: Array, n: int, model: ForwardModel, coordinates: Coordinates, noise: NoiseRange) -> Mock:
    """``n`` galaxies from the prior of the space, with noise from ``noise``."""
    keys = jax.random.split(key, 6)
    space = coordinates.space
    theta = jax.vmap(space.from_unit_cube)(jax.random.uniform(keys[0], (n, len(space)), minval=1e-7))
    v = jax.vmap(coordinates.to_flow)(theta)
    true = jax.vmap(model)(theta)
    bright = jnp.full(true.shape[1], _BRIGHT_MAGGIES)
    floor = jnp.hypot(_floors(keys[1], n, true.shape[1], noise), model.flux_error(bright) / bright)
    depth = _depths(keys[2], true, instruments(model.bands), noise)
    flux, error = _observe(keys[3], true, depth, jnp.minimum(floor, LARGEST_FLOOR), noise)
    mask = _masks(keys[4], n, instruments(model.bands), noise)
    fixed = theta[:, np.asarray([space.index(name) for name in coordinates.fixed], int)]
    return Mock(v, theta, Seen(flux, error, mask, fixed))


@partial(jax.jit, static_argnames=("n", "coordinates", "noise"))
def many_mocks(key: Array, n: int, model: ForwardModel, coordinates: Coordinates, noise: NoiseRange) -> Mock:
    """``draw_mocks``, compiled."""
    return draw_mocks(key, n, model, coordinates, noise)


def _log_uniform(key: Array, shape: tuple[int, ...], ends: tuple[float, float]) -> Array:
    low, high = np.log(ends)
    return jnp.exp(jax.random.uniform(key, shape, minval=low, maxval=high))


def _floors(key: Array, n: int, n_bands: int, noise: NoiseRange) -> Float[Array, "galaxy band"]:
    """A fraction of the flux per galaxy; in half of them one that differs from band to band."""
    keys = jax.random.split(key, 5)
    common = _log_uniform(keys[0], (n, 1), noise.floor)
    spread = jnp.where(jax.random.bernoulli(keys[1], 0.5, (n, 1)), jax.random.uniform(keys[2], (n, 1)), 0.0)
    own = common * jnp.exp(spread * jax.random.normal(keys[3], (n, n_bands)))
    return jnp.where(jax.random.bernoulli(keys[4], noise.no_floor, (n, 1)), 0.0, own)


def _depths(
    key: Array, true: Float[Array, "galaxy band"], instrument: np.ndarray, noise: NoiseRange
) -> Float[Array, "galaxy band"]:
    """Errors whose level is a share of the galaxy's overall flux, and whose pattern over bands is none of its own."""
    keys = jax.random.split(key, 6)
    n, n_bands = true.shape
    ln_true = jnp.log(jnp.maximum(true, 1e-30))
    other = jnp.roll(ln_true, 1, axis=0)
    slope = jax.random.uniform(keys[0], (n, 1))
    pattern = slope * jnp.clip(other - jnp.mean(other, axis=1, keepdims=True), -5.0, 5.0)
    cameras = 0.5 * jax.random.normal(keys[1], (n, int(instrument.max()) + 1))
    own = 0.5 * jax.random.uniform(keys[2], (n, 1)) * jax.random.normal(keys[3], (n, n_bands))
    pattern = pattern + cameras[:, instrument] + own
    level = _log_uniform(keys[4], (n, 1), noise.depth)
    centred = pattern - jnp.mean(pattern, axis=1, keepdims=True)
    return level * jnp.exp(jnp.mean(ln_true, axis=1, keepdims=True) + centred)


def _observe(
    key: Array,
    true: Float[Array, "galaxy band"],
    depth: Float[Array, "galaxy band"],
    floor: Float[Array, "galaxy band"],
    noise: NoiseRange,
) -> tuple[Float[Array, "galaxy band"], Float[Array, "galaxy band"]]:
    """Observed flux, some of it struck, and its error."""
    keys = jax.random.split(key, 4)
    flux = as_observed(keys[0], true, depth, floor)
    struck = jax.random.bernoulli(keys[1], noise.outliers, (true.shape[0], 1))
    struck &= jax.random.bernoulli(keys[2], 0.05, true.shape)
    off = noise.outlier_sigma * jnp.hypot(depth, floor * flux) * jax.random.normal(keys[3], true.shape)
    flux = jnp.where(struck, flux + off, flux)
    return flux, jnp.hypot(depth, floor * flux)


def _masks(key: Array, n: int, instrument: np.ndarray, noise: NoiseRange) -> Bool[Array, "galaxy band"]:
    """Which bands there are: some missing at random, some cameras missing altogether; all of them in some galaxies."""
    keys = jax.random.split(key, 4)

    def kept(key_share: Array, key_which: Array, most: float, n_things: int) -> Array:
        share = jnp.maximum(most * jax.random.uniform(key_share, (n, 1), minval=-0.5), 0.0)
        return jax.random.uniform(key_which, (n, n_things)) >= share

    cameras = kept(keys[0], keys[1], noise.missing_instruments, int(instrument.max()) + 1)
    mask = kept(keys[2], keys[3], noise.missing, instrument.size) & cameras[:, instrument]
    enough = jnp.sum(mask, axis=1, keepdims=True) >= min(5, instrument.size)
    return jnp.where(enough, mask, True)
