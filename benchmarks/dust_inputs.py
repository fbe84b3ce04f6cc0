"""Dust that absorbs its own light (tables of FSPS): what a network of its emission errs by that is told of the dust.

    uv run python benchmarks/dust_inputs.py TABLES [N]

TABLES is a file of `starling ssp export`. Two networks as in ``configs/train_fsps_tables.yaml`` (48 units, 3 layers,
Adam) for the spectrum of the dust per Lsun absorbed, in 6 bands: with dust2 and dust_index among the inputs, and
without. N galaxies (default 8192) from the prior, 8000 batches of 1024; errors of whole galaxies, all else exact, on
N / 2 others.
"""

import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from starling.components import Components, mixture_of, terms
from starling.emulators.config import MixtureConfig, NetworkConfig, load_config
from starling.emulators.features import fit_features
from starling.emulators.networks import Network
from starling.photometry import POGSON
from starling.spaces import prospector_alpha
from starling.sps import ExactModel, exact_model, load_ssp_tables

CONFIG = Path(__file__).parents[1] / "configs" / "train_fsps_tables.yaml"
BANDS = (
    "spitzer_irac_ch1",
    "jwst_f444w",
    "spitzer_irac_ch4",
    "jwst_f770w",
    "spitzer_mips_24",
    "herschel_pacs_100",
)
SPACE = prospector_alpha(zred=(0.5, 3.0))
STEPS, BATCH, WIDTH = 8000, 1024, 48
FAINTEST = 1e-14  # maggies at 10 pc per Lsun; what is below is no light


def network_configs() -> dict[str, NetworkConfig]:
    """The network of dust of the configuration, and the same without what it is told of the dust."""
    mixture = load_config(CONFIG).network
    assert isinstance(mixture, MixtureConfig)
    whole = mixture.dust.model_copy(update={"width": WIDTH})
    kept = tuple(name for name in whole.features.parameters or () if name not in ("dust2", "dust_index"))
    features = whole.features.model_copy(update={"parameters": kept, "products": ()})
    return {"with": whole, "without": whole.model_copy(update={"features": features})}


def train(config: NetworkConfig, theta: Array, logs: Array) -> tuple[Network, object]:
    """A network of standardised logarithms, and its features."""
    features = fit_features(config.features.build(), SPACE, theta)
    inputs = jax.lax.map(features, theta, batch_size=4096)
    graph, weights = nnx.split(Network(config.shape(features, logs.shape[1]), rngs=nnx.Rngs(1)))
    optimizer = optax.adam(optax.cosine_decay_schedule(6e-3, STEPS))

    def loss(weights: nnx.State, rows: Array) -> Array:
        return jnp.mean((nnx.merge(graph, weights)(inputs[rows]) - logs[rows]) ** 2)

    @jax.jit
    def step(carry: tuple, key: Array) -> tuple:
        weights, state = carry
        change, state = optimizer.update(
            jax.grad(loss)(weights, jax.random.randint(key, (BATCH,), 0, len(theta))), state, weights
        )
        return optax.apply_updates(weights, change), state

    carry = weights, optimizer.init(weights)
    for key in jax.random.split(jax.random.key(0), STEPS):
        carry = step(carry, key)
    return nnx.merge(graph, carry[0]), features


def simulate(model: ExactModel, n: int, seed: int) -> tuple[Array, Components]:
    theta = SPACE.sample(jax.random.key(seed), (n,))
    found = jax.jit(lambda m, t: jax.lax.map(m.components, t, batch_size=32))(model, theta)
    n_bands = len(BANDS)
    return theta, found._replace(
        stars=found.stars[..., :n_bands], dust=found.dust[:, :n_bands], torus=found.torus[:, :n_bands]
    )


def totals(theta: Array, parts: Components) -> np.ndarray:
    """Fluxes of whole galaxies but for their lines."""
    mixture = jax.vmap(lambda point: mixture_of(SPACE, point))(theta)
    none = jnp.zeros((len(theta), len(BANDS)))
    return np.asarray(jnp.sum(jax.vmap(terms)(parts, mixture, none), axis=1), float)


def main() -> None:
    warnings.simplefilter("ignore")
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 8192
    model = exact_model(load_ssp_tables(sys.argv[1]), BANDS, SPACE)
    theta, parts = simulate(model, n, 0)
    held_out, exact = simulate(model, n // 2, 1)
    logs = jnp.log(parts.dust + FAINTEST)
    mean, std = logs.mean(axis=0), logs.std(axis=0)
    errors = {}
    for name, config in network_configs().items():
        network, features = train(config, theta, (logs - mean) / std)
        inputs = jax.lax.map(features, held_out, batch_size=4096)
        dust = jnp.exp(network(inputs) * std + mean) - FAINTEST
        ratio = totals(held_out, exact._replace(dust=dust)) / totals(held_out, exact)
        errors[name] = np.abs(POGSON * np.log(ratio))
    print(f"{model.description}{' (SURROGATE)' if model.surrogate else ''}; |error|, mag: 68% and 99% within")
    for k, band in enumerate(BANDS):
        cuts = {name: np.percentile(found[:, k], (68, 99)) for name, found in errors.items()}
        said = "; ".join(f"{name} {low:.4f}, {high:.3f}" for name, (low, high) in cuts.items())
        print(f"{band:20s} {said}")


if __name__ == "__main__":
    main()
