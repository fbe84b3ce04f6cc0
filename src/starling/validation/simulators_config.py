"""The configuration of ``starling compare-simulators``, and its galaxies."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field, PositiveFloat, model_validator

from starling.configuration import Section, nearest, read_yaml
from starling.emulators.config import Positive, SimulatorConfig, SpaceConfig
from starling.parameters import ParameterSpace
from starling.validation.simulators import FLOOR

Light = Literal["all", "no_lines", "stars"]


class SideConfig(Section):
    """One of the two: a ``simulator``, as a training names it, or an ``emulator`` (a name, or a path to a file).

    A path counts from where the command is run. ``label`` is its name in tables and figures.
    """

    label: str = ""
    simulator: SimulatorConfig | None = None
    emulator: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.simulator is None) == (self.emulator is None):
            raise ValueError("name either a `simulator` or an `emulator`")
        return self

    @property
    def name(self) -> str:
        """The label, or what says best which one it is."""
        if self.label:
            return self.label
        if self.simulator is None:
            return str(self.emulator)
        return "FSPS" if self.simulator.code == "fsps" else Path(self.simulator.tables).stem


class CompareConfig(Section):
    """Which galaxies, in which bands, by which two simulators.

    ``n`` draws from the prior of ``space``; parameters in ``fixed`` have one value. ``light``: ``all``, without
    emission lines (``no_lines``), or that of the ``stars`` alone behind dust (no nebulae, dust emission or torus).
    ``solar``: metallicities are relative to the solar one of each (``own``, as in a fit), or the tables of the second
    are put on the solar scale of the first, so that galaxies have the same metal fraction (``first``), or the tables
    of all exact models on that of a metal fraction which is given as a number. ``floor`` is the fractional error of a
    fit that differences are held against; ``colours`` are pairs of bands, in addition to those that follow each other.
    """

    name: str
    seed: int = Field(0, ge=0)
    n: Positive = 2048
    space: SpaceConfig = SpaceConfig(agn=False)
    fixed: dict[str, float] = Field({})
    first: SideConfig
    second: SideConfig
    light: Light = "all"
    solar: Literal["own", "first"] | PositiveFloat = "own"
    floor: float = Field(FLOOR, gt=0.0, lt=1.0)
    bands: tuple[str, ...] = Field(min_length=2)
    colours: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.space.model == "desi_bgs":
            raise ValueError("desi_bgs is a model of spectra: compare photometry of a prospector_alpha model")
        if len(set(self.bands)) < len(self.bands):
            raise ValueError("bands: a band appears twice")
        if self.first.name == self.second.name:
            raise ValueError(f"first and second are both called {self.first.name!r}: give each a label")
        for band in (band for colour in self.colours for band in colour):
            if band not in self.bands:
                raise ValueError(f"colours: {band!r} is not among the bands{nearest(band, self.bands)}")
        self._check_sides()
        self._check_fixed()
        return self

    def _check_sides(self) -> None:
        for side in (self.first, self.second):
            exact = side.simulator is not None and side.simulator.code == "exact"
            if self.light == "stars" and not exact:
                raise ValueError(f"light: stars is for the exact model; {side.name} has no stars apart")
            if self.light == "no_lines" and side.simulator is not None and not exact:
                raise ValueError("light: no_lines is for the exact model; FSPS is asked for all its light")
            if self.solar == "first" and not exact:
                raise ValueError(f"solar: first is for the exact model on two tables; {side.name} has none")

    def _check_fixed(self) -> None:
        space = self.space.build()
        for name, value in self.fixed.items():
            if name not in space:
                raise ValueError(f"fixed: no parameter {name!r}{nearest(name, space.names)}")
            parameter = space.parameters[space.index(name)]
            if not parameter.low <= value <= parameter.high:
                raise ValueError(
                    f"fixed.{name}: {value:g} is outside {parameter.low:g} to {parameter.high:g}"
                )


def load_compare_config(path: Path) -> CompareConfig:
    """Read a configuration; ValueError names the file, the key and what is wrong."""
    return read_yaml(path, CompareConfig)


def draw_galaxies(
    space: ParameterSpace, n: int, seed: int, fixed: Mapping[str, float]
) -> Float[np.ndarray, "row param"]:
    """Independent draws from the prior, given the parameters that are ``fixed``; float32."""
    u = np.random.default_rng(seed).random((n, len(space.free(tuple(fixed))))).clip(1e-7, 1.0 - 1e-7)
    values = jnp.asarray(list(fixed.values()), jnp.float32)
    return np.asarray(_from_unit_cube(space, tuple(fixed), jnp.asarray(u, jnp.float32), values), np.float32)


@partial(jax.jit, static_argnums=(0, 1))
def _from_unit_cube(
    space: ParameterSpace, names: tuple[str, ...], u: Float[Array, "row free"], values: Float[Array, " fixed"]
) -> Float[Array, "row param"]:
    given = dict(zip(names, values, strict=True))
    return jax.vmap(lambda row: space.from_unit_cube(row, given))(u)
