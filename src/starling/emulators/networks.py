"""The multilayer perceptron of all emulators, as a Flax NNX module.

A module is a pytree of its weights, so it passes through ``jax.jit`` and ``vmap`` as an argument.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float

Activation = Literal["gelu", "speculator"]


@dataclass(frozen=True)
class Aside:
    """Hidden layers beside the others that see only some of the inputs: ``depth`` layers of ``width`` units.

    What depends on few parameters is learned in few dimensions, whatever the others do.
    """

    inputs: tuple[int, ...]
    width: int
    depth: int


@dataclass(frozen=True)
class Architecture:
    """Shape of a network: ``depth`` hidden layers of ``width`` units.

    ``activation``: "gelu" (tanh form) or "speculator" (Alsing et al. 2020, eq. 8). With ``residual`` every hidden layer
    but the first adds to what it was given. With ``inputs_to_head`` the last layer sees the inputs beside the last
    hidden layer, so that what is linear in them needs no units; it sees the layers of ``aside`` as well.
    """

    n_inputs: int
    n_outputs: int
    width: int = 256
    depth: int = 4
    activation: Activation = "gelu"
    residual: bool = False
    inputs_to_head: bool = False
    aside: Aside | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``."""
        aside = description.get("aside")
        if aside is not None:
            aside = Aside(tuple(map(int, aside["inputs"])), int(aside["width"]), int(aside["depth"]))
        return cls(**{**description, "aside": aside})


