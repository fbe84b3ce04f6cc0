"""From parameters to the inputs of a network: transforms, a few derived quantities, standardisation.

The total mass is never an input: fluxes are linear in it. Beside the transformed parameters a recipe can add

- products of parameters (the optical depth of birth clouds is one);
- how far a parameter is beyond a knot: simulators interpolate tables, which leaves a kink at every node;
- the logarithm of the distance to a knot: that of light which interpolation takes to nearly nothing there;
- log10 of the mass fraction formed in each of the 7 bins, in which fluxes are closer to linear than in the ratios;
- cosines of ln(1 + z), a complete basis on the redshift range, so that spectral features may cross narrow bands.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from starling.components import RATIOS
from starling.cosmology import age_gyr
from starling.parameters import ParameterSpace
from starling.sfh import N_BINS, bin_edges_gyr, mass_fractions

MASS = "logmass"
REDSHIFT = "zred"
# Below this share of the mass even the youngest stars are too few to show in any band.
_LEAST_MASS_FRACTION = 1e-7

# How close to a knot its logarithm still changes.
_NEAR = 3e-3

TRANSFORMS = {
    "identity": lambda x: x,
    "log": jnp.log,
    "log1p": jnp.log1p,
    # finite value and slope at 0, where the prior ends
    "log_shifted": lambda x: jnp.log(x + 0.01),
    "log_near_0": lambda x: jnp.log(x + 1e-4),
    # of a redshift: the age of the universe, on which the spectra of its galaxies depend
    "log_age": lambda x: jnp.log(age_gyr(x)),
}


@dataclass(frozen=True)
class FeatureRecipe:
    """Which inputs to make; hashable.

    ``parameters`` are the ones to take, None for all but the mass; those that the space lacks are passed over.
    ``transforms`` are pairs (parameter, name of a transform in ``TRANSFORMS``); a parameter may come more than once,
    and one that is not named goes in as it is. ``products`` are two or more parameters to multiply (one may
    come more than once), ``knots`` and ``log_knots`` pairs (parameter,
    value).
    """

    parameters: tuple[str, ...] | None = None
    transforms: tuple[tuple[str, str], ...] = ()
    products: tuple[tuple[str, ...], ...] = ()
    knots: tuple[tuple[str, float], ...] = ()
    log_bin_masses: bool = True
    redshift_harmonics: int = 0
    log_knots: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for parameter, transform in self.transforms:
            if transform not in TRANSFORMS:
                raise ValueError(
                    f"no transform {transform!r} (for {parameter!r}); choose one of {', '.join(TRANSFORMS)}"
                )
        if self.redshift_harmonics < 0:
            raise ValueError(f"redshift_harmonics must be 0 or more, got {self.redshift_harmonics}")

    def check(self, space: ParameterSpace) -> None:
        """ValueError where the recipe asks for a parameter that the space lacks."""
        wanted = {
            MASS,
            REDSHIFT,
            *(name for name, _ in self.transforms),
            *(name for pair in self.products for name in pair),
            *(name for name, _ in (*self.knots, *self.log_knots)),
            *(RATIOS if self.log_bin_masses else ()),
        }
        missing = sorted(name for name in wanted if name not in space)
        if missing:
            raise ValueError(f"features need {', '.join(missing)}, which space {space.name!r} does not have")
        if MASS in dict(self.transforms):
            raise ValueError(
                f"{MASS} is not an input of the network: fluxes are linear in mass; drop its transform"
            )

    def to_dict(self) -> dict[str, Any]:
        return {
            "parameters": None if self.parameters is None else list(self.parameters),
            "transforms": [list(pair) for pair in self.transforms],
            "products": [list(pair) for pair in self.products],
            "knots": [list(pair) for pair in self.knots],
            "log_bin_masses": self.log_bin_masses,
            "redshift_harmonics": self.redshift_harmonics,
            "log_knots": [list(pair) for pair in self.log_knots],
        }

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> Self:
        names = description["parameters"]
        knots, log_knots = (
            tuple((str(name), float(value)) for name, value in description.get(key, []))
            for key in ("knots", "log_knots")
        )
        transforms = tuple((str(name), str(transform)) for name, transform in description["transforms"])
        products = tuple(tuple(map(str, factors)) for factors in description["products"])
        return cls(
            None if names is None else tuple(map(str, names)),
            transforms,
            products,
            knots,
            bool(description["log_bin_masses"]),
            int(description["redshift_harmonics"]),
            log_knots,
        )

    def inputs(self, space: ParameterSpace) -> tuple[str, ...]:
        """The parameters of the space that the recipe takes."""
        return tuple(
            n for n in space.names if n != MASS and (self.parameters is None or n in self.parameters)
        )

    def depends_on(self, space: ParameterSpace) -> tuple[str, ...]:
        """The parameters of the space on which any of the features depends."""
        needed = {*self.inputs(space), *(name for names in self.products for name in names)}
        needed |= {name for name, _ in (*self.knots, *self.log_knots)}
        needed |= {*RATIOS, REDSHIFT} if self.log_bin_masses else set()
        needed |= {REDSHIFT} if self.redshift_harmonics else set()
        return tuple(name for name in space.names if name in needed)

    def columns_of(self, space: ParameterSpace, parameters: Sequence[str]) -> tuple[int, ...]:
        """The columns of the features that depend on no other parameters than these."""
        transformed = [name for name, _ in self.transforms]
        made_of = [{n} for n in self.inputs(space) for _ in range(max(1, transformed.count(n)))]
        made_of += [set(factors) for factors in self.products]
        made_of += [{name} for name, _ in (*self.knots, *self.log_knots)]
        made_of += [{*RATIOS, REDSHIFT}] * (N_BINS if self.log_bin_masses else 0)
        made_of += [{REDSHIFT}] * self.redshift_harmonics
        return tuple(column for column, names in enumerate(made_of) if names <= set(parameters))


def raw_features(
    recipe: FeatureRecipe,
    space: ParameterSpace,
    theta: Float[Array, " param"],
    zred_range: Float[Array, "2"] | None = None,
) -> Float[Array, " feature"]:
    """The inputs of one galaxy before standardisation; ``zred_range`` is that of ``Features``."""
    values = space.unpack(theta)
    if zred_range is None:
        ends = jnp.asarray([bound[space.index(REDSHIFT)] for bound in space.bounds])
    else:
        ends = zred_range.astype(theta.dtype)
        values[REDSHIFT] = _hold(values[REDSHIFT], ends)
    wanted = {name: [t for n, t in recipe.transforms if n == name] or ["identity"] for name in values}
    columns = [TRANSFORMS[t](values[name]) for name in recipe.inputs(space) for t in wanted[name]]
    columns += [math.prod(values[name] for name in factors) for factors in recipe.products]
    columns += [jnp.maximum(values[name] - knot, 0.0) for name, knot in recipe.knots]
    columns += [jnp.log(jnp.abs(values[name] - knot) + _NEAR) for name, knot in recipe.log_knots]
    parts = [jnp.stack(columns)]
    zred = values[REDSHIFT]
    if recipe.log_bin_masses:
        ratios = jnp.stack([values[name] for name in RATIOS])
        fractions = mass_fractions(ratios, bin_edges_gyr(zred))
        parts.append(jnp.log10(fractions + _LEAST_MASS_FRACTION).astype(theta.dtype))
    if recipe.redshift_harmonics:
        low, high = jnp.log1p(ends)
        phase = jnp.pi * (jnp.log1p(zred) - low) / (high - low)
        parts.append(jnp.cos(phase * jnp.arange(1, recipe.redshift_harmonics + 1)).astype(theta.dtype))
    return jnp.concatenate(parts)


def _hold(value: Float[Array, ""], ends: Float[Array, "2"]) -> Float[Array, ""]:
    """``value`` inside the ends; at an end its derivative is 1, where that of ``jnp.clip`` is a half."""
    return jnp.where(value < ends[0], ends[0], jnp.where(value > ends[1], ends[1], value))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Features:
    """A recipe with the shift and scale that standardise its outputs; callable on one galaxy.

    ``zred_range`` is for one of several emulators that share a range of redshift (``starling.emulators.stitched``): its
    own part of it, inside which redshift is held and on which harmonics are complete; None for the range of the space.
    """

    shift: Float[Array, "*member feature"]
    scale: Float[Array, "*member feature"]
    recipe: FeatureRecipe = field(metadata={"static": True})
    space: ParameterSpace = field(metadata={"static": True})
    zred_range: Float[Array, "*member 2"] | None = None

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " feature"]:
        """Standardised inputs, in the precision of the network whatever that of ``theta``."""
        raw = raw_features(self.recipe, self.space, theta, self.zred_range)
        return (raw.astype(self.shift.dtype) - self.shift) / self.scale


def fit_features(recipe: FeatureRecipe, space: ParameterSpace, theta: Float[Array, "row param"]) -> Features:
    """Features whose shift and scale are the mean and standard deviation over ``theta``."""
    recipe.check(space)
    raw = jax.lax.map(lambda row: raw_features(recipe, space, row), theta, batch_size=8192)
    scale = jnp.std(raw, axis=0)
    return Features(jnp.mean(raw, axis=0), jnp.where(scale > 0, scale, 1.0), recipe, space)
