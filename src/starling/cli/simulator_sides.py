"""The two sides of a comparison, opened: the exact model on some tables, FSPS, or an emulator; and what each one is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.cli.opened import open_emulator
from starling.cli.simulator import describe_model, described_source, make_simulator, named_tables
from starling.cli.source import open_source
from starling.components import SPECTRAL_PROPERTIES
from starling.cosmology import flux_scale
from starling.emulators.config import SimulatorConfig
from starling.forward import ForwardModel
from starling.parameters import ParameterSpace
from starling.simulation import Simulator
from starling.sps import ExactModel, Tables, exact_model
from starling.sps.files import read_ssp_header
from starling.validation.simulators_config import CompareConfig, Light, SideConfig

# rest-frame wavelengths (Angstrom) and L_lambda (Lsun/Angstrom per Msun formed) of some galaxies
SpectraOf = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
_BAGPIPES = {"imf": "Kroupa (2001)", "solar_metal_fraction": 0.02}


class Side(NamedTuple):
    """A simulator by its label, with spectra where it has any.

    ``facts`` say what it is made of, in words; ``description`` (JSON-able) decides its numbers.
    """

    label: str
    simulate: Simulator
    facts: dict[str, str]
    description: dict[str, Any]
    spectra: SpectraOf | None

    @property
    def surrogate(self) -> bool:
        return bool(self.description.get("surrogate", False))


@contextmanager
def open_side(config: CompareConfig, which: str, sps_home: Path | None, workers: int = 1) -> Iterator[Side]:
    """One side (``first`` or ``second``) of a comparison; FSPS runs in ``workers`` processes while the context lasts.

    ValueError where a file, a band or the space does not fit.
    """
    side: SideConfig = getattr(config, which)
    space = config.space.build()
    if side.simulator is None:
        yield _emulator(side, config, space)
    elif side.simulator.code == "exact":
        yield _exact(side.name, side.simulator, config, space, sps_home, solar=solar_of(config, which))
    else:
        with open_source(side.simulator, space, config.bands, sps_home, workers=workers) as source:
            told = source.description
            facts = {
                "what": str(told["tables"]),
                "IMF": "Chabrier (2003)",
                "solar metallicity": "that of its isochrones",
                "surviving mass": "stars and remnants",
            }
            yield Side(side.name, source.simulate, facts, told, None)


def changed_tables(tables: Tables, light: Light, dex: float = 0.0) -> Tables:
    """Tables for a part of the light, with stellar metallicities raised by ``dex``, which changes what is called solar.

    ``no_lines`` keeps the nebular continuum; ``stars`` has neither nebulae nor the light of dust and torus.
    """
    if dex:
        tables = tables._replace(ssp=tables.ssp._replace(log_z=tables.ssp.log_z + dex))
    if light == "stars":
        return Tables(tables.ssp)
    gas = tables.nebular
    if light == "no_lines" and gas is not None:
        gas = gas._replace(line_wave_aa=gas.line_wave_aa[:0], lines=gas.lines[..., :0])
    return tables._replace(nebular=gas)


def solar_metal_fraction(simulator: SimulatorConfig) -> float | None:
    """Metal fraction that the tables of an exact model call solar; None where their file does not say."""
    said = _told(simulator).get("solar_metal_fraction")
    return None if said is None else float(said)


def solar_of(config: CompareConfig, which: str) -> float | None:
    """The metal fraction that a side has to call solar; None: its own."""
    if isinstance(config.solar, float):
        return config.solar
    if config.solar == "own" or which == "first":
        return None
    assert config.first.simulator is not None
    found = solar_metal_fraction(config.first.simulator)
    if found is None:
        raise ValueError(
            f"a common `solar` needs tables that say what theirs is; those of {config.first.name} do not"
        )
    return found


def _told(simulator: SimulatorConfig) -> dict[str, Any]:
    """What tables say of how they were made."""
    return _BAGPIPES if simulator.tables == "bagpipes" else read_ssp_header(simulator.tables_found)


def _exact(
    label: str,
    simulator: SimulatorConfig,
    config: CompareConfig,
    space: ParameterSpace,
    sps_home: Path | None,
    *,
    solar: float | None,
) -> Side:
    given, own = named_tables(simulator.tables_found, space, sps_home), solar_metal_fraction(simulator)
    dex = 0.0
    if solar is not None:
        if own is None:
            raise ValueError(
                f"a common `solar` needs tables that say what theirs is; those of {label} do not"
            )
        dex = float(np.log10(own / solar))
    tables = changed_tables(given, config.light, dex)
    model = exact_model(tables, config.bands, _without_torus(space, tables))
    description = describe_model(model) | described_source(simulator, tables)
    facts = _facts(tables, _told(simulator), own, solar)
    simulate = make_simulator(model, simulator.batch, components=False)
    return Side(label, simulate, facts, description, _spectra(model, _total))


def _without_torus(space: ParameterSpace, tables: Tables) -> ParameterSpace:
    """The space; ValueError where it has a torus, which the light that is asked for has not."""
    if tables.torus is None and "log_fagn" in space:
        raise ValueError("the space has an AGN torus, the tables have none: space.agn: false")
    return space


def _facts(tables: Tables, told: dict[str, Any], own: float | None, solar: float | None) -> dict[str, str]:
    ssp = tables.ssp
    name = "not said" if own is None else f"{own:g}"
    low, high, n = ssp.log_z[0], ssp.log_z[-1], ssp.log_z.size
    return {
        "what": f"exact model on {tables.description}",
        "IMF": str(told.get("imf", "not said")),
        "solar metallicity": name if solar is None else f"{name}, put on the scale of {solar:g}",
        "stellar metallicities": f"{n}, log Z/Zsun {low:.2f} to {high:.2f}" if n > 1 else f"one, {low:.2f}",
        "ages": f"{ssp.age_gyr.size}, {1e3 * ssp.age_gyr[0]:.2g} Myr to {ssp.age_gyr[-1]:.3g} Gyr",
        "wavelengths of stars": f"{ssp.wave_aa.size}, {ssp.wave_aa[0]:.3g} to {ssp.wave_aa[-1]:.2g} Angstrom",
        "surviving mass": "stars and remnants" if ssp.remnants else "living stars",
        "birth clouds, dust": "FSPS's conventions" if ssp.as_fsps else "starling's conventions",
    }


def _emulator(side: SideConfig, config: CompareConfig, space: ParameterSpace) -> Side:
    opened = open_emulator(str(side.emulator), Path(), config.bands)
    model = opened.model.select(config.bands)
    _check_space(model, space, side.name)
    compute = jax.jit(jax.vmap(_rest, in_axes=(None, 0)))

    def simulate(theta: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.asarray(array) for name, array in compute(model, jnp.asarray(theta)).items()}

    header = opened.header
    made = header.get("simulator", "")
    what = str(made.get("tables", "")) if isinstance(made, dict) else str(made)
    description = {"emulator": opened.name, "surrogate": bool(header.get("surrogate", False)), "of": what}
    spectra = _spectra(model, _whole) if hasattr(model, "spectrum") else None
    return Side(side.name, simulate, {"what": f"{opened.name}: {what}"}, description, spectra)


def _check_space(model: ForwardModel, space: ParameterSpace, label: str) -> None:
    """ValueError unless a point of the space is one of the model's, too."""
    theirs = model.space
    if theirs.names != space.names or dict(theirs.constants) != dict(space.constants):
        raise ValueError(
            f"{label} is a model of other parameters than the space {space.name!r}: it has {', '.join(theirs.names)}"
        )
    ours, limits = space.parameters[space.index("zred")], theirs.parameters[theirs.index("zred")]
    if ours.low < limits.low or ours.high > limits.high:
        raise ValueError(f"{label} is made for {limits.low:g} < z < {limits.high:g}: narrow space.zred")


def _rest(model: ForwardModel, theta: Array) -> dict[str, Array]:
    """Flux per Msun formed at 10 pc and the properties of one galaxy, from what every forward model gives."""
    values, found = model.space.unpack(theta), model.properties(theta)
    properties = {
        "log_mass_fraction": found["log_stellar_mass"] - values["logmass"],
        "u_minus_v": found["u_minus_v"],
        "v_minus_j": found["v_minus_j"],
        "log_lir_per_msun": found["log_lir"] - values["logmass"],
    }
    return {
        "rest_flux": model(theta) / flux_scale(values["logmass"], values["zred"]),
        "properties": jnp.stack([properties[name] for name in SPECTRAL_PROPERTIES]),
    }


def _spectra(model: Any, total: Callable[[Any, Array], Array]) -> SpectraOf:
    compute = jax.jit(jax.vmap(total, in_axes=(None, 0)))

    def spectra(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return model.pixels.wave_aa, np.asarray(compute(model, jnp.asarray(theta)), float)

    return spectra


def _total(model: ExactModel, theta: Array) -> Array:
    return model.spectrum(theta).total


def _whole(model: Any, theta: Array) -> Array:
    return model.spectrum(theta)
