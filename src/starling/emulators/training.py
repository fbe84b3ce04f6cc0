"""Training of a network: shuffled minibatches, one compiled loop per epoch, checkpoints, an end on request.

Everything that happens in an epoch is a function of the configuration, the seed and the epoch's number, so that a run
that was cut and resumed ends with the same weights as one that was not.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from starling.emulators.checkpoints import load_checkpoint, save_checkpoint
from starling.emulators.config import OptimizerConfig
from starling.emulators.networks import Architecture, Network, with_affine_outputs
from starling.emulators.schedule import batch_size, learning_rates, make_optimizer, n_epochs, shuffled_batches
from starling.simulation import StoppedError

CHECKPOINT = "checkpoint.safetensors"


class TrainingData(NamedTuple):
    """Standardised inputs and targets in magnitudes (or dex); float32."""

    inputs: Float[Array, "row input"]
    targets: Float[Array, "row output"]


class EpochReport(NamedTuple):
    """What an epoch came to; losses are RMSE over all outputs, in the targets' units."""

    epoch: int
    n_epochs: int
    batch_size: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    worst_output: str
    worst_sigma: float
    rows_per_second: float
    seconds_left: float

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch}/{self.n_epochs}  batch {self.batch_size}  rate {self.learning_rate:.1e}  "
            f"loss {self.train_loss:.4f}  validation {self.validation_loss:.4f}  "
            f"worst {self.worst_output} {self.worst_sigma:.4f}  "
            f"{self.rows_per_second / 1e3:.0f}k draws/s  {self.seconds_left / 60:.1f} min left"
        )


class _State(NamedTuple):
    network: Network
    optimizer: Any
    best: Network


def train_network(
    shape: Architecture,
    train: TrainingData,
    validation: TrainingData,
    config: OptimizerConfig,
    *,
    seed: int,
    workdir: Path,
    run_hash: str,
    output_names: Sequence[str],
    resume: bool = True,
    report: Callable[[EpochReport], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Network:
    """Train and return the weights with the lowest validation loss, outputs in the targets' units.

    A checkpoint in ``workdir`` is continued if ``resume`` (ValueError if its ``run_hash`` is another). After every
    epoch ``report`` is called, and ``should_stop`` asked: if it says yes, a checkpoint is written and ``StoppedError``
    raised. Raises FloatingPointError when the loss is no longer finite.
    """
    mean, std = jnp.mean(train.targets, axis=0), jnp.std(train.targets, axis=0)
    std = jnp.where(std > 0, std, 1.0)
    train, validation = (TrainingData(d.inputs, (d.targets - mean) / std) for d in (train, validation))
    n_rows = train.inputs.shape[0]
    path = workdir / CHECKPOINT
    state, first, best_loss = _start(shape, make_optimizer(config), seed, path if resume else None, run_hash)
    started, saved, spent = time.monotonic(), time.monotonic(), 0
    for epoch in range(first, n_epochs(config)):
        size = batch_size(config, epoch, n_rows)
        batches = shuffled_batches(seed, epoch, n_rows, size)
        rates = learning_rates(config, epoch, batches.shape[0])
        network, optimizer_state, loss = _run_epoch(
            state.network, state.optimizer, train, jnp.asarray(batches), jnp.asarray(rates), std, config
        )
        validation_loss, sigma = _evaluate(network, validation, std)
        if not (np.isfinite(loss) and np.isfinite(validation_loss)):
            raise FloatingPointError(
                f"the loss is {float(loss)} in epoch {epoch + 1}: lower training.learning_rate or training.clip_norm"
            )
        improved = float(validation_loss) < best_loss
        best_loss = min(best_loss, float(validation_loss))
        state = _State(network, optimizer_state, _copy(network) if improved else state.best)
        spent += batches.size
        seconds = time.monotonic() - started
        worst = int(np.argmax(sigma))
        report(
            EpochReport(
                epoch + 1,
                n_epochs(config),
                size,
                float(rates[-1]),
                float(loss),
                float(validation_loss),
                output_names[worst],
                float(sigma[worst]),
                spent / seconds,
                seconds * (n_epochs(config) - epoch - 1) / (epoch - first + 1),
            )
        )
        last = epoch + 1 == n_epochs(config)
        stop = not last and should_stop()
        if last or stop or time.monotonic() - saved >= 60.0 * config.checkpoint_minutes:
            save_checkpoint(path, state, {"epoch": epoch + 1, "best_loss": best_loss, "run": run_hash})
            saved = time.monotonic()
        if stop:
            raise StoppedError(f"stopped after epoch {epoch + 1}; {path} continues the run")
    return with_affine_outputs(state.best, std, mean)


def _start(
    shape: Architecture, optimizer: optax.GradientTransformation, seed: int, path: Path | None, run_hash: str
) -> tuple[_State, int, float]:
    """The state to begin with, the first epoch to run, and the lowest validation loss so far."""
    network = Network(shape, rngs=nnx.Rngs(seed))
    state = _State(network, optimizer.init(network), _copy(network))
    if path is None or not path.exists():
        return state, 0, float("inf")
    state, info = load_checkpoint(path, state)
    if info["run"] != run_hash:
        raise ValueError(f"{path} is of a run with another configuration; use --fresh, or another --workdir")
    return state, info["epoch"], info["best_loss"]


def _copy(network: Network) -> Network:
    """A copy that survives when the original's buffers are given to the next epoch."""
    copied: Network = jax.tree.map(jnp.copy, network)
    return copied


def _loss(network: Network, inputs: Array, targets: Array, std: Array) -> Array:
    """RMSE over all rows and outputs, in the units of the targets; ``targets`` are standardised."""
    return jnp.sqrt(jnp.mean(((network(inputs) - targets) * std) ** 2))


@partial(jax.jit, static_argnames="config", donate_argnames=("network", "optimizer_state"))
def _run_epoch(
    network: Network,
    optimizer_state: Any,
    data: TrainingData,
    batches: Int[Array, "step row"],
    rates: Float[Array, " step"],
    std: Float[Array, " output"],
    config: OptimizerConfig,
) -> tuple[Network, Any, Float[Array, ""]]:
    """One step per batch, and the RMSE over all of them."""
    optimizer = make_optimizer(config)

    def step(
        carry: tuple[Network, Any], batch: tuple[Int[Array, " row"], Float[Array, ""]]
    ) -> tuple[tuple[Network, Any], Array]:
        network, state = carry
        rows, rate = batch
        value, gradient = jax.value_and_grad(_loss)(network, data.inputs[rows], data.targets[rows], std)
        updates, state = optimizer.update(gradient, state, network)
        network = optax.apply_updates(network, jax.tree.map(lambda u: -rate * u, updates))
        return (network, state), value

    (network, optimizer_state), losses = jax.lax.scan(step, (network, optimizer_state), (batches, rates))
    return network, optimizer_state, jnp.sqrt(jnp.mean(losses**2))


@jax.jit
def _evaluate(
    network: Network, data: TrainingData, std: Float[Array, " output"]
) -> tuple[Float[Array, ""], Float[Array, " output"]]:
    """RMSE over all outputs and the standard deviation of the errors of each."""
    error = (network(data.inputs) - data.targets) * std
    return jnp.sqrt(jnp.mean(error**2)), jnp.std(error, axis=0)
