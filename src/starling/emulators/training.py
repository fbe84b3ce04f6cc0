"""Training of a network: shuffled minibatches, one compiled loop per epoch, checkpoints, an end on request.

Everything that happens in an epoch is a function of the configuration, the seed, the epoch's number and the rows, so
that a run that was cut and resumed ends with the same weights as one that was not.
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

from starling.emulators.checkpoints import load_checkpoint, remove_checkpoint, save_checkpoint
from starling.emulators.config import OptimizerConfig
from starling.emulators.rows import FixedRows, RowSource, count_rows
from starling.emulators.schedule import batch_size, learning_rates, make_optimizer, n_epochs, shuffled_batches
from starling.emulators.stopping import Course, advance
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
    ``train_loss`` is the task's own. ``ended`` says of a run's last epoch why it is the last."""

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
    ended: str = ""

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch}/{self.n_epochs}  batch {self.batch_size}  rate {self.learning_rate:.1e}  "
            f"loss {self.train_loss:.4f}  validation {self.validation_loss:.4f}  "
            f"worst {self.worst_output} {self.worst_sigma:.4f}  "
            f"{self.rows_per_second / 1e3:.0f}k draws/s  {self.seconds_left / 60:.1f} min left"
            + (f"\n{self.ended}" if self.ended else "")
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
    n_wanted: int | None = None,
    resume: bool = True,
    report: Callable[[EpochReport], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Any:
    """Train and return the model with the lowest validation loss, or the one that reached ``config.stop_at``.

    ``train`` are rows, or a ``RowSource`` that gives them by epoch. The accuracy asked for is that of the first
    ``n_wanted`` outputs, of all where it is None. A checkpoint in ``workdir`` is continued if ``resume`` (ValueError if
    its ``run_hash`` is another). After every epoch ``report`` is called, and ``should_stop`` asked: if it says yes, a
    checkpoint is written and ``StoppedError`` raised. Raises FloatingPointError when the loss is no longer finite.
    """
    source = train if isinstance(train, RowSource) else FixedRows(train)
    path = workdir / CHECKPOINT
    state, course = _start(task, make_optimizer(config), seed, path, run_hash, resume)
    first, started, saved, spent = course.epoch, time.monotonic(), time.monotonic(), 0
    if course.ended:
        return state.best
    try:
        source.start(first)
        while not course.ended:
            epoch = course.epoch
            data = source.rows(epoch, state.model)
            size = batch_size(config, epoch, count_rows(data))
            state, loss, rate = _train_epoch(state, task, data, config, seed, epoch, size)
            validation_loss, sigma = _evaluate(state.model, task, validation)
            _require_finite(loss, float(validation_loss), epoch)
            goal = float(jnp.max(sigma[:n_wanted]))
            after = advance(course, config, float(validation_loss), goal)
            reached = config.stop_at is not None and goal <= config.stop_at
            if reached or after.best_loss < course.best_loss:
                state = state._replace(best=_copy(state.model))
            course = after
            spent += count_rows(data) // size * size
            pace = _Pace(time.monotonic() - started, epoch + 1 - first, spent)
            losses = loss, float(validation_loss), np.asarray(sigma)
            report(_epoch_report(course, config, output_names, size, rate, losses, pace))
            stop = not course.ended and should_stop()
            if course.ended or stop or time.monotonic() - saved >= 60.0 * config.checkpoint_minutes:
                save_checkpoint(path, state, course._asdict() | {"run": run_hash})
                source.saved(course.epoch)
                saved = time.monotonic()
            if stop:
                raise StoppedError(f"stopped after epoch {course.epoch}; {path} continues the run")
    finally:
        source.close()
    return state.best


class _Pace(NamedTuple):
    """What this call did so far."""

    seconds: float
    epochs: int
    rows: int


def _epoch_report(
    course: Course,
    config: OptimizerConfig,
    names: Sequence[str],
    size: int,
    rate: float,
    losses: tuple[float, float, np.ndarray],
    pace: _Pace,
) -> EpochReport:
    train_loss, validation_loss, sigma = losses
    worst, total = int(np.argmax(sigma)), n_epochs(config)
    left = 0.0 if course.ended else pace.seconds * (total - course.epoch) / pace.epochs
    return EpochReport(
        course.epoch,
        total,
        size,
        rate,
        train_loss,
        validation_loss,
        names[worst],
        float(sigma[worst]),
        pace.rows / pace.seconds,
        left,
        course.ended,
    )


def _start(
    task: Task, optimizer: optax.GradientTransformation, seed: int, path: Path, run_hash: str, resume: bool
) -> tuple[_State, Course]:
    """The state to begin with, and how the run went before."""
    model = task.start(seed)
    state = _State(model, optimizer.init(model), _copy(model))
    if not resume:
        remove_checkpoint(path)
    found = load_checkpoint(path, state)
    if found is None:
        return state, Course()
    state, info = found
    if info.pop("run") != run_hash:
        raise ValueError(f"{path} is of a run with another configuration; use --fresh, or another --workdir")
    return state, Course(**info)


def _require_finite(loss: float, validation_loss: float, epoch: int) -> None:
    if not (np.isfinite(loss) and np.isfinite(validation_loss)):
        raise FloatingPointError(
            f"the loss is {loss} in epoch {epoch + 1}: lower training.learning_rate or training.clip_norm"
        )


def _train_epoch(
    state: _State, task: Task, data: Any, config: OptimizerConfig, seed: int, epoch: int, size: int
) -> tuple[_State, float, float]:
    """The state after an epoch (the best model is that of before), its loss and its last learning rate."""
    batches = shuffled_batches(seed, epoch, count_rows(data), size)
    rates = learning_rates(config, epoch, len(batches[0]))
    arguments = jax.tree.map(jnp.asarray, batches), jnp.asarray(rates)
    model, optimizer, loss = _run_epoch(state.model, state.optimizer, task, data, *arguments, config)
    return _State(model, optimizer, state.best), float(loss), float(rates[-1])


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
