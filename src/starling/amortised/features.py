"""What a flow is told of a galaxy: colours, errors, which bands there are, the overall flux, and what is known.

The errors are those of the likelihood (observed error, floor and model error together), so one flow serves any floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

_HARMONICS = 6
_FAR = 12.0  # e-folds from the overall flux beyond which a colour says no more
_WIDEST = 8.0  # a standardised feature is cut here: what is farther out is as unusual as can be


class Seen(NamedTuple):
    """Photometry of one galaxy as the likelihood has it: flux and total error, maggies."""

    flux: Float[Array, " band"]
    error: Float[Array, " band"]
    mask: Bool[Array, " band"]
    fixed: Float[Array, " known"]


def overall_flux(
    flux: Float[Array, " band"], error: Float[Array, " band"], mask: Bool[Array, " band"]
) -> Array:
    """Geometric mean over bands of flux and error in quadrature, ln maggies: no single band moves it far."""
    size = jnp.log(jnp.hypot(jnp.where(mask, flux, 1.0), jnp.where(mask, error, 1.0)))
    return jnp.sum(jnp.where(mask, size, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def relative_error(flux: Float[Array, " band"], error: Float[Array, " band"]) -> Float[Array, " band"]:
    """ln of the error over flux and error in quadrature: 0 where nothing is seen."""
    return jnp.log(error / jnp.hypot(flux, error))


def n_features(n_bands: int, n_fixed: int) -> int:
    """Length of ``raw_features``."""
    return 3 * n_bands + 2 + n_fixed * (1 + 2 * _HARMONICS)


def raw_features(
    seen: Seen, low: Float[Array, " known"], high: Float[Array, " known"]
) -> Float[Array, " feature"]:
    """Features of ONE galaxy; zeros in bands that are not used. ``low`` and ``high`` are the ends of what is known."""
    flux, error = jnp.where(seen.mask, seen.flux, 1.0), jnp.where(seen.mask, seen.error, 1.0)
    overall = overall_flux(flux, error, seen.mask)
    # ln(flux / overall) where the flux is many errors, and linear in flux / error where it is not
    colour = jnp.clip(jnp.arcsinh(flux / (2.0 * error)) + jnp.log(error) - overall, -_FAR, _FAR)
    signal = jnp.arcsinh(flux / (2.0 * error))
    per_band = jnp.stack([colour, signal, jnp.ones_like(flux)])
    share = (seen.fixed - low) / (high - low)
    wave = jnp.pi * share[:, None] * jnp.arange(1, _HARMONICS + 1)
    known = [share, jnp.cos(wave).ravel(), jnp.sin(wave).ravel()]
    used = jnp.mean(seen.mask.astype(flux.dtype))
    return jnp.concatenate([jnp.where(seen.mask, per_band, 0.0).ravel(), overall[None], used[None], *known])


@dataclass(frozen=True)
class Ends:
    """Ends of the parameters that are known, in the order of ``Seen.fixed``."""

    low: tuple[float, ...]
    high: tuple[float, ...]


def ends_of(bounds: tuple[np.ndarray, np.ndarray], columns: Sequence[int]) -> Ends:
    """From the bounds of a space."""
    low, high = bounds
    return Ends(tuple(float(low[i]) for i in columns), tuple(float(high[i]) for i in columns))


def standardise(
    raw: Float[Array, " feature"],
    mask: Bool[Array, " band"],
    shift: Float[Array, " feature"],
    scale: Float[Array, " feature"],
) -> Float[Array, " feature"]:
    """Mean 0 and deviation 1 over the galaxies that have a band; 0 where a band is not used."""
    n = mask.shape[0]
    present = jnp.concatenate([mask, mask, jnp.ones(raw.shape[0] - 2 * n, bool)])
    return jnp.where(present, jnp.clip((raw - shift) / scale, -_WIDEST, _WIDEST), 0.0)
