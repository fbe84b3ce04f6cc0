"""Training of a flow on galaxies that are drawn from the emulator inside the compiled loop.

Between two reports there is a pool of new ones, each of which counts in a few steps: the descent that a flow hears of
costs more than a step of the training does. They are descended from the guesses of the flow as the pool begins.
Everything that happens in a step is a function of configuration, seed and the step's number, so that a run that was
cut and resumed ends with the same weights as one that was not.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jaxtyping import Float

from starling.amortised.config import AmortiseConfig, FlowTrainingConfig
from starling.amortised.flow import Flow, FlowShape, flow_orders
from starling.amortised.local import Local
from starling.amortised.mocks import Mock, NoiseRange, draw_mocks, many_mocks
from starling.amortised.proposal import Proposal, Standard, feature_count, fit_standard, local_of
from starling.emulators.checkpoints import load_checkpoint, remove_checkpoint, save_checkpoint
from starling.forward import ForwardModel
from starling.inference.coordinates import Coordinates
from starling.simulation import StoppedError

CHECKPOINT = "checkpoint.safetensors"
_PIECE = 512  # validation galaxies at once


class FlowReport(NamedTuple):
    """How a training goes: losses are means of -log q of the true parameters, in nats (less is better)."""

    step: int
    n_steps: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    galaxies_per_second: float
    seconds_left: float

    def __str__(self) -> str:
        return (
            f"step {self.step}/{self.n_steps}  rate {self.learning_rate:.1e}  loss {self.train_loss:.3f}  "
            f"validation {self.validation_loss:.3f}  {self.galaxies_per_second / 1e3:.1f}k galaxies/s  "
            f"{self.seconds_left / 60:.1f} min left"
        )


class _State(NamedTuple):
    flow: Flow
    optimizer: optax.OptState


class _Static(NamedTuple):
    """What the compiled loop depends on."""

    coordinates: Coordinates
    noise: NoiseRange
    training: FlowTrainingConfig


def start_proposal(config: AmortiseConfig, model: ForwardModel) -> Proposal:
    """A flow with random weights for the bands of ``model``, and features standardised on galaxies from the prior."""
    coordinates = Coordinates(model.space, config.fixed)
    noise, settings = config.noise.build(), config.flow
    mocks = many_mocks(jax.random.key(config.seed + 1), 4096, model, coordinates, noise)
    shape = FlowShape(
        feature_count(model.bands, coordinates),
        len(coordinates.free),
        flow_orders(len(coordinates.free), settings.couplings, config.seed),
        **settings.model_dump(exclude={"couplings"}),
    )
    flow = Flow(shape, rngs=nnx.Rngs(config.seed))
    return Proposal(flow, fit_standard(mocks.seen, coordinates), coordinates, model.bands, noise)


def train_proposal(
    config: AmortiseConfig,
    model: ForwardModel,
    *,
    workdir: Path,
    run_hash: str,
    resume: bool = True,
    report: Callable[[FlowReport], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Proposal, float]:
    """Train on galaxies of ``model`` (already for the bands of ``config``); the proposal and its validation loss.

    A checkpoint in ``workdir`` is continued if ``resume`` (ValueError if its ``run_hash`` is another). If
    ``should_stop`` says yes after a report, a checkpoint is written and ``StoppedError`` raised. FloatingPointError
    where the loss is no longer finite.
    """
    training = config.training
    proposal = start_proposal(config, model)
    static = _Static(proposal.coordinates, proposal.noise, training)
    path = workdir / CHECKPOINT
    state, step = _start(proposal.flow, training, path, run_hash, resume)
    key = jax.random.key(config.seed + 2)
    validation = many_mocks(
        jax.random.key(config.seed + 3), training.n_validation, model, static.coordinates, static.noise
    )
    started, first, saved = time.monotonic(), step, time.monotonic()
    measure = partial(
        _evaluate, standard=proposal.standard, mocks=validation, model=model, coordinates=static.coordinates
    )
    loss = float(measure(state.flow))
    while step < training.steps:
        state, losses = _run_piece(state, key, jnp.asarray(step), model, proposal.standard, static)
        train_loss = float(losses)
        loss = float(measure(state.flow))
        step += training.report_every
        if not (np.isfinite(train_loss) and np.isfinite(loss)):
            raise FloatingPointError(
                f"the loss is {train_loss} at step {step}: lower training.learning_rate or training.clip_norm"
            )
        pace = (step - first) / (time.monotonic() - started)
        rate = float(_schedule(training)(step))
        left = (training.steps - step) / pace
        report(FlowReport(step, training.steps, rate, train_loss, loss, pace * training.batch_size, left))
        stop = step < training.steps and should_stop()
        ended = step == training.steps
        if ended or stop or time.monotonic() - saved >= 60.0 * training.checkpoint_minutes:
            save_checkpoint(path, state, {"run": run_hash, "step": step, "steps": training.steps})
            saved = time.monotonic()
        if stop:
            raise StoppedError(f"stopped after step {step}; {path} continues the run")
    trained = Proposal(state.flow, proposal.standard, proposal.coordinates, proposal.bands, proposal.noise)
    return trained, loss


def _start(
    flow: Flow, training: FlowTrainingConfig, path: Path, run_hash: str, resume: bool
) -> tuple[_State, int]:
    state = _State(flow, _optimizer(training).init(flow))
    if not resume:
        remove_checkpoint(path)
    found = load_checkpoint(path, state)
    if found is None:
        return state, 0
    state, info = found
    if info["run"] != run_hash:
        raise ValueError(f"{path} is of a run with another configuration; use --fresh, or another --workdir")
    step, before = int(info["step"]), training.model_copy(update={"steps": int(info["steps"])})
    if before.steps != training.steps and step > min(before.first_of_decay, training.first_of_decay):
        raise ValueError(
            f"{path} is at step {step}, where the learning rate falls already, of a run of {before.steps} steps: "
            f"training.steps cannot become {training.steps}; set it back, or use --fresh"
        )
    return state, step


def _schedule(training: FlowTrainingConfig) -> optax.Schedule:
    rate, fall = training.learning_rate, training.first_of_decay
    warmup = min(training.warmup_steps, fall)
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, rate, warmup),
            optax.constant_schedule(rate),
            optax.linear_schedule(rate, 0.0, training.steps - fall),
        ],
        [warmup, fall],
    )


def _optimizer(training: FlowTrainingConfig) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(training.clip_norm), optax.adam(_schedule(training), b2=0.99)
    )


class _Pairs(NamedTuple):
    """Galaxies (leading axis) as a flow is trained on them: true coordinates, and what it is told."""

    v: Float[Array, "galaxy free"]
    features: Float[Array, "galaxy feature"]
    local: Local


def _pairs(
    flow: Flow, standard: Standard, mocks: Mock, model: ForwardModel, coordinates: Coordinates
) -> _Pairs:
    features = jax.vmap(standard.features)(mocks.seen)
    local = jax.vmap(lambda x, seen: local_of(flow, x, seen, coordinates, model))(features, mocks.seen)
    return _Pairs(mocks.v, features, local)


def _loss(flow: Flow, pairs: _Pairs) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean of -log q of the true parameters, and half the mean square error of the guesses."""
    log_q = flow.log_prob(flow.context(pairs.features, pairs.local), pairs.v.T)
    return -jnp.mean(log_q), 0.5 * jnp.mean(jnp.sum((flow.point(pairs.features) - pairs.v) ** 2, axis=1))


