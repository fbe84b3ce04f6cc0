"""Parameter spaces: names, priors and the maps between parameters, the unit cube and prior-whitened coordinates.

A ``ParameterSpace`` is a value; the papers' models are values of it. A point is a flat array ``theta`` in the order of
``names``. Two coordinate systems cover the same space, for any subset of parameters held fixed:

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

from starling.priors import (
    ConditionalPrior,
    MassMetallicity,
    Prior,
    StudentT2,
    TruncatedNormal,
    Uniform,
    prior_from_dict,
)


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
        return self._assemble(x, fixed or {}, lambda prior, z: prior.icdf(ndtr(z)))

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


def prospector_alpha(agn: bool = True, zred: tuple[float, float] = (0.5, 3.0)) -> ParameterSpace:
    """The 18-parameter model of Mathews et al. (2023), table 1; 16 parameters without the AGN torus.

    ``zred`` is the support of a uniform prior on redshift, used where redshift is not fixed per galaxy.
    """
    ratios = tuple(
        Parameter(
            f"logsfr_ratios_{i}",
            StudentT2(0.3, -5.0, 5.0),
            rf"$\log\,{{\rm SFR}}_{i}/{{\rm SFR}}_{i + 1}$",
            "dex",
            f"log10 of the star-formation rate in age bin {i} over bin {i + 1}",
        )
        for i in range(1, 7)
    )
    torus = (
        Parameter(
            "log_fagn",
            Uniform(-5.0, math.log10(3.0)),
            r"$\log f_{\rm AGN}$",
            "dex",
            "log10 of the AGN torus luminosity over the stellar bolometric luminosity",
        ),
        Parameter(
            "log_agn_tau",
            Uniform(math.log10(5.0), math.log10(150.0)),
            r"$\log \tau_{\rm AGN}$",
            "dex",
            "log10 of the optical depth of an AGN torus clump",
        ),
    )
    return ParameterSpace(
        "prospector_alpha" if agn else "prospector_alpha_no_agn",
        (
            Parameter(
                "logmass", Uniform(6.0, 12.5), r"$\log M_{\rm formed}$", "log10 Msun", "stellar mass formed"
            ),
            Parameter("logzsol", MassMetallicity(), r"$\log Z_*/Z_\odot$", "dex", "stellar metallicity"),
            *ratios,
            Parameter(
                "dust2",
                TruncatedNormal(0.3, 1.0, 0.0, 4.0),
                r"$\hat\tau_2$",
                "",
                "optical depth of the diffuse dust at 5500 A",
            ),
            Parameter(
                "dust_index", Uniform(-1.2, 0.4), r"$n$", "", "power-law modifier of the Calzetti curve"
            ),
            Parameter(
                "dust1_fraction",
                TruncatedNormal(1.0, 0.3, 0.0, 2.0),
                r"$\hat\tau_1/\hat\tau_2$",
                "",
                "birth-cloud over diffuse optical depth",
            ),
            *(torus if agn else ()),
            Parameter(
                "gas_logz", Uniform(-2.0, 0.5), r"$\log Z_{\rm gas}/Z_\odot$", "dex", "gas-phase metallicity"
            ),
            Parameter("zred", Uniform(*zred), r"$z$", "", "redshift"),
            Parameter(
                "duste_qpah",
                TruncatedNormal(2.0, 2.0, 0.0, 7.0),
                r"$q_{\rm PAH}$",
                "per cent",
                "share of the dust mass in PAHs",
            ),
            Parameter(
                "duste_umin",
                TruncatedNormal(1.0, 10.0, 0.1, 25.0),
                r"$U_{\rm min}$",
                "",
                "minimum intensity of the radiation field that heats the dust",
            ),
            Parameter(
                "log_duste_gamma",
                TruncatedNormal(-2.0, 1.0, -4.0, 0.0),
                r"$\log \gamma$",
                "dex",
                "log10 of the share of dust that sees more than duste_umin",
            ),
        ),
    )


def prospector_alpha_14(zred: tuple[float, float] = (0.5, 2.5)) -> ParameterSpace:
    """The 14-parameter model of Alsing et al. (2020), section 4; ``zred``, which they count apart, is the fifteenth.

    The dust emission has no parameters: qpah 2 per cent, Umin 1, gamma 0.01.
    """
    whole = prospector_alpha(zred=zred).with_priors(logmass=Uniform(7.0, 12.5), dust_index=Uniform(-1.0, 0.4))
    constants = (("duste_qpah", 2.0), ("duste_umin", 1.0), ("log_duste_gamma", -2.0))
    return ParameterSpace(
        "prospector_alpha_14",
        tuple(p for p in whole.parameters if p.name not in dict(constants)),
        constants,
    )


def training_space(space: ParameterSpace) -> ParameterSpace:
    """The space to draw training sets from: same support as ``space``, thicker tails (Mathews et al. 2023, s. 4.2).

    Student-t scales become 1.0, truncated normals three times as wide, conditional priors uniform on their support.
    """
    wider: dict[str, Prior] = {}
    for parameter in space.parameters:
        prior = parameter.prior
        if isinstance(prior, StudentT2):
            wider[parameter.name] = replace(prior, scale=max(1.0, prior.scale))
        elif isinstance(prior, TruncatedNormal):
            wider[parameter.name] = replace(prior, sigma=3.0 * prior.sigma)
        elif isinstance(prior, ConditionalPrior):
            wider[parameter.name] = Uniform(prior.low, prior.high)
    return replace(space.with_priors(**wider), name=f"{space.name}_training")
