"""Where a training of spectra has its galaxies from: a simulator that is run, or sets of spectra that are there."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling.components import Components, components_from
from starling.emulators.pipeline import Hooks, plans_of, simulate_plans
from starling.emulators.provenance import draws_of
from starling.emulators.spectra.config import SpectrumConfig
from starling.emulators.spectra.grid import SpectralGrid
from starling.emulators.stored import asked_of, check_sets
from starling.execution import Threads
from starling.simulation import FAILURE, DrawPlan, SimulatedSet, Simulator, draw_chunk
from starling.simulation.shards import THETA, batches, n_rows_of, read_coordinates
from starling.simulation.store import failures, finite_rows

Batches = Iterator[tuple[Float[Array, "row param"], Components]]
Encode = Callable[[Array, Components], Mapping[str, Array]]

_ROWS = 1024


@runtime_checkable
class Galaxies(Protocol):
    """Spectra of the galaxies of sets by name; ``draws`` says what decided their points."""

    def batches(self, name: str, plan: DrawPlan, rows: int | None = None) -> Batches:
        """As many galaxies of a set as a plan has, a shard or ``rows`` at a time; failed ones are not finite."""
        ...

    def encoded(self, plans: Mapping[str, DrawPlan], encode: Encode, identity: Mapping[str, Any]) -> Any:
        """What is made of the spectra of the sets, which are too large to be kept in memory."""
        ...

    def draws(self, plans: Mapping[str, DrawPlan]) -> dict[str, dict[str, Any]]: ...


class Simulated(NamedTuple):
    """Galaxies from a simulator; what is made of them is kept in ``folder``."""

    simulator: Simulator
    folder: Path
    workers: int
    hooks: Hooks

    def batches(self, name: str, plan: DrawPlan, rows: int | None = None) -> Batches:  # noqa: ARG002
        return component_batches(self.simulator, plan, rows)

    def encoded(
        self, plans: Mapping[str, DrawPlan], encode: Encode, identity: Mapping[str, Any]
    ) -> dict[str, SimulatedSet]:
        def targets(theta: Float[np.ndarray, "row param"]) -> dict[str, Any]:
            outputs = self.simulator(theta)
            made = encode(jnp.asarray(theta), components_from(outputs))
            said = {FAILURE: outputs[FAILURE]} if FAILURE in outputs else {}
            return {role: np.asarray(array) for role, array in made.items()} | said

        return simulate_plans(
            plans, targets, identity, self.folder, executor=Threads(self.workers), hooks=self.hooks
        )

    def draws(self, plans: Mapping[str, DrawPlan]) -> dict[str, dict[str, Any]]:
        return draws_of(plans)


class Stored(NamedTuple):
    """Galaxies of the simulated sets of spectra in a folder; make it with ``open_spectra``."""

    folder: Path
    description: dict[str, Any]
    grid: SpectralGrid
    identities: dict[str, dict[str, Any]]

    def batches(self, name: str, plan: DrawPlan, rows: int | None = None) -> Batches:
        n = min(plan.n, n_rows_of(self.folder / name))
        for arrays in batches(self.folder / name, n, rows or _ROWS):
            yield jnp.asarray(arrays[THETA]), components_from(arrays)

    def encoded(
        self,
        plans: Mapping[str, DrawPlan],
        encode: Encode,
        identity: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, SimulatedSet]:
        return {name: self._encode(name, plan, encode) for name, plan in plans.items()}

    def draws(self, plans: Mapping[str, DrawPlan]) -> dict[str, dict[str, Any]]:
        return {name: self.identities[name]["draws"] | {"n": plan.n} for name, plan in plans.items()}

    def _encode(self, name: str, plan: DrawPlan, encode: Encode) -> SimulatedSet:
        pieces = []
        for theta, parts in self.batches(name, plan):
            made = {role: np.asarray(array) for role, array in encode(theta, parts).items()}
            good = finite_rows(*made.values())
            pieces.append({THETA: np.asarray(theta)[good]} | {role: a[good] for role, a in made.items()})
        whole = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
        kept = whole.pop(THETA)
        return SimulatedSet(kept, whole, plan.n - len(kept))

    @classmethod
    def open(cls, config: SpectrumConfig, folder: Path) -> Self:
        """The sets in a folder, nothing of which is written.

        ValueError where one is absent, not finished or too short, or of another space, simulator or other pixels.
        """
        plans = plans_of(config.space.build(), config.sets, config.seed)
        identities = check_sets(folder, plans, asked_of(config.simulator, config.spectra))
        for name, plan in plans.items():
            failures(folder / name, plan.n)  # every shard is there
        first = next(iter(plans))
        found = read_coordinates(folder / first)
        if not found.keys() >= set(SpectralGrid._fields):
            raise ValueError(f"{folder / first} holds no spectra: it was simulated in bands")
        if any(other.get("coordinates") != identities[first]["coordinates"] for other in identities.values()):
            raise ValueError(f"the sets in {folder} have different pixels")
        grid = SpectralGrid(*(found[name] for name in SpectralGrid._fields))
        return cls(folder, identities[first]["simulator"], grid, identities)


def component_batches(simulator: Simulator, plan: DrawPlan, rows: int | None = None) -> Batches:
    """The galaxies of a plan chunk by chunk, or ``rows`` at a time: parameters and components."""
    for index in range(plan.n_chunks):
        theta = draw_chunk(plan, index)
        outputs = components_from(simulator(theta))
        step = rows or plan.chunk
        for start in range(0, plan.rows(index), step):
            part = slice(start, min(start + step, plan.rows(index)))
            yield jnp.asarray(theta[part]), Components(*(array[part] for array in outputs))
