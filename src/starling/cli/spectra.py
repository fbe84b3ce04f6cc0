"""The exact models as simulators of spectra; spectrum emulators trained on them and compared with them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.cli.simulator import Described, described_source, named_tables
from starling.cli.train import GRADIENT_SEED
from starling.components import Components
from starling.emulators.pipeline import Hooks
from starling.emulators.simulate_config import SimulateConfig
from starling.emulators.spectra.config import SpectrumConfig
from starling.emulators.spectra.files import (
    load_spectrum_emulator,
    read_quantiles,
    save_spectrum_emulator,
)
from starling.emulators.spectra.grid import SpectralGrid
from starling.emulators.spectra.model import whole
from starling.emulators.spectra.pipeline import train_spectrum_emulator
from starling.emulators.spectra.sources import Stored, component_batches
from starling.emulators.spectra.statistics import BAR, BATCH, spectrum_errors, spectrum_statistics
from starling.parameters import ParameterSpace
from starling.plotting.spectra import plot_spectrum_errors
from starling.simulation import DrawPlan, Simulator
from starling.simulation.shards import write_atomically
from starling.simulation.store import differences
from starling.sps import Tables, make_pixels
from starling.sps.composite import ExactModel, exact_model
from starling.sps.histories import HistoryModel, history_model
from starling.sps.pixels import DEFAULT_SEGMENTS
from starling.validation.spectra import pixel_table, spectrum_card, spectrum_table, spectrum_verdict
from starling.validation.spectrum_gradients import (
    spectrum_gradient_errors,
    spectrum_gradient_table,
    spectrum_gradient_verdict,
)

_ANY_BAND = ("sdss_g0",)  # the exact model of photometry has bands; spectra do not depend on them


def train_spectra(
    config: SpectrumConfig,
    out: Path,
    workdir: Path,
    *,
    resume: bool,
    sps_home: Path | None,
    workers: int,
    gradients: int,
    hooks: Hooks,
    sets: Path | None = None,
) -> None:
    """Simulate, or take the sets of a folder; train, measure and write a spectrum emulator."""
    stored = None if sets is None else Stored.open(config, sets)
    exact = spectral_simulator(config, sps_home) if stored is None or gradients else None
    source: tuple[Simulator | Stored, SpectralGrid, dict[str, Any]]
    if stored is not None:
        source = stored, stored.grid, stored.description
    elif exact is not None:
        source = exact.simulator, exact.model.grid, exact.description
    emulator = train_spectrum_emulator(
        config, *source, workdir=workdir, out=out, workers=workers, resume=resume, hooks=hooks
    )
    if exact is None:
        return
    model = exact.model
    if differing := differences(json.loads(json.dumps(exact.description)), source[2]):
        hooks.say(f"gradients are not measured: the sets are of another model ({', '.join(differing)})")
    elif gradients:
        hooks.say("errors of the gradient")
        # a seed of its own: the sets have those from 1000 times the configuration's on
        seed = 1000 * config.seed + GRADIENT_SEED
        header, quantiles = read_quantiles(out)
        header["accuracy"]["gradient"] = spectrum_gradient_errors(emulator, model, gradients, seed)
        save_spectrum_emulator(out, emulator, header, quantiles)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SpectralModel:
    """The exact model's rest-frame spectra in the pixels from ``start`` to ``stop``: a ``SpectrumModel``."""

    model: ExactModel | HistoryModel
    start: int = field(metadata={"static": True})
    stop: int = field(metadata={"static": True})

    @property
    def space(self) -> ParameterSpace:
        return self.model.space

    @property
    def wave_aa(self) -> Float[Array, " pixel"]:
        return jnp.asarray(self.model.pixels.wave_aa[self.start : self.stop])

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " pixel"]:
        """The whole spectrum, lines in their pixels."""
        return whole(self.space, theta, self.components(theta), jnp.asarray(self.grid.line_pixels))

    def components(self, theta: Float[Array, " param"]) -> Components:
        parts, kept = self.model.component_spectra(theta), slice(self.start, self.stop)
        return parts._replace(stars=parts.stars[:, kept], dust=parts.dust[kept], torus=parts.torus[kept])

    @property
    def grid(self) -> SpectralGrid:
        """Pixels and lines."""
        edges = self.model.pixels.edges_aa[self.start : self.stop + 1]
        if isinstance(self.model, HistoryModel) or self.model.prepared.nebular is None:
            return SpectralGrid(edges, jnp.zeros(0), jnp.zeros((0, edges.size - 1)))
        nebular = self.model.prepared.nebular
        return SpectralGrid(edges, nebular.line_wave_aa, nebular.line_pixels[:, self.start : self.stop])


def spectral_simulator(config: SpectrumConfig | SimulateConfig, sps_home: Path | None) -> Described:
    """The simulator of spectra that a configuration names."""
    tables = named_tables(config.simulator.tables, config.space.build(), sps_home)
    model = spectral_model(config, tables)
    source = described_source(config.simulator, tables, config.spectra)
    description = describe_spectral_model(model) | source
    coordinates = {name: np.asarray(array, float) for name, array in model.grid._asdict().items()}
    return Described(make_spectral_simulator(model, config.simulator.batch), description, model, coordinates)


