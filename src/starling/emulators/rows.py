"""Where the rows come from that a network is trained on: the same ones always, or new ones as the training goes."""

from typing import Any, Protocol, runtime_checkable

import jax


@runtime_checkable
class RowSource(Protocol):
    """Rows by epoch. Which ones they are is a function of the epoch's number and of how the run went before."""

    def start(self, epoch: int) -> None:
        """Make ready for the epoch (counted from 0) that a run begins or goes on with."""
        ...

    def rows(self, epoch: int, model: Any) -> Any:
        """The rows of an epoch, as many in every epoch, and the model before it; called for each epoch in turn."""
        ...

    def saved(self, epoch: int) -> None:
        """A checkpoint is on disk from which the run would go on with ``epoch``."""
        ...

    def close(self) -> None:
        """Nothing more is wanted."""
        ...


class FixedRows:
    """A training set that stays as it is."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def start(self, epoch: int) -> None:
        del epoch

    def rows(self, epoch: int, model: Any) -> Any:
        del epoch, model
        return self._data

    def saved(self, epoch: int) -> None:
        del epoch

    def close(self) -> None:
        pass


def count_rows(data: Any) -> int:
    """Rows of a pytree of arrays."""
    return len(jax.tree.leaves(data)[0])
