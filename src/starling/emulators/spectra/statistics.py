"""Errors of emulated spectra against exact ones, as fractions of the exact spectrum."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling.components import Components
from starling.emulators.spectra.model import FAINTEST, SpectrumEmulator, whole

LEVELS = (0.68, 0.95, 0.99, 0.999)
BAR = 0.01
BATCH = 256  # spectra compared at a time


def spectrum_errors(
    emulator: SpectrumEmulator,
    batches: Iterable[tuple[Float[Array, "row param"], Components]],
    line_pixels: Float[Any, "line pixel"],
) -> Float[np.ndarray, "row pixel"]:
    """Emulated minus exact over exact, of whole spectra with their lines, for galaxies and their components.

    ``line_pixels`` puts the simulator's lines, of 1 Lsun each, into pixels.
    What it is a fraction of is at least ``FAINTEST`` of the peak of the spectrum (of lambda L_lambda).
    """
    wave, exact_lines = emulator.wave_aa, jnp.asarray(line_pixels, jnp.float32)

    @jax.jit
    def compare(emulator: SpectrumEmulator, theta: Array, parts: Components) -> Array:
        def one(theta: Array, parts: Components) -> Array:
            exact = whole(emulator.space, theta, parts, exact_lines)
            faint = FAINTEST * jnp.max(exact * wave) / wave
            return (emulator(theta) - exact) / (exact + faint)

        return jax.vmap(one)(theta, parts)

    return np.concatenate([compare(emulator, *batch) for batch in batches])


def spectrum_statistics(
    errors: Float[np.ndarray, "row pixel"], wave_aa: Float[np.ndarray, " pixel"]
) -> tuple[dict[str, Any], Float[np.ndarray, "level pixel"]]:
    """What a header says of errors, and the quantiles ``LEVELS`` of the absolute error in every pixel.

    ``mean`` is of the absolute error over the pixels of a spectrum; ``below`` the share of spectra whose mean error is
    below ``BAR``, and ``worst_999`` the largest over the pixels of the quantile 0.999: of all pixels, and of those
    redward of 2000 Angstrom.
    """
    kept = errors[np.isfinite(errors).all(axis=1)]
    size = np.abs(kept)
    quantiles = np.quantile(size, LEVELS, axis=0).astype(np.float32)
    result: dict[str, Any] = {"n": len(kept), "n_failed": len(errors) - len(kept), "levels": list(LEVELS)}
    for name, pixels in {"all": wave_aa > 0.0, "above_2000": wave_aa >= 2000.0}.items():
        mean = size[:, pixels].mean(axis=1)
        result[name] = {
            "mean": [float(q) for q in np.quantile(mean, LEVELS)],
            "below": float(np.mean(mean < BAR)),
            "worst_999": float(quantiles[-1, pixels].max()),
            "worst_999_aa": float(wave_aa[pixels][quantiles[-1, pixels].argmax()]),
        }
    return result, quantiles
