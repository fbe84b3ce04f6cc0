"""Fits on as many devices as XLA_FLAGS forces, in a process of its own: draws into a file, what it compiled as JSON."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from toy_flows import BANDS, EVERYTHING, NEVER, linear_data, toy_config

from starling.amortised import Archive, LatentChains, Stage, amortised_posterior, settle
from starling.amortised.training import start_proposal
from starling.inference import Observation, SamplerSettings, fit, take
from tests.inference.conftest import SCALE, LinearModel, linear_space

N = 11  # galaxies: a multiple of neither 2 nor 8
SHORT = SamplerSettings(
    n_chains=2,
    n_warmup=2,
    n_draws=4,
    chunk=2,
    mean_steps=3.0,
    n_descents=2,
    descent_steps=3,
    error_floor=0.0,
    model_error="none",
)
BRIEF = replace(
    NEVER,
    stages=(Stage(2, 250),),
    n_chains=2,
    n_draws=8,
    chains=LatentChains(n_warmup=4, chunk=4, patience=1, mean_steps=3.0),
)
EACH = 2  # galaxies on a device at once


@contextmanager
def compiled() -> Iterator[list[str]]:
    """The names of what is compiled meanwhile."""
    names: list[str] = []

    def heard(event: str, seconds: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)


def linear_model() -> LinearModel:
    matrix = SCALE * np.random.default_rng(3).normal(size=(len(BANDS), 4))
    return LinearModel(
        jnp.asarray(matrix, jnp.float32), jnp.full(len(BANDS), 10 * SCALE), linear_space(), BANDS
    )


def asks_python(x: jax.Array) -> jax.Array:
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def main(out: Path, devices: int) -> None:
    """Every engine twice: for some galaxies, and for others."""
    assert jax.device_count() == devices, jax.devices()
    model, key = linear_model(), jax.random.key(2)
    first, second = linear_data(model, N), linear_data(model, N, seed=2)
    proposal = start_proposal(toy_config(), model)
    plain, latent = (replace(one, batch_size=EACH * devices) for one in (SHORT, BRIEF))
    never = replace(BRIEF, chains=None)

    def by_fit(some: Observation) -> dict[str, Any]:
        found = fit(key, some, model, settings=plain)
        return {"fit": found.theta, "fit_step": found.step_size}

    def by_flow(some: Observation) -> dict[str, Any]:
        found = amortised_posterior(key, some, model, proposal, EVERYTHING, latent)
        return {"evidence": found.log_evidence, "k_hat": found.k_hat, "latent": found.draws.theta}

    def settled(some: Observation) -> dict[str, Any]:
        found = settle(key, some, model, Archive(proposal, EVERYTHING, {}), plain, never)
        return {"settled": found.draws.theta, "settled_k_hat": found.diagnostics.weights.k_hat}

    found: dict[str, Any] = {}
    told: dict[str, list[str]] = {}
    for engine in (by_fit, by_flow, settled):
        found |= engine(first)
        with compiled() as names:
            engine(second)
        told[engine.__name__] = names
    if devices > N // 2:  # one galaxy needs one device
        found["alone"] = by_fit(take(first, [0]))["fit"]
    if devices == EACH:  # what a test that looks for such things has to find
        jax.jit(asks_python)(jnp.zeros(3))
    np.savez(out, **found)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