@partial(jax.jit, static_argnames="static", donate_argnames="state")
def _run_piece(
    state: _State, key: Array, first: Array, model: ForwardModel, standard: Standard, static: _Static
) -> tuple[_State, Float[Array, ""]]:
    """The steps until the next report, and their mean loss."""
    training = static.training
    optimizer, size = _optimizer(training), training.batch_size
    n_batches = training.report_every // training.reuse

    def some(number: Array) -> _Pairs:
        drawn = jax.random.fold_in(key, number)
        mocks = draw_mocks(drawn, size, model, static.coordinates, static.noise)
        return _pairs(state.flow, standard, mocks, model, static.coordinates)

    pool = jax.lax.map(some, first + jnp.arange(n_batches))
    pool = jax.tree.map(lambda leaf: leaf.reshape(n_batches * size, *leaf.shape[2:]), pool)

    def order(number: Array) -> Array:
        return jax.random.permutation(
            jax.random.fold_in(jax.random.fold_in(key, number), 1), n_batches * size
        )

    rows = jax.vmap(order)(first + jnp.arange(training.reuse)).reshape(training.report_every, size)

    def step(state: _State, rows: Array) -> tuple[_State, Array]:
        pairs = jax.tree.map(lambda leaf: leaf[rows], pool)

        def both(flow: Flow) -> tuple[Array, Array]:
            loss, guess = _loss(flow, pairs)
            return loss + guess, loss

        (_, value), gradient = jax.value_and_grad(both, has_aux=True)(state.flow)
        updates, moved = optimizer.update(gradient, state.optimizer, state.flow)
        return _State(optax.apply_updates(state.flow, updates), moved), value

    state, losses = jax.lax.scan(step, state, rows)
    return state, jnp.mean(losses)


@partial(jax.jit, static_argnames="coordinates")
def _evaluate(
    flow: Flow, standard: Standard, mocks: Mock, model: ForwardModel, coordinates: Coordinates
) -> Float[Array, ""]:
    """The loss on galaxies that are kept aside."""

    def some(mocks: Mock) -> Array:
        return _loss(flow, _pairs(flow, standard, mocks, model, coordinates))[0]

    n = len(mocks.v)
    size = min(_PIECE, n)
    pieces = jax.tree.map(
        lambda leaf: leaf[: n // size * size].reshape(n // size, size, *leaf.shape[1:]), mocks
    )
    return jnp.mean(jax.lax.map(some, pieces))
