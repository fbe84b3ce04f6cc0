"""What emulators cost: microseconds per galaxy on one core, of values and of values with gradients.

    python -m starling.validation.cost BATCH ROUNDS FILE ...

measures emulator files side by side and writes the costs as JSON; ``measure_files`` runs it in a process of its own,
which keeps to one core from its start.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.emulators import PhotometryEmulator, load_emulator

ONE_CORE = "--xla_cpu_multi_thread_eigen=false"
_SCALE = 1e9  # a bright galaxy's flux becomes a number near 1


class Cost(NamedTuple):
    """Medians over rounds, microseconds per galaxy: CPU time, and the time on the clock (more on a busy machine)."""

    value_us: float
    gradient_us: float
    value_clock_us: float
    gradient_clock_us: float


@jax.jit
def values(model: PhotometryEmulator, theta: Float[Array, "galaxy param"]) -> Float[Array, "galaxy band"]:
    """Fluxes of many galaxies."""
    fluxes: Float[Array, "galaxy band"] = jax.vmap(model)(theta)
    return fluxes


@jax.jit
def values_and_gradients(
    model: PhotometryEmulator, theta: Float[Array, "galaxy param"]
) -> tuple[Float[Array, " galaxy"], Float[Array, "galaxy param"]]:
    """A sum of squares of the fluxes of every galaxy, and its gradient in all parameters."""

    def misfit(theta: Array) -> Array:
        return jnp.sum((model(theta) * _SCALE) ** 2)

    found, gradients = jax.vmap(jax.value_and_grad(misfit))(theta)
    return found, gradients


def measure(models: Mapping[str, PhotometryEmulator], batch: int, rounds: int) -> dict[str, Cost]:
    """Costs of models, in rounds that take every model in turn, after one that compiles."""
    compute: tuple[Callable[..., Any], ...] = (values, values_and_gradients)
    taken: dict[str, list[list[float]]] = {name: [] for name in models}
    for warm in (True, *[False] * rounds):
        for name, model in models.items():
            theta = model.space.sample(jax.random.key(0), (batch,))
            jax.block_until_ready(theta)
            times = []
            for function in compute:
                clock, cpu = time.perf_counter(), time.process_time()
                jax.block_until_ready(function(model, theta))
                times += [time.process_time() - cpu, time.perf_counter() - clock]
            if not warm:
                taken[name].append(times)
    costs = {}
    for name, rows in taken.items():
        value, value_clock, gradient, gradient_clock = 1e6 * np.median(rows, axis=0) / batch
        costs[name] = Cost(*map(float, (value, gradient, value_clock, gradient_clock)))
    return costs


def measure_files(files: Mapping[str, Path], batch: int, rounds: int) -> dict[str, Cost]:
    """Costs of emulator files, measured on one core in another process; RuntimeError where that fails."""
    command = [sys.executable, "-m", "starling.validation.cost", str(batch), str(rounds)]
    flags = f"{os.environ.get('XLA_FLAGS', '')} {ONE_CORE}".strip()
    finished = subprocess.run(
        [*command, *map(str, files.values())],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        last = finished.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"measuring the costs failed ({finished.returncode}): {last[0]}")
    rows = json.loads(finished.stdout)
    return {name: Cost(**row) for name, row in zip(files, rows, strict=True)}


def _keep_to_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def main(words: Sequence[str]) -> None:
    """Measure the files of a command line."""
    _keep_to_one_core()
    batch, rounds, *files = words
    costs = measure({name: load_emulator(name) for name in files}, int(batch), int(rounds))
    sys.stdout.write(json.dumps([costs[name]._asdict() for name in files]))


if __name__ == "__main__":
    main(sys.argv[1:])
