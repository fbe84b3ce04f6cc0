"""The configuration of ``starling simulate``: sections of a training's, and sets of one's own."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from starling.configuration import Section, check, read_plain
from starling.emulators.config import (
    Positive,
    SetsConfig,
    SimulatorConfig,
    SpaceConfig,
    TrainingConfig,
)
from starling.emulators.pipeline import plans_of
from starling.emulators.spectra.config import PixelsConfig, load_any_config
from starling.simulation import DrawPlan, Plan, points_plan
from starling.simulation.draws import Method
from starling.spaces import training_space

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

ReadColumns = Callable[[Path], Mapping[str, np.ndarray]]


class DrawsConfig(Section):
    """A set of one's own: ``n`` draws from the ``prior`` or the wider ``training`` space, or a table of ``points``.

    A table has a column for every parameter, by its name; its path is taken from the folder of the configuration.
    """

    n: Positive | None = None
    space: Literal["prior", "training"] = "prior"
    method: Method = "sobol"
    seed: int | None = Field(None, ge=0)
    points: Path | None = None
    chunk: Positive = 4096

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.n is None) == (self.points is None):
            raise ValueError("a set has either `n`, a number of draws, or `points`, a table")
        if self.points is not None and self.model_fields_set & {"space", "method", "seed"}:
            raise ValueError("space, method and seed are for draws: leave them out where `points` are given")
        return self


class SimulateConfig(Section):
    """All that decides simulated sets: photometry in ``bands``, or rest-frame ``spectra``.

    ``sets`` are those of a training (train, train_prior, validation, test_training, test_prior), ``draws`` others by
    their names. ``gives`` are the components of the light, or fluxes of whole galaxies and their properties, which is
    all that FSPS has; ``tangents`` adds derivatives (``starling.simulation.directions``).
    """

    name: str
    seed: int = Field(0, ge=0)
    space: SpaceConfig = SpaceConfig()
    simulator: SimulatorConfig = SimulatorConfig()
    bands: tuple[str, ...] = ()
    spectra: PixelsConfig | None = None
    sets: SetsConfig | None = None
    draws: dict[str, DrawsConfig] = Field({})
    gives: Literal["components", "fluxes"] = "components"
    tangents: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.bands) == (self.spectra is not None):
            raise ValueError("a simulation is of photometry in `bands` or of `spectra`: give one of them")
        if self.spectra is not None and (self.tangents or self.gives == "fluxes"):
            raise ValueError(
                "spectra are simulated as components, without tangents: leave out gives and tangents"
            )
        self._check_simulator()
        if self.space.model == "desi_bgs" and self.spectra is None:
            raise ValueError(
                "desi_bgs is a model of spectra: it needs a section `spectra` in place of `bands`"
            )
        if self.sets is None and not self.draws:
            raise ValueError("nothing is asked for: give `sets`, those of a training, or `draws`")
        taken = {} if self.sets is None else plans_of(self.space.build(), self.sets, self.seed)
        if both := sorted(taken.keys() & self.draws.keys()):
            raise ValueError(f"draws: {', '.join(both)} is one of the `sets` already: give it another name")
        return self

    def _check_simulator(self) -> None:
        if self.simulator.code == "exact":
            return
        if self.tangents:
            raise ValueError("FSPS gives no derivatives: leave tangents out")
        if self.spectra is None and "gives" in self.model_fields_set and self.gives == "components":
            raise ValueError(
                "FSPS gives the flux of whole galaxies, not of their components: leave out gives"
            )

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.draws:
            if not re.match(_NAME, name):
                raise ValueError(f"draws: {name!r} is no name of a folder (letters, digits, . _ -)")
        return self

    def plans(self, read_columns: ReadColumns) -> dict[str, Plan]:
        """The sets by name; ``read_columns`` opens a table of points."""
        space = self.space.build()
        found: dict[str, Plan] = dict(plans_of(space, self.sets, self.seed)) if self.sets else {}
        for number, (name, draws) in enumerate(self.draws.items()):
            if draws.points is not None:
                found[name] = points_plan(space, read_columns(draws.points), draws.chunk, str(draws.points))
                continue
            assert draws.n is not None
            seed = 1000 * self.seed + 100 + number if draws.seed is None else draws.seed
            where = training_space(space) if draws.space == "training" else space
            found[name] = DrawPlan(where, draws.n, seed, draws.method, draws.chunk)
        return found


def load_simulate_config(path: Path) -> SimulateConfig:
    """Read a configuration, of a simulation or of a training; ValueError names the file, the key and what is wrong."""
    content = read_plain(path)
    if not isinstance(content, dict) or "training" not in content:
        return check(content, SimulateConfig, str(path), base=path.parent)
    training = load_any_config(path)
    shared = {name: getattr(training, name) for name in ("name", "seed", "space", "simulator", "sets")}
    if isinstance(training, TrainingConfig):
        return SimulateConfig(**shared, bands=training.bands, tangents=training.training.sobolev_weight > 0)
    return SimulateConfig(**shared, spectra=training.spectra)
