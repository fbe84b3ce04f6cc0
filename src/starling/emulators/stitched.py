"""Emulators of neighbouring redshift ranges, joined so that fluxes and their gradients are continuous.

Neighbours overlap. In an overlap with centre z0 and width dz, theta = (pi / (2 dz)) (z - z0 + dz / 2): the flux of the
upper one counts sin^2(theta), that of the lower one cos^2(theta) (Mathews et al. 2023, eqs. 11-13). Outside the
overlaps one emulator counts alone; nowhere do more than two.

All have networks of one shape, which are kept as arrays with a leading axis, the member: so where redshift is free they
are evaluated together, in one batched product per layer. Where it is known, ``StitchedCore.at`` gives the one or two
that are needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.emulators.branch import Branch
from starling.emulators.direct import DirectCore, direct_core
from starling.emulators.features import REDSHIFT
from starling.emulators.mixture import MixtureCore, mixture_core
from starling.lines import LineLight
from starling.parameters import ParameterSpace

Domain = tuple[float, float]
PlainCore = DirectCore | MixtureCore


def check_domains(domains: Sequence[Domain]) -> None:
    """ValueError unless the domains ascend, neighbours overlap and no three do."""
    if len(domains) < 2:
        raise ValueError("stitching needs two redshift domains or more")
    for low, high in domains:
        if not low < high:
            raise ValueError(f"the domain {low:g} to {high:g} does not ascend")
    for (low, high), (next_low, next_high) in pairwise(domains):
        if not low < next_low < high < next_high:
            raise ValueError(
                f"the domain {next_low:g} to {next_high:g} must begin inside {low:g} to {high:g} and end beyond it"
            )
    for (_, high), (low, _) in zip(domains, domains[2:], strict=False):
        if low < high:
            raise ValueError(f"three domains meet between {low:g} and {high:g}: narrow the overlaps")


def blend_weights(
    domains: Float[Array, "member 2"], zred: Float[Array, "*shape"]
) -> Float[Array, "*shape member"]:
    """What each member counts: sin^2 rising and cos^2 falling across overlaps; sums to 1, at most two are not 0."""
    begin, end = domains[1:, 0].astype(zred.dtype), domains[:-1, 1].astype(zred.dtype)
    along = jnp.clip((zred[..., None] - begin) / (end - begin), 0.0, 1.0)
    rise = jnp.sin(0.5 * jnp.pi * along) ** 2
    one = jnp.ones_like(zred)[..., None]
    return jnp.concatenate([one, rise], axis=-1) * jnp.concatenate([1.0 - rise, one], axis=-1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StitchedCore:
    """One core per domain of redshift; see the module's description.

    The branches of ``members`` have a leading axis, the member, and hold redshift inside its domain. The table of the
    lines of a mixture is shared: it covers the whole range.
    """

    members: DirectCore | MixtureCore
    domains: Float[Array, "member 2"]
    space: ParameterSpace = field(metadata={"static": True})

    def rest_flux(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Flux at 10 pc per Msun formed, maggies."""
        return self._blend(theta, lambda core: core.rest_flux(theta))

    def spectral_properties(self, theta: Float[Array, " param"]) -> Float[Array, " property=4"]:
        return self._blend(theta, lambda core: core.spectral_properties(theta))

    def _blend(self, theta: Float[Array, " param"], of_member: Callable[[PlainCore], Array]) -> Array:
        own, assemble = _member_axis(self.members)
        values = jax.vmap(lambda one: of_member(assemble(one)))(own)
        weights = blend_weights(self.domains, theta[self.space.index(REDSHIFT)])
        return weights.astype(values.dtype) @ values

    @property
    def n_members(self) -> int:
        return self.domains.shape[0]

    @property
    def n_bands(self) -> int:
        return self.members.n_bands

    def select(self, columns: Sequence[int]) -> Self:
        """The core for these of its bands."""
        return replace(self, members=self.members.select(columns))

    def branches(self) -> dict[str, Branch]:
        """The whole networks, with their leading axis."""
        return self.members.branches()

    def at(self, numbers: Sequence[int]) -> "PlainCore | StitchedCore":
        """Only these members, neighbours: one as a core of its own, more of them stitched."""
        own, assemble = _member_axis(self.members)
        if len(numbers) == 1:
            return assemble(jax.tree.map(lambda leaf: leaf[numbers[0]], own))
        rows = np.asarray(numbers)
        members = assemble(jax.tree.map(lambda leaf: leaf[rows], own))
        return StitchedCore(members, self.domains[rows], self.space)

    def groups(self, zred: Float[np.ndarray, " galaxy"]) -> dict[tuple[int, ...], Int[np.ndarray, " row"]]:
        """The galaxies by the members that they need: one, or two inside an overlap."""
        domains, zred = np.asarray(self.domains), np.asarray(zred)[:, None]
        begin, end = domains[1:, 0], domains[:-1, 1]
        first = np.sum(zred >= end, axis=1)
        double = np.any((zred > begin) & (zred < end), axis=1)
        keys = [(int(a), int(a) + 1) if two else (int(a),) for a, two in zip(first, double, strict=True)]
        return {
            key: np.asarray([row for row, own in enumerate(keys) if own == key]) for key in sorted(set(keys))
        }


def _member_axis(core: PlainCore) -> tuple[Any, Callable[[Any], PlainCore]]:
    """What of a core has a leading axis, and what puts a core together of a part of that."""
    if isinstance(core, DirectCore):
        return core, lambda whole: whole
    return (core.bands, core.rest), lambda parts: replace(core, bands=parts[0], rest=parts[1])


def stitched_core(
    members: Sequence[Mapping[str, Branch]],
    domains: Sequence[Domain],
    space: ParameterSpace,
    softening: float,
    light: LineLight | None,
) -> StitchedCore:
    """From the networks of emulators of each domain; ``space`` has the whole range, ``light`` is for mixtures only.

    Raises ValueError where domains do not join, or networks differ in shape or inputs.
    """
    check_domains(domains)
    ranges = [jnp.asarray(domain, jnp.float32) for domain in domains]
    held = [
        {
            role: replace(b, features=replace(b.features, space=space, zred_range=ends))
            for role, b in one.items()
        }
        for one, ends in zip(members, ranges, strict=True)
    ]
    for number, one in enumerate(held):
        if _shape(one) != _shape(held[0]):
            raise ValueError(
                f"the emulator of domain {number + 1} has other networks or inputs than that of the first: train all "
                "with one configuration"
            )
    branches = jax.tree.map(lambda *leaves: jnp.stack(leaves), *held)
    core = direct_core(branches, softening) if light is None else mixture_core(branches, light, space)
    return StitchedCore(core, jnp.stack(ranges), space)


def _shape(tree: Any) -> tuple[Any, list[tuple[int, ...]]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [jnp.shape(leaf) for leaf in leaves]
