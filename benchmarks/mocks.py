"""Mocks of the benchmarks: fluxes of an emulator at draws of its prior, S/N and missing bands as described in them."""

import jax
import jax.numpy as jnp
import numpy as np

from starling.emulators import PhotometryEmulator
from starling.inference import Observation, observe

FLOOR = 0.0


def mocks(
    emulator: PhotometryEmulator,
    n: int,
    seed: int,
    snr: tuple[float, float],
    fixed: tuple[str, ...] = ("zred",),
) -> tuple[Observation, np.ndarray]:
    """Observations and true parameters."""
    generator = np.random.default_rng(seed)
    theta = emulator.space.sample(jax.random.key(seed), (n,))
    flux = np.asarray(jax.jit(jax.vmap(emulator))(theta), float)
    error = flux / np.exp(generator.uniform(*np.log(snr), flux.shape))
    own = np.asarray(jax.jit(jax.vmap(emulator.flux_error))(jnp.asarray(flux, jnp.float32)), float)
    observed = flux + np.hypot(error, own) * generator.normal(size=flux.shape)
    used = generator.integers(min(25, flux.shape[1]), flux.shape[1] + 1, n)
    mask = np.argsort(np.argsort(generator.uniform(size=flux.shape), axis=1), axis=1) < used[:, None]
    known = {name: np.asarray(theta)[:, emulator.space.index(name)] for name in fixed}
    return observe(observed, error, mask=mask, fixed=known), np.asarray(theta)
