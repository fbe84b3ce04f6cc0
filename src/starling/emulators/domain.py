"""Where an emulator was trained: how far a point is from the middle of the training draws, for each of its networks.

Distances are taken in the coordinates in which the training distribution is a standard normal, over the parameters
that a network has as inputs: a point is outside where it leaves their support, or where it is farther out than all but
1e-4 of the training draws. What a core takes exactly (the mass; in a mixture the SFR ratios and the AGN fraction too)
has no say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.components import RATIOS
from starling.emulators.branch import Branch
from starling.parameters import ParameterSpace

WITHIN = 0.9999  # share of the training draws that a domain holds, for each network


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Domain:
    """``space`` is that of the training draws; ``inputs`` are the parameters that each network takes.

    ``limit`` is the squared distance, in standard deviations, within which 99.99% of the training draws are.
    """

    limit: Float[Array, " network"]
    inputs: tuple[tuple[str, ...], ...] = field(metadata={"static": True})
    space: ParameterSpace = field(metadata={"static": True})

    def remoteness(self, theta: Float[Array, " param"]) -> Float[Array, ""]:
        """Squared distance over the limit, of the network for which it is largest; infinite off the support.

        1 is the edge of the domain.
        """
        distance = _distances(self.space, self.inputs, theta)
        low, high = (jnp.asarray(end, theta.dtype) for end in self.space.bounds)
        relevant = np.isin(self.space.names, sorted({name for names in self.inputs for name in names}))
        # an edge that went through float32 and back is still on the support
        slack = 1e-6 * (high - low)
        off = jnp.any(relevant & ((theta < low - slack) | (theta > high + slack)))
        return jnp.where(off, jnp.inf, jnp.max(distance / self.limit))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; ``from_dict`` reads it back."""
        return {
            "space": self.space.to_dict(),
            "networks": [
                {"inputs": list(names), "limit": float(limit)}
                for names, limit in zip(self.inputs, self.limit, strict=True)
            ],
        }

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        networks = description["networks"]
        return cls(
            jnp.asarray([network["limit"] for network in networks], jnp.float32),
            tuple(tuple(map(str, network["inputs"])) for network in networks),
            ParameterSpace.from_dict(description["space"]),
        )


def _distances(
    space: ParameterSpace, inputs: Sequence[Sequence[str]], theta: Float[Array, " param"]
) -> Float[Array, " network"]:
    x = space.unconstrain(theta)
    columns = [np.isin(space.names, names) for names in inputs]
    return jnp.stack([jnp.sum(jnp.where(mine, x**2, 0.0)) for mine in columns])


def inputs_of(branches: Mapping[str, Branch]) -> tuple[tuple[str, ...], ...]:
    """The parameters that each network takes; those of ``RATIOS`` too where it has the masses of the bins."""
    names = []
    for branch in branches.values():
        recipe, space = branch.features.recipe, branch.features.space
        taken = {*recipe.inputs(space), *(RATIOS if recipe.log_bin_masses else ())}
        names.append(tuple(name for name in space.names if name in taken))
    return tuple(names)


def fit_domain(
    branches: Mapping[str, Branch], space: ParameterSpace, theta: Float[np.ndarray, "row param"]
) -> Domain:
    """The domain of networks that were trained on ``theta``, drawn from ``space`` (or from a narrower one)."""
    inputs = inputs_of(branches)
    distance = jax.jit(
        lambda rows: jax.lax.map(lambda row: _distances(space, inputs, row), rows, batch_size=8192)
    )(jnp.asarray(theta))
    limit = np.quantile(np.asarray(distance, float), WITHIN, axis=0)
    return Domain(jnp.asarray(limit, jnp.float32), inputs, space)
