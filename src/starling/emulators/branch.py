"""A network with the inputs that it takes: what the cores of emulators are built of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.emulators.features import Features
from starling.emulators.networks import Network, merge_outputs, with_outputs


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Branch:
    """``theta`` of one galaxy -> the outputs of a network, in the precision of ``theta``."""

    features: Features
    network: Network

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " output"]:
        return self.network(self.features(theta)).astype(theta.dtype)

    def linearise(
        self, theta: Float[Array, " param"]
    ) -> tuple[Float[Array, " output"], Float[Array, "param output"]]:
        """The outputs and their derivatives, which cost one tangent for each parameter that counts here."""
        features = self.features
        names = features.recipe.depends_on(features.space)
        columns = np.asarray([features.space.index(name) for name in names], int)

        def value(part: Float[Array, " some"]) -> tuple[Array, Array]:
            output = self(theta.at[columns].set(part))
            return output, output

        slopes, output = jax.jacfwd(value, has_aux=True)(theta[columns])
        return output, jnp.zeros((theta.size, output.size), theta.dtype).at[columns].set(slopes.T)

    @property
    def n_outputs(self) -> int:
        return self.network.shape.n_outputs

    def take(self, columns: Sequence[int] | np.ndarray) -> Self:
        """The branch with these outputs only, in this order."""
        return replace(self, network=with_outputs(self.network, jnp.asarray(columns, int)))


def merge(n_outputs: int, *parts: tuple[np.ndarray, Branch]) -> Branch:
    """The inverse of ``Branch.take``: branches with a common trunk, and the columns that each one has."""
    networks = [(columns, branch.network) for columns, branch in parts]
    return Branch(parts[0][1].features, merge_outputs(n_outputs, networks))
