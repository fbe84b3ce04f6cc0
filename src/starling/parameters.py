"""Parameter spaces: names, priors and the maps between parameters, the unit cube and prior-whitened coordinates.

A ``ParameterSpace`` is a value; those of the papers' models are in ``starling.spaces``. A point is a flat array
``theta`` in the order of ``names``. Two coordinate systems cover the same space, for any subset of parameters held
fixed:

- the unit cube, where the prior is uniform (nested sampling, Sobol designs);
- prior-whitened coordinates ``x``, where the prior is the standard normal (gradient-based sampling).
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Float

from starling.priors import ConditionalPrior, Prior, prior_from_dict


@dataclass(frozen=True)
class Parameter:
    """One scalar parameter: its name (Prospector's), prior, mathtext label, unit and what it means."""

    name: str
    prior: Prior | ConditionalPrior
    label: str = ""
    unit: str = ""
    description: str = ""

    @property
    def low(self) -> float:
        return self.prior.low

    @property
    def high(self) -> float:
        return self.prior.high


@dataclass(frozen=True)
class ParameterSpace:
    """An ordered set of parameters with a joint prior; frozen and hashable, so a static value under ``jax.jit``.

    ``constants`` are what a model has no parameters for but a larger one has: name and value. They are in no ``theta``.
    """

    name: str
    parameters: tuple[Parameter, ...]
    constants: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = {name for name, _ in self.constants}
        for parameter in self.parameters:
            if parameter.name in seen:
                raise ValueError(f"parameter {parameter.name!r} appears twice in space {self.name!r}")
            if isinstance(parameter.prior, ConditionalPrior):
                missing = set(parameter.prior.depends_on) - seen
                if missing:
                    raise ValueError(
                        f"the prior of {parameter.name!r} depends on {sorted(missing)}: put them earlier in the space"
                    )
            seen.add(parameter.name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def index(self, name: str) -> int:
        """Position of a parameter in ``theta``; ValueError with the known names where there is none."""
        self._check_names([name])
        return self.names.index(name)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of every parameter's support."""
        return np.array([p.low for p in self.parameters]), np.array([p.high for p in self.parameters])

    def free(self, fixed: Collection[str] = ()) -> tuple[str, ...]:
        """Names that are not in ``fixed``, in order."""
        self._check_names(fixed)
        return tuple(name for name in self.names if name not in fixed)

    def pack(self, values: Mapping[str, Any]) -> Float[Array, "*shape param"]:
        """A ``theta`` from named values; ValueError for unknown and for missing names."""
        self._check_names(values)
        missing = [name for name in self.names if name not in values]
        if missing:
            raise ValueError(f"space {self.name!r} also needs a value for {', '.join(missing)}")
        return jnp.stack(
            jnp.broadcast_arrays(*(jnp.asarray(values[name], float) for name in self.names)), axis=-1
        )

    def unpack(self, theta: Float[Array, "*shape param"]) -> dict[str, Array]:
        """Named values of a ``theta``, and the constants."""
        constants = {name: jnp.asarray(value, theta.dtype) for name, value in self.constants}
        return constants | {name: theta[..., i] for i, name in enumerate(self.names)}

    def from_unit_cube(
        self, u: Float[Array, " free"], fixed: Mapping[str, Any] | None = None
    ) -> Float[Array, " param"]:
        """The prior transform: a point of the unit cube over the free parameters -> ``theta``."""
        return self._assemble(u, fixed or {}, lambda prior, p: prior.icdf(p))

    def to_unit_cube(
        self, theta: Float[Array, " param"], fixed: Collection[str] = ()
    ) -> Float[Array, " free"]:
        """Inverse of ``from_unit_cube``."""
        free, values = self.free(fixed), self.unpack(theta)
        cube = self._map(free, values, dict(values), lambda prior, x: prior.cdf(x))
        return jnp.stack([cube[name] for name in free])

    def constrain(
        self, x: Float[Array, " free"], fixed: Mapping[str, Any] | None = None
    ) -> Float[Array, " param"]:
        """Prior-whitened coordinates of the free parameters -> ``theta``; x ~ N(0, I) gives theta ~ prior."""
        # one ndtr for all of them: it is a page of the compiled program
        return self.from_unit_cube(ndtr(x), fixed)

    def unconstrain(
        self, theta: Float[Array, " param"], fixed: Collection[str] = ()
    ) -> Float[Array, " free"]:
        """Inverse of ``constrain``; points on the edge of the support land about 5 sigma out, never at infinity."""
        u = self.to_unit_cube(theta, fixed)
        return ndtri(jnp.clip(u, 3e-7, 1.0 - 3e-7))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "*shape param"]:
        """Draws from the prior."""
        return _draw(self, key, math.prod(shape)).reshape(*shape, len(self))

    def log_prob(self, theta: Float[Array, " param"], fixed: Collection[str] = ()) -> Float[Array, ""]:
        """Log prior density (normalised) of the parameters that are not ``fixed``; -inf outside the support."""
        values = self.unpack(theta)
        terms = self._map(self.free(fixed), values, dict(values), lambda prior, x: prior.log_prob(x))
        return jnp.sum(jnp.stack(list(terms.values())))

    def with_priors(self, **priors: Prior | ConditionalPrior) -> "ParameterSpace":
        """The same space with other priors for the named parameters."""
        self._check_names(priors)
        return replace(
            self,
            parameters=tuple(
                replace(p, prior=priors[p.name]) if p.name in priors else p for p in self.parameters
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; ``from_dict`` reads it back."""
        return {
            "name": self.name,
            **({"constants": dict(self.constants)} if self.constants else {}),
            "parameters": [
                {
                    "name": p.name,
                    "prior": p.prior.to_dict(),
                    "label": p.label,
                    "unit": p.unit,
                    "description": p.description,
                }
                for p in self.parameters
            ],
        }

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> "ParameterSpace":
        """The space that ``to_dict`` described."""
        return cls(
            name=description["name"],
            parameters=tuple(
                Parameter(**{**entry, "prior": prior_from_dict(entry["prior"])})
                for entry in description["parameters"]
            ),
            constants=tuple(description.get("constants", {}).items()),
        )

    def _assemble(
        self, coordinates: Array, fixed: Mapping[str, Any], quantile: Callable[[Prior, Array], Array]
    ) -> Array:
        free = self.free(fixed)
        if coordinates.shape != (len(free),):
            raise ValueError(
                f"expected {len(free)} coordinates ({', '.join(free)}), got shape {coordinates.shape}"
            )
        known = {name: jnp.asarray(value, coordinates.dtype) for name, value in fixed.items()}
        values = known | self._map(free, dict(zip(free, coordinates, strict=True)), known, quantile)
        return jnp.stack([values[name] for name in self.names])

    def _map(
        self,
        names: Collection[str],
        arguments: Mapping[str, Array],
        known: dict[str, Array],
        function: Callable[[Prior, Array], Array],
    ) -> dict[str, Array]:
        """``function(prior, argument)`` of every named parameter, priors of one kind in one call: they compile fast.

        Conditional priors come last, given ``known`` and the results for the parameters before them.
        """
        priors = {p.name: p.prior for p in self.parameters if p.name in names}
        groups: dict[type, list[str]] = {}
        conditional = [name for name, prior in priors.items() if isinstance(prior, ConditionalPrior)]
        for name, prior in priors.items():
            if name not in conditional:
                groups.setdefault(type(prior), []).append(name)
        results: dict[str, Array] = {}
        for kind, members in groups.items():
            argument = jnp.stack([arguments[name] for name in members])
            together = {
                entry.name: np.array([getattr(priors[name], entry.name) for name in members], argument.dtype)
                for entry in fields(kind)
            }
            results.update(zip(members, function(kind(**together), argument), strict=True))
        for name in conditional:
            prior = priors[name]
            assert isinstance(prior, ConditionalPrior)
            results[name] = function(prior.given(results | known), arguments[name])
        return results

    def _check_names(self, names: Collection[str]) -> None:
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(
                f"no parameter {', '.join(map(repr, unknown))} in space {self.name!r}; it has {', '.join(self.names)}"
            )


@partial(jax.jit, static_argnums=(0, 2))
def _draw(space: ParameterSpace, key: Array, n: int) -> Array:
    return jax.vmap(space.from_unit_cube)(jax.random.uniform(key, (n, len(space))))
