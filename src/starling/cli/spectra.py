"""The exact models as simulators of spectra; spectrum emulators trained on them and compared with them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.cli.simulator import describe_conventions, described_source, named_tables
from starling.cli.source import Source
from starling.cli.train import GRADIENT_SEED
from starling.cli.training_sets import check_inputs, check_tables, other_than
from starling.components import Components
from starling.emulators.pipeline import Hooks
from starling.emulators.simulate_config import SimulateConfig
from starling.emulators.spectra.config import PixelsConfig, SpectrumConfig
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
from starling.emulators.stored import ASKED, asked_of
from starling.parameters import ParameterSpace
from starling.plotting.spectra import plot_spectrum_errors
from starling.simulation import DrawPlan, Simulator
from starling.simulation.shards import write_atomically
from starling.sps import Tables, make_pixels
from starling.sps.composite import ExactModel, exact_model
from starling.sps.fsps import Fsps, describe_fsps, pixel_simulator
from starling.sps.histories import HistoryModel, history_model
from starling.sps.pixels import DEFAULT_LAST_AA, DEFAULT_SEGMENTS, PixelGrid
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
    if stored is not None:
        check_tables(config, stored.description)
    measured = gradients > 0 and config.simulator.code == "exact"
    wanted = stored is None or measured
    with open_spectral_source(config, sps_home, workers) if wanted else nullcontext() as source:
        galaxies: Stored | Simulator
        if stored is not None:
            galaxies, grid, description = stored, stored.grid, stored.description
        else:
            assert source is not None
            galaxies, grid, description = source.simulate, grid_of(source), source.description
        check_inputs(config.network, description)
        emulator = train_spectrum_emulator(
            config,
            galaxies,
            grid,
            description,
            workdir=workdir,
            out=out,
            workers=workers if source is None else source.threads,
            resume=resume,
            hooks=hooks,
        )
    if source is None or not measured:
        return
    if stored is not None and (differing := other_than(source, stored.description)):
        hooks.say(f"gradients are not measured: the sets are of another model ({differing})")
        return
    hooks.say("errors of the gradient")
    # a seed of its own: the sets have those from 1000 times the configuration's on
    seed = 1000 * config.seed + GRADIENT_SEED
    header, quantiles = read_quantiles(out)
    header["accuracy"]["gradient"] = spectrum_gradient_errors(emulator, source.exact, gradients, seed)
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


def spectral_model(config: SpectrumConfig | SimulateConfig, tables: Tables) -> SpectralModel:
    """The exact model that a configuration names, in its pixels; every emission line is apart from the continuum."""
    space = config.space.build()
    model: ExactModel | HistoryModel
    pixels = spectral_pixels(config)
    if config.space.model == "desi_bgs":
        model = history_model(tables.ssp, pixels, space)
    else:
        model = exact_model(tables, _ANY_BAND, space, pixels=pixels, weak_line=0.0)
    kept = kept_pixels(config, pixels)
    return SpectralModel(model, kept.start, kept.stop)


def spectral_pixels(config: SpectrumConfig | SimulateConfig) -> PixelGrid:
    """The pixels of the simulators; those of the DESI model end where its spectra do."""
    wanted = _pixels(config)
    last_aa = wanted.high_aa if config.space.model == "desi_bgs" else DEFAULT_LAST_AA
    return make_pixels(wanted.segments or DEFAULT_SEGMENTS, last_aa)


def kept_pixels(config: SpectrumConfig | SimulateConfig, pixels: PixelGrid) -> slice:
    """The pixels between ``low_aa`` and ``high_aa``; ValueError where there is none."""
    edges, wanted = pixels.edges_aa, _pixels(config)
    inside = np.flatnonzero(
        (edges[:-1] >= wanted.low_aa * (1.0 - 1e-9)) & (edges[1:] <= wanted.high_aa * (1.0 + 1e-9))
    )
    if not inside.size:
        raise ValueError("spectra: no pixel lies between low_aa and high_aa")
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _pixels(config: SpectrumConfig | SimulateConfig) -> PixelsConfig:
    if config.spectra is None:
        raise ValueError("the configuration has no section `spectra`")
    return config.spectra


@contextmanager
def open_spectral_source(
    config: SpectrumConfig | SimulateConfig, sps_home: Path | None, workers: int
) -> Iterator[Source]:
    """The simulator of spectra that a configuration names; its ``coordinates`` are the fields of ``SpectralGrid``.

    ``workers`` threads call the exact model; FSPS runs in ``workers`` processes, which end with the context.
    """
    if config.simulator.code == "fsps":
        pixels = spectral_pixels(config)
        kept = kept_pixels(config, pixels)
        edges = pixels.edges_aa[kept.start : kept.stop + 1]
        with Fsps(config.space.build(), sps_home, workers=workers) as fsps:
            grid = SpectralGrid(edges, np.zeros(0), np.zeros((0, edges.size - 1)))
            pieces = {"pixels": edges.size - 1, "wave_aa": [float(edges[0]), float(edges[-1])]}
            described = describe_fsps(fsps) | pieces | {ASKED: asked_of(config.simulator, config.spectra)}
            yield Source(pixel_simulator(fsps, pixels, kept), described, None, _coordinates(grid), 1)
        return
    tables = named_tables(config.simulator.tables_found, config.space.build(), sps_home)
    model = spectral_model(config, tables)
    description = describe_spectral_model(model) | described_source(config.simulator, tables, config.spectra)
    simulate = make_spectral_simulator(model, config.simulator.batch)
    yield Source(simulate, description, model, _coordinates(model.grid), workers)


def grid_of(source: Source) -> SpectralGrid:
    """Pixels and lines of a simulator of spectra."""
    return SpectralGrid(**source.coordinates)


def _coordinates(grid: SpectralGrid) -> dict[str, np.ndarray]:
    return {name: np.asarray(array, float) for name, array in grid._asdict().items()}


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
        **(describe_conventions(model.model) if isinstance(model.model, ExactModel) else {}),
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
        plan = DrawPlan(emulator.space, simulate, seed, "uniform", 256)
        with open_spectral_source(config, sps_home, workers=1) as source:
            exact = component_batches(source.simulate, plan, BATCH)
            errors = spectrum_errors(emulator, exact, grid_of(source).line_pixels)
        header["accuracy"]["prior"], quantiles["prior"] = spectrum_statistics(errors, wave_aa)
        if source.exact is not None:
            found = spectrum_gradient_errors(emulator, source.exact, gradients, seed + 1)
            header["accuracy"]["gradient"] = found
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
