"""Training on derivatives too (Czarnecki et al. 2017, Sobolev training), for any task that can be differentiated.

The simulator gives the derivative of every galaxy along one direction (``starling.simulation.directions``). Rows of
training data are a differentiable function of parameters and outputs, so they have derivatives along it as well; and
the error of a network is a differentiable function of a row, whose derivative along the row's is the error of the
network's directional derivative. No task needs to know of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from starling.simulation.directions import DIRECTION, tangents_of, without_tangents


@runtime_checkable
class BatchTask(Protocol):
    """A ``training.Task`` whose loss is that of a batch of rows, and linear in the data in choosing them."""

    def start(self, seed: int) -> Any: ...

    def batch(self, data: Any, rows: Int[Array, " row"], partners: Int[Array, " row"]) -> Any: ...

    def batch_loss(self, model: Any, batch: Any) -> Float[Array, ""]: ...

    def error(self, model: Any, data: Any) -> Float[Array, "row output"]: ...


class WithTangents(NamedTuple):
    """Rows, and their derivatives along the direction of each galaxy, in the same structure."""

    rows: Any
    tangents: Any


def rows_with_tangents(
    make: Callable[[Array, Mapping[str, Array]], Any],
    theta: Float[Array, "row param"],
    outputs: Mapping[str, Float[Array, "row ..."]],
) -> WithTangents:
    """The rows of a simulator's outputs with tangents."""
    point = theta, without_tangents(outputs)
    return WithTangents(*jax.jvp(make, point, (outputs[DIRECTION], tangents_of(outputs))))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SobolevTask:
    """A task's loss, plus ``weight`` times the RMS error of the directional derivatives of what it reports."""

    task: Any
    weight: float = field(metadata={"static": True})

    def start(self, seed: int) -> Any:
        return self.task.start(seed)

    def loss(
        self, model: Any, data: WithTangents, rows: Int[Array, " row"], partners: Int[Array, " row"]
    ) -> Float[Array, ""]:
        batch, along = (self.task.batch(part, rows, partners) for part in data)
        change = tangent_error(self.task, model, WithTangents(batch, along))
        return self.task.batch_loss(model, batch) + self.weight * jnp.sqrt(jnp.mean(change**2))

    def error(self, model: Any, data: WithTangents) -> Float[Array, "row output"]:
        """Emulated minus exact values."""
        errors: Float[Array, "row output"] = self.task.error(model, data.rows)
        return errors


def tangent_error(task: BatchTask, model: Any, data: WithTangents) -> Float[Array, "row output"]:
    """Emulated minus exact derivatives along the direction of each row."""
    change: Float[Array, "row output"]
    _, change = jax.jvp(lambda rows: task.error(model, rows), (data.rows,), (data.tangents,))
    return change
