"""Points to simulate at that the user gives, by named columns."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from starling.configuration import nearest
from starling.parameters import ParameterSpace


@dataclass(frozen=True)
class PointsPlan:
    """Points of a space, in their order, as a ``starling.simulation.draws.Plan``; make one with ``points_plan``."""

    space: ParameterSpace
    theta: Float[np.ndarray, "row param"] = field(repr=False, compare=False)
    chunk: int
    sha256: str

    @property
    def n(self) -> int:
        return len(self.theta)

    @property
    def n_chunks(self) -> int:
        return -(-self.n // self.chunk)

    def rows(self, index: int) -> int:
        return min(self.chunk, self.n - index * self.chunk)

    def to_dict(self) -> dict[str, Any]:
        """What decides every point, JSON-able."""
        return {
            "space": self.space.to_dict(),
            "method": "points",
            "sha256": self.sha256,
            "n": self.n,
            "chunk": self.chunk,
        }

    def draw(self, index: int) -> Float[np.ndarray, "chunk param"]:
        # rows beyond the last one, which nobody keeps, begin again at the first
        return self.theta[np.arange(index * self.chunk, (index + 1) * self.chunk) % self.n]


def points_plan(
    space: ParameterSpace, columns: Mapping[str, np.ndarray], chunk: int, source: str = "the table"
) -> PointsPlan:
    """The points in the columns that bear the names of a space's parameters; others are not looked at.

    ValueError names the column, and the first row (from 1) that is empty, no number, or outside the space.
    """
    for name in space.names:
        if name not in columns:
            raise ValueError(f"{source} has no column {name!r}{nearest(name, columns)}")
    theta = np.stack([np.asarray(columns[name], float) for name in space.names], axis=1)
    if not len(theta):
        raise ValueError(f"{source} has no rows")
    for column, parameter in enumerate(space.parameters):
        value = theta[:, column]
        if (bad := np.flatnonzero(~np.isfinite(value))).size:
            raise ValueError(
                f"{source}: {parameter.name} is empty or no number in {_rows(bad)}: every point needs it"
            )
        if (bad := np.flatnonzero((value < parameter.low) | (value > parameter.high))).size:
            raise ValueError(
                f"{source}: {parameter.name} = {value[bad[0]]:g} is outside the space {space.name!r}, which goes from "
                f"{parameter.low:g} to {parameter.high:g}, in {_rows(bad)}"
            )
    low, high = (np.asarray(end, np.float32) for end in space.bounds)
    single = np.ascontiguousarray(np.clip(theta.astype(np.float32), low, high))
    return PointsPlan(space, single, chunk, hashlib.sha256(single.astype("<f4").tobytes()).hexdigest())


def _rows(bad: np.ndarray) -> str:
    rest = f" and {bad.size - 1} more" if bad.size > 1 else ""
    return f"row {bad[0] + 1}{rest}"
