from collections.abc import Sequence
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from toy_flows import BANDS, toy_config

from starling.amortised import Proposal
from starling.amortised.flow import Flow, FlowShape, flow_orders
from starling.amortised.training import start_proposal
from starling.forward import PROPERTIES
from starling.parameters import Parameter, ParameterSpace
from starling.priors import TruncatedNormal, Uniform

SCALE = 1e-9  # maggies


@jax.tree_util.register_pytree_node_class
class LinearModel:
    """Fluxes linear in standard-normal parameters and, where the space has one, in 10**logmass."""

    def __init__(self, matrix: Array, space: ParameterSpace, bands: tuple[str, ...]) -> None:
        self.matrix, self.space, self.bands = matrix, space, bands

    def tree_flatten(self) -> tuple[tuple[Array], tuple[ParameterSpace, tuple[str, ...]]]:
        return (self.matrix,), (self.space, self.bands)

    @classmethod
    def tree_unflatten(cls, static: tuple[ParameterSpace, tuple[str, ...]], leaves: tuple[Array]) -> Self:
        return cls(*leaves, *static)

    @property
    def wave_effective_aa(self) -> Array:
        return jnp.linspace(4e3, 2e4, len(self.bands))

    def __call__(self, theta: Array) -> Array:
        values = self.space.unpack(theta)
        shape = SCALE * (10.0 + self.matrix @ jnp.stack([values["a"], values["b"], values["zred"]]))
        return shape * 10.0 ** (values["logmass"] - 10.0) if "logmass" in values else shape

    @property
    def linear_in_mass(self) -> bool:
        return "logmass" in self.space.names

    def flux_error(self, flux: Array) -> Array:
        return 0.01 * jnp.abs(flux)

    def properties(self, theta: Array) -> dict[str, Array]:  # noqa: ARG002
        shapes = {"sfh": (7,), "sfh_edges_gyr": (8,)}
        return {name: jnp.zeros(shapes.get(name, ())) for name in PROPERTIES}

    def select(self, bands: Sequence[str]) -> "LinearModel":
        keep = np.array([self.bands.index(band) for band in bands])
        return LinearModel(self.matrix[keep], self.space, tuple(bands))


def _model(names: Sequence[str]) -> LinearModel:
    priors = {"logmass": Uniform(8.0, 12.0), "zred": Uniform(0.5, 3.0)}
    normal = TruncatedNormal(0.0, 1.0, -9.0, 9.0)
    space = ParameterSpace("linear", tuple(Parameter(n, priors.get(n, normal)) for n in names))
    matrix = np.random.default_rng(3).normal(size=(len(BANDS), 3))
    return LinearModel(jnp.asarray(matrix, jnp.float32), space, BANDS)


@pytest.fixture(scope="session")
def plain() -> LinearModel:
    """Without a mass: its posterior is a closed Gaussian."""
    return _model(("a", "b", "zred"))


@pytest.fixture(scope="session")
def massive() -> LinearModel:
    return _model(("logmass", "a", "b", "zred"))


@pytest.fixture(scope="session")
def untrained(plain: LinearModel) -> Proposal:
    return start_proposal(toy_config(), plain)


@pytest.fixture(scope="session")
def untrained_massive(massive: LinearModel) -> Proposal:
    return start_proposal(toy_config(), massive)


@pytest.fixture(scope="session")
def bent() -> Flow:
    """A flow of two coordinates with random weights everywhere, so that nothing about it is the identity."""
    shape = FlowShape(5, 2, flow_orders(2, 4, 0), width=8, depth=2, hidden=8, layers=2, bins=5, bound=4.0)
    graph, state = nnx.split(Flow(shape, rngs=nnx.Rngs(0)))
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(tree, moved))