def build_spectral_model(config: SpectrumConfig, sps_home: Path | None) -> SpectralModel:
    """The exact model that a configuration names, in its pixels; every emission line is apart from the continuum."""
    return spectral_model(config, named_tables(config.simulator.tables, config.space.build(), sps_home))


def spectral_model(config: SpectrumConfig | SimulateConfig, tables: Tables) -> SpectralModel:
    """The same on tables that are there."""
    assert config.spectra is not None
    space = config.space.build()
    segments = config.spectra.segments or DEFAULT_SEGMENTS
    model: ExactModel | HistoryModel
    if config.space.model == "desi_bgs":
        model = history_model(tables.ssp, make_pixels(segments, config.spectra.high_aa), space)
    else:
        model = exact_model(tables, _ANY_BAND, space, pixels=make_pixels(segments), weak_line=0.0)
    edges = model.pixels.edges_aa
    inside = np.flatnonzero(
        (edges[:-1] >= config.spectra.low_aa * (1.0 - 1e-9))
        & (edges[1:] <= config.spectra.high_aa * (1.0 + 1e-9))
    )
    if not inside.size:
        raise ValueError("spectra: no pixel lies between low_aa and high_aa")
    return SpectralModel(model, int(inside[0]), int(inside[-1]) + 1)


def describe_spectral_model(model: SpectralModel) -> dict[str, Any]:
    """What decides the numbers of a model, JSON-able."""
    edges = model.grid.edges_aa
    return {
        "tables": model.model.description,
        "surrogate": model.model.surrogate,
        "space": model.space.name,
        "pixels": len(edges) - 1,
        "wave_aa": [float(edges[0]), float(edges[-1])],
        "lines": len(model.grid.line_wave_aa),
    }


def make_spectral_simulator(model: SpectralModel, batch: int) -> Simulator:
    """A simulator of components in rest-frame pixels, ``batch`` galaxies at a time."""

    def one(model: SpectralModel, theta: Float[Array, " param"]) -> dict[str, Array]:
        # `lax.map` cannot take arrays without elements
        return {name: array for name, array in model.components(theta)._asdict().items() if array.size}

    compiled = jax.jit(
        lambda model, thetas: jax.lax.map(lambda theta: one(model, theta), thetas, batch_size=batch)
    )

    def simulate(theta: Float[np.ndarray, "row param"]) -> dict[str, np.ndarray]:
        outputs = {name: np.asarray(array) for name, array in compiled(model, jnp.asarray(theta)).items()}
        return {"lines": np.zeros((len(theta), 0), np.float32)} | outputs

    return simulate


def validate_spectra(
    path: Path,
    card: Path | None,
    *,
    simulate: int,
    gradients: int,
    seed: int,
    sps_home: Path | None,
    say: Callable[..., Any],
) -> None:
    """Print the errors of a spectrum emulator, from its header or on new draws; write its card."""
    header, quantiles = read_quantiles(path)
    emulator = load_spectrum_emulator(path)
    wave_aa = np.asarray(emulator.wave_aa)
    surrogate = " (SURROGATE: not astrophysics)" if header["surrogate"] else ""
    say(f"{header['name']}: {len(wave_aa)} pixels, made {header['created']} on", end=" ")
    say(f"{header['simulator']['tables']}{surrogate}")
    if simulate:
        config = SpectrumConfig.model_validate(header["config"])
        model = build_spectral_model(config, sps_home)
        simulator = make_spectral_simulator(model, config.simulator.batch)
        plan = DrawPlan(emulator.space, simulate, seed, "uniform", 256)
        found = component_batches(simulator, plan, BATCH)
        errors = spectrum_errors(emulator, found, model.grid.line_pixels)
        header["accuracy"]["prior"], quantiles["prior"] = spectrum_statistics(errors, wave_aa)
        header["accuracy"]["gradient"] = spectrum_gradient_errors(emulator, model, gradients, seed + 1)
    say(spectrum_table(header))
    say(pixel_table(wave_aa, quantiles["prior"], header["accuracy"]["prior"]["levels"]))
    say(spectrum_verdict(header), highlight=False)
    if gradient := header["accuracy"].get("gradient"):
        say(spectrum_gradient_table(gradient))
        say(spectrum_gradient_verdict(gradient), highlight=False)
    if card is not None:
        card.mkdir(parents=True, exist_ok=True)
        levels = header["accuracy"]["prior"]["levels"]
        figure = plot_spectrum_errors(wave_aa, quantiles["prior"], levels, BAR)
        figure.savefig(
            card / "errors.png", dpi=100, metadata={"Software": None}, pil_kwargs={"optimize": True}
        )
        torus = " --sps-home DIR" if "log_fagn" in emulator.space else ""
        options = f" --simulate {simulate} --gradients {gradients} --seed {seed}{torus}" if simulate else ""
        command = f"starling validate {header['name']} --card {card.name}{options}"
        remake = f"starling train configs/train_{header['name']}.yaml{torus}"
        write_atomically(
            card / "model_card.md", spectrum_card(header, "errors.png", command, remake).encode()
        )
        say(f"wrote {card / 'model_card.md'}")
