"""Training of a network: shuffled minibatches, one compiled loop per epoch, checkpoints, an end on request.

Everything that happens in an epoch is a function of the configuration, the seed and the epoch's number, so that a run
that was cut and resumed ends with the same weights as one that was not.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int

from starling.emulators.checkpoints import load_checkpoint, save_checkpoint
from starling.emulators.config import OptimizerConfig
from starling.emulators.schedule import batch_size, learning_rates, make_optimizer, n_epochs, shuffled_batches
from starling.simulation import StoppedError

CHECKPOINT = "checkpoint.safetensors"
_BATCH = 2048


@runtime_checkable
class Task(Protocol):
    """What is trained, on what, towards what: a pytree whose leaves are constants of the loss.

    A model is a pytree of weights, data one of arrays with rows first.
    """

    def start(self, seed: int) -> Any:
        """A model with random weights."""
        ...

    def loss(
        self, model: Any, data: Any, rows: Int[Array, " row"], partners: Int[Array, " row"]
    ) -> Float[Array, ""]:
        """What a step makes smaller; ``partners`` are as many other rows, which a task may draw on."""
        ...

    def error(self, model: Any, data: Any) -> Float[Array, "row output"]:
        """Emulated minus exact for some rows, in the units that are reported."""
        ...


class EpochReport(NamedTuple):
    """What an epoch came to; ``validation_loss`` is the RMSE over all outputs, in the units of the errors;
    ``train_loss`` is the task's own."""

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
    model: Any
    optimizer: Any
    best: Any


def train_model(
    task: Task,
    train: Any,
    validation: Any,
    config: OptimizerConfig,
    *,
    seed: int,
    workdir: Path,
    run_hash: str,
    output_names: Sequence[str],
    resume: bool = True,
    report: Callable[[EpochReport], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Any:
    """Train and return the model with the lowest validation loss.

    A checkpoint in ``workdir`` is continued if ``resume`` (ValueError if its ``run_hash`` is another). After every
    epoch ``report`` is called, and ``should_stop`` asked: if it says yes, a checkpoint is written and ``StoppedError``
    raised. Raises FloatingPointError when the loss is no longer finite.
    """
    n_rows = len(jax.tree.leaves(train)[0])
    path = workdir / CHECKPOINT
    state, first, best_loss = _start(task, make_optimizer(config), seed, path if resume else None, run_hash)
    started, saved, spent = time.monotonic(), time.monotonic(), 0
    for epoch in range(first, n_epochs(config)):
        size = batch_size(config, epoch, n_rows)
        batches = shuffled_batches(seed, epoch, n_rows, size)
        rates = learning_rates(config, epoch, len(batches[0]))
        model, optimizer_state, loss = _run_epoch(
            state.model,
            state.optimizer,
            task,
            train,
            jax.tree.map(jnp.asarray, batches),
            jnp.asarray(rates),
            config,
        )
        validation_loss, sigma = _evaluate(model, task, validation)
        if not (np.isfinite(loss) and np.isfinite(validation_loss)):
            raise FloatingPointError(
                f"the loss is {float(loss)} in epoch {epoch + 1}: lower training.learning_rate or training.clip_norm"
            )
        improved = float(validation_loss) < best_loss
        best_loss = min(best_loss, float(validation_loss))
        state = _State(model, optimizer_state, _copy(model) if improved else state.best)
        spent += batches[0].size
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
    return state.best


def _start(
    task: Task, optimizer: optax.GradientTransformation, seed: int, path: Path | None, run_hash: str
) -> tuple[_State, int, float]:
    """The state to begin with, the first epoch to run, and the lowest validation loss so far."""
    model = task.start(seed)
    state = _State(model, optimizer.init(model), _copy(model))
    if path is None or not path.exists():
        return state, 0, float("inf")
    state, info = load_checkpoint(path, state)
    if info["run"] != run_hash:
        raise ValueError(f"{path} is of a run with another configuration; use --fresh, or another --workdir")
    return state, info["epoch"], info["best_loss"]


def _copy(model: Any) -> Any:
    """A copy that survives when the original's buffers are given to the next epoch."""
    return jax.tree.map(jnp.copy, model)


@partial(jax.jit, static_argnames="config", donate_argnames=("model", "optimizer_state"))
def _run_epoch(
    model: Any,
    optimizer_state: Any,
    task: Task,
    data: Any,
    batches: tuple[Int[Array, "step row"], Int[Array, "step row"]],
    rates: Float[Array, " step"],
    config: OptimizerConfig,
) -> tuple[Any, Any, Float[Array, ""]]:
    """One step per batch, and the root mean square of the losses."""
    optimizer = make_optimizer(config)

    def step(carry: tuple[Any, Any], batch: tuple[Array, Array, Array]) -> tuple[tuple[Any, Any], Array]:
        model, state = carry
        rows, partners, rate = batch
        value, gradient = jax.value_and_grad(task.loss)(model, data, rows, partners)
        updates, state = optimizer.update(gradient, state, model)
        model = optax.apply_updates(model, jax.tree.map(lambda u: -rate * u, updates))
        return (model, state), value

    (model, optimizer_state), losses = jax.lax.scan(step, (model, optimizer_state), (*batches, rates))
    return model, optimizer_state, jnp.sqrt(jnp.mean(losses**2))


@jax.jit
def _evaluate(model: Any, task: Task, data: Any) -> tuple[Float[Array, ""], Float[Array, " output"]]:
    """RMSE over all outputs and the standard deviation of the errors of each."""
    error = predict_errors(model, task, data)
    return jnp.sqrt(jnp.mean(error**2)), jnp.std(error, axis=0)


def predict_errors(model: Any, task: Task, data: Any) -> Float[Array, "row output"]:
    """Errors over all rows, a part at a time."""
    one_row = jax.lax.map(
        lambda row: task.error(model, jax.tree.map(lambda array: array[None], row))[0],
        data,
        batch_size=_BATCH,
    )
    errors: Float[Array, "row output"] = one_row
    return errors
