"""Cost of one spectrum: the emulators in the package against the exact models that they imitate.

    uv run --extra bagpipes python benchmarks/spectrum.py

Values, and values with the gradient of a sum of squares in all parameters, in batches of 100, on one core, in float32.
Rounds alternate; the figures are medians over rounds. The exact Prospector-alpha is without the AGN torus, which needs
an FSPS data directory.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from starling.components import mixture_of, terms
from starling.emulators.spectra import SpectrumEmulator, load_spectrum_emulator, shipped
from starling.spaces import prospector_alpha
from starling.sps import ExactModel, exact_model, load_tables, make_pixels
from starling.sps.histories import HistoryModel, history_model

BATCH, ROUNDS = 100, 9
DESI_SEGMENTS = ((2000.0, 1e-3), (3500.0, 2.5e-4), (7500.0, 1e-3))


def exact_prospector(model: ExactModel, theta: jax.Array) -> jax.Array:
    return model.spectrum(theta).total


def exact_desi(model: HistoryModel, theta: jax.Array) -> jax.Array:
    parts = model.component_spectra(theta)
    return jnp.sum(terms(parts, mixture_of(model.space, theta), jnp.zeros(parts.dust.shape)), axis=0)


def main() -> None:
    tables = load_tables()
    space = prospector_alpha(agn=False, zred=(0.001, 2.5))
    models: dict[str, tuple[Any, Callable[..., jax.Array]]] = {}
    for name in ("spectra_desi", "spectra_prospector_alpha"):
        emulator = load_spectrum_emulator(shipped(name))
        models[name] = (emulator, SpectrumEmulator.__call__)
    optical = models["spectra_prospector_alpha"][0].cut(3600.0, 9800.0)
    models["the same, 360-980 nm"] = (optical, SpectrumEmulator.__call__)
    desi = history_model(tables.ssp, make_pixels(DESI_SEGMENTS, 1e4))
    models["exact DESI model"] = (desi, exact_desi)
    exact = exact_model(tables, ("sdss_g0",), space)
    models["exact Prospector-alpha"] = (exact, exact_prospector)

    def misfit(function: Callable[..., jax.Array]) -> Callable[..., tuple[jax.Array, jax.Array]]:
        return jax.value_and_grad(lambda theta, model: jnp.sum((function(model, theta) * 1e3) ** 2))

    taken: dict[tuple[str, str], list[float]] = {}
    jobs = {}
    for name, (model, function) in models.items():
        theta = model.space.sample(jax.random.key(0), (BATCH,))
        value = jax.jit(jax.vmap(function, in_axes=(None, 0)))
        gradient = jax.jit(jax.vmap(misfit(function), in_axes=(0, None)))
        jobs[name, "value"] = (value, (model, theta))
        jobs[name, "gradient"] = (gradient, (theta, model))
        n_pixels = value(model, theta).shape[1]
        print(f"{name}: {n_pixels} pixels")
    for warm in (True, *[False] * ROUNDS):
        for key, (compute, arguments) in jobs.items():
            start = time.perf_counter()
            jax.block_until_ready(compute(*arguments))
            if not warm:
                taken.setdefault(key, []).append((time.perf_counter() - start) / BATCH)
    print(f"microseconds per spectrum on one core, batch of {BATCH}, median of {ROUNDS}")
    print(f"{'model':26s} {'value':>8s} {'value and gradient':>20s}")
    for name in models:
        times = [1e6 * float(np.median(taken[name, kind])) for kind in ("value", "gradient")]
        print(f"{name:26s} {times[0]:8.0f} {times[1]:20.0f}")


if __name__ == "__main__":
    main()
