"""A flow with all that its use takes: coordinates, bands, how features are standardised, what noise it is for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.amortised.features import Ends, Seen, ends_of, n_features, raw_features, standardise
from starling.amortised.flow import Context, Flow
from starling.amortised.local import Local, local_gaussian
from starling.amortised.mocks import NoiseRange
from starling.forward import ForwardModel
from starling.inference.coordinates import Coordinates


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Standard:
    """Shift and scale of the features."""

    shift: Float[Array, " feature"]
    scale: Float[Array, " feature"]
    ends: Ends = field(metadata={"static": True})

    def features(self, seen: Seen) -> Float[Array, " feature"]:
        """Standardised features of ONE galaxy."""
        low, high = jnp.asarray(self.ends.low), jnp.asarray(self.ends.high)
        return standardise(raw_features(seen, low, high), seen.mask, self.shift, self.scale)


def fit_standard(seen: Seen, coordinates: Coordinates) -> Standard:
    """From many galaxies (leading axis): moments over those that have a band."""
    space = coordinates.space
    ends = ends_of(space.bounds, [space.index(name) for name in coordinates.fixed])
    low, high = jnp.asarray(ends.low), jnp.asarray(ends.high)
    raw = np.asarray(jax.vmap(lambda one: raw_features(one, low, high))(seen), float)
    mask = np.asarray(seen.mask)
    n_bands = mask.shape[1]
    present = np.concatenate([mask, mask, np.ones((len(raw), raw.shape[1] - 2 * n_bands), bool)], axis=1)
    count = np.maximum(present.sum(axis=0), 1)
    shift = (raw * present).sum(axis=0) / count
    scale = np.sqrt((((raw - shift) * present) ** 2).sum(axis=0) / count)
    scale = np.where(scale > 1e-3, scale, 1.0)
    return Standard(jnp.asarray(shift, jnp.float32), jnp.asarray(scale, jnp.float32), ends)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Proposal:
    """``flow`` over ``coordinates`` given photometry in ``bands``."""

    flow: Flow
    standard: Standard
    coordinates: Coordinates = field(metadata={"static": True})
    bands: tuple[str, ...] = field(metadata={"static": True})
    noise: NoiseRange = field(metadata={"static": True})

    def context(self, seen: Seen, mine: Seen, forward_model: ForwardModel) -> Context:
        """What the flow is for ONE galaxy; ``seen`` has the bands of the flow, ``mine`` those of the model."""
        features = self.standard.features(seen)
        local = local_of(self.flow, features, mine, self.coordinates, forward_model)
        return self.flow.context(features[None], jax.tree.map(lambda leaf: leaf[None], local))


def local_of(
    flow: Flow,
    features: Float[Array, " feature"],
    seen: Seen,
    coordinates: Coordinates,
    forward_model: ForwardModel,
) -> Local:
    """The Gaussian approximation of ONE galaxy, from where the flow's first network guesses."""
    guess = jax.lax.stop_gradient(flow.point(features))
    return local_gaussian(guess, seen, coordinates, forward_model, flow.shape.descent)


def feature_count(bands: Sequence[str], coordinates: Coordinates) -> int:
    """Length of the features of a galaxy."""
    return n_features(len(bands), len(coordinates.fixed))
