"""Learning rates, batches and the optimizer of a training run: pure functions of the configuration and the epoch."""

import numpy as np
import optax
import optax.contrib
from jaxtyping import Float, Int

from starling.emulators.config import OptimizerConfig

_VECTOR_SHARE = 0.1


def batch_size(config: OptimizerConfig, epoch: int, n_rows: int) -> int:
    """Batch size of an epoch (counted from 0); never more than there are rows."""
    for stage in config.stages:
        if epoch < stage.epochs:
            return min(stage.batch_size, n_rows)
        epoch -= stage.epochs
    raise ValueError("the schedule ends before that epoch")


def n_epochs(config: OptimizerConfig) -> int:
    """Epochs of all stages together."""
    return sum(stage.epochs for stage in config.stages)


def learning_rates(config: OptimizerConfig, epoch: int, steps: int) -> Float[np.ndarray, " step"]:
    """The learning rate of each of the ``steps`` of an epoch."""
    progress = (epoch + (np.arange(steps) + 0.5) / steps) / n_epochs(config)
    warmup = np.clip(progress / max(config.warmup_fraction, 1e-12), 0.0, 1.0)
    along = np.clip((progress - config.warmup_fraction) / (1.0 - config.warmup_fraction), 0.0, 1.0)
    cosine = 0.5 * (1.0 + np.cos(np.pi * along))
    span = config.learning_rate - config.final_learning_rate
    return (warmup * (config.final_learning_rate + span * cosine)).astype(np.float32)


def shuffled_batches(
    seed: int, epoch: int, n_rows: int, size: int
) -> tuple[Int[np.ndarray, "step row"], Int[np.ndarray, "step row"]]:
    """Row numbers of the batches of one epoch, and as many of other rows to pair them with.

    Rows that do not fill a batch sit the epoch out.
    """
    steps = n_rows // size
    generator = np.random.default_rng([seed, epoch])
    rows, partners = (
        generator.permutation(n_rows)[: steps * size].reshape(steps, size).astype(np.int32) for _ in range(2)
    )
    return rows, partners


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Everything of the optimizer but the learning rate, which the training step multiplies in.

    Muon orthogonalises the momentum of every weight matrix; vectors are left to Adam, at a tenth of the rate.
    """
    if config.optimizer == "muon":
        # optax's own rate is the factor of the descent direction: minus one leaves the direction for the step to scale
        direction = optax.contrib.muon(-1.0, adam_learning_rate=-_VECTOR_SHARE)
    else:
        direction = optax.scale_by_adam(nesterov=config.optimizer == "nadam")
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        direction,
        optax.add_decayed_weights(config.weight_decay),
    )