class SpeculatorActivation(nnx.Module):
    """``[gamma + (1 - gamma) sigmoid(beta x)] x`` with ``beta`` and ``gamma`` trained per unit."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.beta = nnx.Param(1.0 + 0.1 * jax.random.normal(rngs.params(), (width,)))
        self.gamma = nnx.Param(0.1 * jax.random.normal(rngs.params(), (width,)))

    def __call__(self, x: Float[Array, "*batch unit"]) -> Float[Array, "*batch unit"]:
        beta, gamma = self.beta[...], self.gamma[...]
        return (gamma + (1.0 - gamma) * jax.nn.sigmoid(beta * x)) * x


class HiddenLayer(nnx.Module):
    """Affine map and activation, with or without a skip connection."""

    def __init__(
        self, n_inputs: int, width: int, activation: Activation, *, skip: bool, rngs: nnx.Rngs
    ) -> None:
        # "highest": on GPUs the default precision of a float32 product is 1e-3
        self.linear = nnx.Linear(n_inputs, width, precision="highest", rngs=rngs)
        self.activation = SpeculatorActivation(width, rngs=rngs) if activation == "speculator" else None
        self.skip = skip

    def __call__(self, x: Float[Array, "*batch input"]) -> Float[Array, "*batch unit"]:
        linear = self.linear(x)
        active = nnx.gelu(linear) if self.activation is None else self.activation(linear)
        return x + active if self.skip else active


class Network(nnx.Module):
    """Hidden layers and a linear head."""

    def __init__(self, shape: Architecture, *, rngs: nnx.Rngs) -> None:
        if shape.activation not in ("gelu", "speculator"):
            raise ValueError(f"no activation {shape.activation!r}; choose gelu or speculator")
        self.shape = shape
        self.hidden = nnx.List(_layers(shape, shape.n_inputs, shape.width, shape.depth, rngs))
        n_seen = shape.width + (shape.n_inputs if shape.inputs_to_head else 0)
        if shape.aside is not None:
            aside = shape.aside
            self.aside = nnx.List(_layers(shape, len(aside.inputs), aside.width, aside.depth, rngs))
            n_seen += aside.width
        self.head = nnx.Linear(n_seen, shape.n_outputs, precision="highest", rngs=rngs)

    def trunk(self, x: Float[Array, "*batch input"]) -> Float[Array, "*batch unit"]:
        """What the head is given."""
        seen = [_through(self.hidden, x)]
        if self.shape.inputs_to_head:
            seen.append(x)
        if self.shape.aside is not None:
            seen.append(_through(self.aside, x[..., np.asarray(self.shape.aside.inputs)]))
        return jnp.concatenate(seen, axis=-1) if len(seen) > 1 else seen[0]

    def __call__(self, x: Float[Array, "*batch input"]) -> Float[Array, "*batch output"]:
        return self.head(self.trunk(x))


def _layers(shape: Architecture, n_inputs: int, width: int, depth: int, rngs: nnx.Rngs) -> list[HiddenLayer]:
    return [
        HiddenLayer(
            width if layer else n_inputs,
            width,
            shape.activation,
            skip=shape.residual and layer > 0,
            rngs=rngs,
        )
        for layer in range(depth)
    ]


def _through(layers: Iterable[HiddenLayer], x: Array) -> Array:
    for layer in layers:
        x = layer(x)
    return x


def weights_of(network: Network) -> dict[str, Array]:
    """Weights by name, e.g. ``hidden.0.linear.kernel``."""
    return {".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(network))}


def network_from_weights(shape: Architecture, weights: dict[str, np.ndarray] | dict[str, Array]) -> Network:
    """A network with these weights; ValueError names the ones that are missing, left over or of another shape."""
    graph, state = nnx.split(nnx.eval_shape(lambda: Network(shape, rngs=nnx.Rngs(0))))
    expected = {".".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}
    found = {name: array.shape for name, array in weights.items()}
    if expected != found:
        names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        detail = ", ".join(
            f"{n} (expected {expected.get(n, 'none')}, found {found.get(n, 'none')})" for n in names
        )
        raise ValueError(f"the weights do not fit the architecture: {detail}")
    pairs = [
        (path, leaf.replace(jnp.asarray(weights[".".join(map(str, path))])))
        for path, leaf in nnx.to_flat_state(state)
    ]
    network: Network = nnx.merge(graph, nnx.from_flat_state(pairs))
    return network


def _with_head(network: Network, change: Callable[[Array], Array]) -> Network:
    """The network with the kernel and the bias of its head changed; their last axis is that of the outputs."""
    graph, state = nnx.split(network)
    pairs = [
        (path, leaf.replace(change(leaf[...])) if path[0] == "head" else leaf)
        for path, leaf in nnx.to_flat_state(state)
    ]
    changed: Network = nnx.merge(graph, nnx.from_flat_state(pairs))
    changed.shape = replace(network.shape, n_outputs=weights_of(changed)["head.bias"].shape[-1])
    return changed


def with_outputs(network: Network, columns: Array) -> Network:
    """The network with only these outputs of its head, in this order."""
    return _with_head(network, lambda array: array[..., columns])


def merge_outputs(n_outputs: int, parts: Sequence[tuple[np.ndarray, Network]]) -> Network:
    """One network of several with the same trunk: ``parts`` are the columns of its head and who has them."""
    first = parts[0][1]
    whole = weights_of(first)
    for name in ("head.kernel", "head.bias"):
        array = jnp.zeros((*whole[name].shape[:-1], n_outputs), whole[name].dtype)
        for columns, network in parts:
            array = array.at[..., columns].set(weights_of(network)[name])
        whole[name] = array
    kernel = whole["head.kernel"]
    return _with_head(first, lambda array: kernel if array.ndim == kernel.ndim else whole["head.bias"])


def with_affine_outputs(
    network: Network, scale: Float[Array, " output"], shift: Float[Array, " output"]
) -> Network:
    """The network whose outputs are ``scale * output + shift``, with both folded into the head."""
    weights = weights_of(network)
    weights["head.kernel"] = weights["head.kernel"] * scale
    weights["head.bias"] = weights["head.bias"] * scale + shift
    graph, state = nnx.split(network)
    pairs = [
        (path, leaf.replace(weights[".".join(map(str, path))])) for path, leaf in nnx.to_flat_state(state)
    ]
    scaled: Network = nnx.merge(graph, nnx.from_flat_state(pairs))
    return scaled
