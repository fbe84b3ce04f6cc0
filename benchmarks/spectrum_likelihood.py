"""Cost of the likelihood of a spectrum and of its gradient, per galaxy and core, in a batch.

    uv run python benchmarks/spectrum_likelihood.py
    uv run python benchmarks/spectrum_likelihood.py --model spectra_prospector_alpha --galaxies 32

4000 pixels from 365 to 950 nm, R from 2000 to 5500, as DESI has them; the emulators in the package, in float32. Times
are of the processor (all threads, of which there is one), medians over rounds, in microseconds per galaxy; value, and
value with the gradient in all parameters. What is measured, from top to bottom: the emulator alone; redshift,
smoothing and pixels alone; the likelihood with what is named.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from starling.emulators.spectra import load_spectrum_emulator, shipped
from starling.spectroscopy import (
    BC03_MILES,
    GalaxyModel,
    SpectrumModel,
    SpectrumObservation,
    SpectrumSettings,
    galaxy_of,
    observe_spectrum,
    spectrum_model,
)

SETTINGS = {
    "Gaussian": SpectrumSettings(),
    "+ calibration of degree 8 integrated out": SpectrumSettings(calibration="marginalise"),
    "+ and 14 lines": SpectrumSettings(calibration="marginalise", lines="marginalise"),
    "outliers, calibration sampled": SpectrumSettings(calibration="sample", f_outlier_spec=0.01),
}
ZRED = (0.09, 0.11)


def made_up(n_pixels: int) -> SpectrumObservation:
    wave = np.linspace(3650.0, 9500.0, n_pixels)
    power = np.interp(wave, [3600.0, 9800.0], [2000.0, 5500.0])
    one, unit = np.ones(n_pixels), "1e-17 erg / (s cm2 Angstrom)"
    return observe_spectrum(wave, 10.0 * one, 3.0 * one, zred=0.1, resolution=power, flux_unit=unit)


def seconds(compute: Callable[..., Any], arguments: tuple[Any, ...], rounds: int) -> float:
    jax.block_until_ready(compute(*arguments))
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        jax.block_until_ready(compute(*arguments))
        taken.append(time.process_time() - start)
    return float(np.median(taken))


def rest_frame(theta: jax.Array, model: SpectrumModel) -> jax.Array:
    light, lines = model.rest.parts(theta)
    return jnp.sum((1e3 * light) ** 2) + jnp.sum(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="spectra_desi")
    parser.add_argument("--galaxies", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    observation = made_up(asked.pixels)
    emulator = load_spectrum_emulator(shipped(asked.model))
    model = spectrum_model(emulator, observation, BC03_MILES, zred=ZRED)
    kernel = model.kernel(observation)
    print(
        f"{asked.model}: {model.rest.wave_aa.size} rest-frame pixels, {model.n_periodic} even ones, "
        f"{len(model.nodes.extra)} widths of the kernel, {model.log_line.size} lines; {asked.pixels} pixels"
    )
    space = galaxy_of(model, SpectrumSettings()).space
    theta = space.sample(jax.random.key(0), (asked.galaxies,))
    own = theta[:, : len(model.space)]
    light = jax.vmap(lambda t: model.rest.parts(t)[0])(own)

    def seen(arguments: tuple[jax.Array, jax.Array, jax.Array], model: SpectrumModel) -> jax.Array:
        return jnp.sum((1e3 * model.continuum(*arguments, kernel)) ** 2)

    columns = [theta[:, space.index(name)] for name in ("zred", "sigma_smooth")]
    jobs: dict[str, tuple[Callable[..., Any], Any, Any]] = {
        "emulator": (rest_frame, own, model),
        "redshift, smoothing, pixels": (seen, (light, *columns), model),
    }
    for name, settings in SETTINGS.items():
        galaxy = galaxy_of(model, settings)
        data = galaxy.prepare(observation)

        def density(x: jax.Array, galaxy: GalaxyModel, data: Any = data) -> jax.Array:
            return galaxy.log_likelihood(galaxy.space.constrain(x), data)

        # about the middle of the prior
        x = 0.5 * jax.random.normal(jax.random.key(1), (asked.galaxies, len(galaxy.space)))
        jobs[name] = (density, x, galaxy)
    print(f"microseconds per galaxy and core, batch of {asked.galaxies}, median of {asked.rounds}")
    print(f"{'':44s} {'value':>8s} {'value and gradient':>20s}")
    for name, (function, points, static) in jobs.items():
        value = jax.jit(jax.vmap(function, in_axes=(0, None)))
        gradient = jax.jit(jax.vmap(jax.value_and_grad(function), in_axes=(0, None)))
        times = [
            1e6 * seconds(compute, (points, static), asked.rounds) / asked.galaxies
            for compute in (value, gradient)
        ]
        print(f"{name:44s} {times[0]:8.0f} {times[1]:20.0f}", flush=True)


if __name__ == "__main__":
    main()
