"""Cost of the likelihood with each kind of the emulator's errors: log density and gradient of one galaxy.

    uv run python benchmarks/model_error.py [--bands N]

Galaxies from the prior with errors of 3%, in a batch. Times are CPU times of the process, the smallest of several
rounds; what is prepared once per galaxy (for the covariance a Cholesky factor and its inverse) is timed apart.
"""

import argparse
import time
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.emulators import load_default
from starling.forward import ForwardModel
from starling.inference import ModelError, Noise, Observation, galaxy_model, observe
from starling.inference.density import flat_density
from starling.inference.noise import prepare_all

BATCH, ROUNDS, CALLS = 64, 5, 5


@jax.jit
def slope(model: ForwardModel, observations: Observation, noise: Noise, x: Array) -> tuple[Array, Array]:
    """Log density and gradient of every galaxy."""

    def one(observation: Observation, noise: Noise, x: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(flat_density(galaxy_model, observation, model, noise=noise).log_density)(x)

    return jax.vmap(one)(observations, noise, x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bands", type=int, default=24, help="this many bands, spread over all")
    n_bands = parser.parse_args().bands
    whole = load_default()
    model = whole.select([whole.bands[i] for i in np.linspace(0, len(whole.bands) - 1, n_bands).astype(int)])
    theta = model.space.sample(jax.random.key(1), (BATCH,))
    flux = np.asarray(jax.jit(lambda m, t: jax.vmap(m)(t))(model, theta))
    observations = observe(
        flux, 0.03 * np.abs(flux) + 1e-12, fixed={"zred": theta[:, model.space.index("zred")]}
    )
    x = 0.5 * jax.random.normal(jax.random.key(2), (BATCH, len(model.space) - 1))
    kinds: tuple[ModelError, ...] = get_args(ModelError)
    noises, times = {}, {kind: [np.inf, np.inf] for kind in kinds}
    for kind in kinds:
        noises[kind] = jax.block_until_ready(prepare_all(observations, model, 0.0, kind))
        assert bool(jnp.all(jnp.isfinite(slope(model, observations, noises[kind], x)[1])))
    for _ in range(ROUNDS):
        for kind in kinds:
            started = time.process_time()
            jax.block_until_ready(prepare_all(observations, model, 0.0, kind))
            prepared = time.process_time()
            for _ in range(CALLS):
                jax.block_until_ready(slope(model, observations, noises[kind], x))
            spent = (prepared - started, (time.process_time() - prepared) / CALLS)
            times[kind] = [min(pair) for pair in zip(times[kind], spent, strict=True)]
    print(f"{n_bands} bands, batch of {BATCH}, microseconds of CPU per galaxy")
    for kind, (once, each) in times.items():
        ratio = each / times["band"][1]
        print(
            f"{kind:<11} prepared once {1e6 * once / BATCH:7.1f}   density and gradient {1e6 * each / BATCH:7.1f}"
            f"   ratio to band {ratio:.3f}"
        )


if __name__ == "__main__":
    main()
