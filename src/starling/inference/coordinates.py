"""Prior-whitened coordinates without the mass and without conditional priors.

The flux of a galaxy is linear in ``10**logmass``. Given everything else, the mass has a posterior in one dimension
that is nearly closed, and it is the stiffest direction of all: so it stands apart. A prior that depends on another
parameter is replaced by a uniform one on its support; whoever uses the coordinates puts it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from starling.parameters import ParameterSpace
from starling.priors import ConditionalPrior, Uniform

MASS = "logmass"


@dataclass(frozen=True)
class Coordinates:
    """Of a space whose parameters ``fixed`` are known for every galaxy."""

    space: ParameterSpace
    fixed: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.free:
            raise ValueError("nothing is left: every parameter is fixed or is the mass")

    @property
    def has_mass(self) -> bool:
        """Whether the mass is free, and drawn apart."""
        return MASS in self.space.free(self.fixed)

    @property
    def apart(self) -> tuple[str, ...]:
        """Parameters that they have not."""
        return (*self.fixed, *((MASS,) if self.has_mass else ()))

    @property
    def free(self) -> tuple[str, ...]:
        """Those that they have, in the order of the space."""
        return self.space.free(self.apart)

    @cached_property
    def whitening(self) -> ParameterSpace:
        """The space whose prior the coordinates whiten."""
        return self.space.with_priors(
            **{
                p.name: Uniform(p.prior.low, p.prior.high)
                for p in self.space.parameters
                if isinstance(p.prior, ConditionalPrior)
            }
        )

    def to_flow(self, theta: Float[Array, " param"]) -> Float[Array, " free"]:
        """The coordinates of a point."""
        return self.whitening.unconstrain(theta, self.apart)

    def to_theta(self, v: Float[Array, " free"], apart: Mapping[str, Array]) -> Float[Array, " param"]:
        """The point at these coordinates; ``apart`` has a value for each of the parameters ``apart``."""
        return self.whitening.constrain(v, apart)

    def log_prior(self, v: Float[Array, " free"], theta: Float[Array, " param"]) -> Float[Array, ""]:
        """Log prior density of the free parameters, over ``v`` and the mass."""
        value = self.log_prior_without_mass(v, theta)
        if self.has_mass:
            value += self.space.log_prob(theta, [n for n in self.space.names if n != MASS])
        return value

    def log_prior_without_mass(
        self, v: Float[Array, " free"], theta: Float[Array, " param"]
    ) -> Float[Array, ""]:
        """The same given the mass, over ``v``."""
        replaced = [
            p.name
            for p in self.space.parameters
            if isinstance(p.prior, ConditionalPrior) and p.name in self.free
        ]
        value = -0.5 * jnp.sum(v**2) - 0.5 * v.size * jnp.log(2.0 * jnp.pi)
        if replaced:
            others = [n for n in self.space.names if n not in replaced]
            value += self.space.log_prob(theta, others) - self.whitening.log_prob(theta, others)
        return value
