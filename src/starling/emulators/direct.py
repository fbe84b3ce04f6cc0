"""The papers' kind of emulator: one network from all parameters to the magnitudes of a galaxy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from starling.components import SPECTRAL_PROPERTIES
from starling.emulators.branch import Branch, merge
from starling.emulators.features import Features
from starling.emulators.networks import Architecture, Network, with_affine_outputs
from starling.emulators.targets import magnitudes_and_properties
from starling.lines import LineLight
from starling.parameters import ParameterSpace
from starling.photometry import maggies_from_arsinh

ROLE = "all"  # the name of the network in configurations and files


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DirectCore:
    """``theta`` to arsinh magnitudes of the flux at 10 pc per Msun formed, and to the ``SPECTRAL_PROPERTIES``."""

    magnitudes: Branch  # one output per band
    properties: Branch
    softening: float = field(metadata={"static": True})

    def rest_flux(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Flux at 10 pc per Msun formed, maggies."""
        return maggies_from_arsinh(self.magnitudes(theta), self.softening)

    def spectral_properties(self, theta: Float[Array, " param"]) -> Float[Array, " property=4"]:
        return self.properties(theta)

    def select(self, columns: Sequence[int]) -> Self:
        """The core for these of its bands."""
        return replace(self, magnitudes=self.magnitudes.take(columns))

    @property
    def n_bands(self) -> int:
        return self.magnitudes.n_outputs

    def branches(self) -> dict[str, Branch]:
        """The whole network, as ``direct_core`` takes it."""
        n_bands, n_all = self.magnitudes.n_outputs, self.magnitudes.n_outputs + len(SPECTRAL_PROPERTIES)
        columns = np.arange(n_all)
        parts = (columns[:n_bands], self.magnitudes), (columns[n_bands:], self.properties)
        return {ROLE: merge(n_all, *parts)}


def direct_core(branches: Mapping[str, Branch], softening: float) -> DirectCore:
    """From a network with one output per band and then one per property."""
    whole = branches[ROLE]
    columns = np.arange(whole.n_outputs)
    n_bands = whole.n_outputs - len(SPECTRAL_PROPERTIES)
    return DirectCore(whole.take(columns[:n_bands]), whole.take(columns[n_bands:]), softening)


class DirectRows(NamedTuple):
    """Training data: standardised inputs; targets in magnitudes (or dex)."""

    inputs: Float[Array, "row input"]
    targets: Float[Array, "row output"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DirectTask:
    """RMSE of magnitudes and properties; the network works in standardised targets."""

    mean: Float[Array, " output"]
    std: Float[Array, " output"]
    shape: Architecture = field(metadata={"static": True})

    def start(self, seed: int) -> Network:
        return Network(self.shape, rngs=nnx.Rngs(seed))

    def error(self, network: Network, rows: DirectRows) -> Float[Array, "row output"]:
        """Emulated minus exact, in the targets' units."""
        return network(rows.inputs) * self.std + self.mean - rows.targets

    def loss(
        self, network: Network, data: DirectRows, rows: Int[Array, " row"], partners: Int[Array, " row"]
    ) -> Float[Array, ""]:
        """RMSE over rows and outputs; ``partners`` are of no use to it."""
        return self.batch_loss(network, self.batch(data, rows, partners))

    def batch(self, data: DirectRows, rows: Int[Array, " row"], partners: Int[Array, " row"]) -> DirectRows:
        del partners
        chosen: DirectRows = jax.tree.map(lambda array: array[rows], data)
        return chosen

    def batch_loss(self, network: Network, batch: DirectRows) -> Float[Array, ""]:
        return jnp.sqrt(jnp.mean(self.error(network, batch) ** 2))

    def finish(self, network: Network) -> Network:
        """The network with its outputs in the targets' units."""
        return with_affine_outputs(network, self.std, self.mean)


def direct_rows(
    features: Features,
    light: LineLight,
    space: ParameterSpace,
    softening: float,
    theta: Float[Array, "row param"],
    outputs: Mapping[str, Float[Array, "row ..."]],
) -> DirectRows:
    """Inputs and targets from a simulator's outputs; pure, differentiable."""
    targets = magnitudes_and_properties(space, softening, light, theta, outputs)
    return DirectRows(jax.vmap(features)(theta), jnp.hstack(targets))


def direct_task(shape: Architecture, train: DirectRows) -> DirectTask:
    """The task for a network of this shape."""
    std = jnp.std(train.targets, axis=0)
    return DirectTask(jnp.mean(train.targets, axis=0), jnp.where(std > 0, std, 1.0), shape)
