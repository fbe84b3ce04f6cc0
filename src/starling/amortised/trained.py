"""What a flow was trained on, and in words how a galaxy differs from all of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.amortised.features import Seen, overall_flux, relative_error
from starling.inference.coordinates import Coordinates

_WITHIN = 0.001  # share of the training galaxies below and above the range


class _Quantity(NamedTuple):
    """What is looked at: its form in words, and whether too little or too much of it matters."""

    words: str
    form: str
    low: bool
    high: bool


_QUANTITIES = (
    _Quantity("the median error is {}", ".1%", True, True),
    _Quantity("the smallest error is {}", ".2%", True, False),
    _Quantity("{} bands are used", ".0f", True, False),
    _Quantity("the overall flux is {} maggies", ".1e", True, True),
)


@dataclass(frozen=True)
class Trained:
    """Lowest and highest of each quantity among the training galaxies, all but 0.1% at each end."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"low": list(self.low), "high": list(self.high)}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        ends = {name: tuple(map(float, description[name])) for name in ("low", "high")}
        if {len(end) for end in ends.values()} != {len(_QUANTITIES)}:
            raise ValueError("the range of the training has another number of quantities")
        return cls(**ends)

    def outside(self, seen: Seen, coordinates: Coordinates, unknown: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Per galaxy (leading axis) what is unlike the training, in words; empty where nothing is."""
        values, fixed = quantities(seen), np.asarray(seen.fixed)
        low, high = (np.asarray(end) for end in coordinates.space.bounds)
        common = [f"the flow does not know {', '.join(unknown)}"] if unknown else []
        sentences = []
        for row in range(len(values)):
            words = list(common)
            for quantity, value, least, most in zip(
                _QUANTITIES, values[row], self.low, self.high, strict=True
            ):
                if (quantity.low and value < least) or (quantity.high and value > most):
                    said = quantity.words.format(format(value, quantity.form))
                    words.append(f"{said} (trained: {least:{quantity.form}} to {most:{quantity.form}})")
            for column, name in enumerate(coordinates.fixed):
                index = coordinates.space.index(name)
                if not low[index] <= fixed[row, column] <= high[index]:
                    words.append(
                        f"{name} is {fixed[row, column]:g} (trained: {low[index]:g} to {high[index]:g})"
                    )
            sentences.append("; ".join(words))
        return tuple(sentences)


def quantities(seen: Seen) -> Float[np.ndarray, "galaxy quantity"]:
    """Of every galaxy (leading axis): median and smallest error over flux, bands used, overall flux."""
    return np.nan_to_num(np.asarray(_quantities(seen), float), nan=np.inf)


@jax.jit
def _quantities(seen: Seen) -> Float[Array, "galaxy quantity"]:
    def one(seen: Seen) -> Array:
        flux, error = jnp.where(seen.mask, seen.flux, 1.0), jnp.where(seen.mask, seen.error, 1.0)
        share = jnp.where(seen.mask, jnp.exp(relative_error(flux, error)), jnp.nan)
        overall = jnp.exp(overall_flux(flux, error, seen.mask))
        return jnp.stack([jnp.nanmedian(share), jnp.nanmin(share), jnp.sum(seen.mask) + 0.0, overall])

    return jax.vmap(one)(seen)


def range_of(seen: Seen) -> Trained:
    """The range of training galaxies (leading axis)."""
    low, high = np.quantile(quantities(seen), [_WITHIN, 1.0 - _WITHIN], axis=0)
    return Trained(tuple(low.tolist()), tuple(high.tolist()))
