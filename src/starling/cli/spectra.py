"""The exact models as simulators of spectra; spectrum emulators trained on them and compared with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.cli.simulator import named_tables
from starling.emulators.pipeline import Hooks
from starling.emulators.spectra.config import SpectrumConfig
from starling.emulators.spectra.files import load_spectrum_emulator, read_quantiles
from starling.emulators.spectra.pipeline import SpectralGrid, train_spectrum_emulator
from starling.emulators.spectra.statistics import BAR, spectrum_errors, spectrum_statistics
from starling.plotting.spectra import plot_spectrum_errors
from starling.simulation import DrawPlan, Simulator
from starling.simulation.store import write_atomically
from starling.sps import make_pixels
from starling.sps.composite import ExactModel, exact_model
from starling.sps.histories import HistoryModel, history_model
from starling.sps.pixels import DEFAULT_SEGMENTS, PixelGrid
from starling.validation.spectra import pixel_table, spectrum_card, spectrum_table, spectrum_verdict

_ANY_BAND = ("sdss_g0",)  # the exact model of photometry has bands; spectra do not depend on them


def train_spectra(
    config: SpectrumConfig,
    out: Path,
    workdir: Path,
    *,
    resume: bool,
    sps_home: Path | None,
    workers: int,
    hooks: Hooks,
) -> None:
    """Simulate, train, measure and write a spectrum emulator."""
    model = build_spectral_model(config, sps_home)
    kept = slice_of(config, model.pixels)
    train_spectrum_emulator(
        config,
        make_spectral_simulator(model, kept, config.simulator.batch),
        spectral_grid(model, kept),
        describe_spectral_model(model, kept),
        workdir=workdir,
        out=out,
        workers=workers,
        resume=resume,
        hooks=hooks,
    )


def build_spectral_model(config: SpectrumConfig, sps_home: Path | None) -> ExactModel | HistoryModel:
    """The exact model that a configuration names."""
    space = config.space.build()
    tables = named_tables(config.simulator.tables, space, sps_home)
    segments = config.spectra.segments or DEFAULT_SEGMENTS
    if config.space.model == "desi_bgs":
        return history_model(tables.ssp, make_pixels(segments, config.spectra.high_aa), space)
    return exact_model(tables, _ANY_BAND, space, pixels=make_pixels(segments))


def slice_of(config: SpectrumConfig, pixels: PixelGrid) -> slice:
    """The pixels that lie within the wavelengths of a configuration."""
    edges = pixels.edges_aa
    inside = np.flatnonzero(
        (edges[:-1] >= config.spectra.low_aa * (1.0 - 1e-9))
        & (edges[1:] <= config.spectra.high_aa * (1.0 + 1e-9))
    )
    if not inside.size:
        raise ValueError("spectra: no pixel lies between low_aa and high_aa")
    return slice(int(inside[0]), int(inside[-1]) + 1)


def spectral_grid(model: ExactModel | HistoryModel, kept: slice) -> SpectralGrid:
    """Pixels and lines of a model."""
    edges = model.pixels.edges_aa[kept.start : kept.stop + 1]
    if isinstance(model, HistoryModel) or model.prepared.nebular is None:
        return SpectralGrid(edges, np.zeros(0), np.zeros((0, edges.size - 1)))
    nebular = model.prepared.nebular
    return SpectralGrid(edges, np.asarray(nebular.line_wave_aa), np.asarray(nebular.line_pixels)[:, kept])


def describe_spectral_model(model: ExactModel | HistoryModel, kept: slice) -> dict[str, Any]:
    """What decides the numbers of a model, JSON-able."""
    edges = model.pixels.edges_aa[kept.start : kept.stop + 1]
    return {
        "tables": model.description,
        "surrogate": model.surrogate,
        "space": model.space.name,
        "pixels": len(edges) - 1,
        "wave_aa": [float(edges[0]), float(edges[-1])],
    }


def make_spectral_simulator(model: ExactModel | HistoryModel, kept: slice, batch: int) -> Simulator:
    """A simulator of components in rest-frame pixels, ``batch`` galaxies at a time."""

    def one(model: ExactModel | HistoryModel, theta: Float[Array, " param"]) -> dict[str, Array]:
        parts = model.component_spectra(theta)
        cut = {"stars": parts.stars[:, kept], "dust": parts.dust[kept], "torus": parts.torus[kept]}
        # `lax.map` cannot take arrays without elements
        return {name: array for name, array in (parts._asdict() | cut).items() if array.size}

    compiled = jax.jit(
        lambda model, thetas: jax.lax.map(lambda theta: one(model, theta), thetas, batch_size=batch)
    )

    def simulate(theta: Float[np.ndarray, "row param"]) -> dict[str, np.ndarray]:
        outputs = {name: np.asarray(array) for name, array in compiled(model, jnp.asarray(theta)).items()}
        return {"lines": np.zeros((len(theta), 0), np.float32)} | outputs

    return simulate


def validate_spectra(
    path: Path, card: Path | None, simulate: int, seed: int, sps_home: Path | None, say: Callable[..., Any]
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
        simulator = make_spectral_simulator(model, slice_of(config, model.pixels), config.simulator.batch)
        plan = DrawPlan(emulator.space, simulate, seed, "uniform", 256)
        errors = spectrum_errors(emulator, simulator, plan)
        header["accuracy"]["prior"], quantiles["prior"] = spectrum_statistics(errors, wave_aa)
    say(spectrum_table(header))
    say(pixel_table(wave_aa, quantiles["prior"], header["accuracy"]["prior"]["levels"]))
    say(spectrum_verdict(header), highlight=False)
    if card is not None:
        card.mkdir(parents=True, exist_ok=True)
        levels = header["accuracy"]["prior"]["levels"]
        figure = plot_spectrum_errors(wave_aa, quantiles["prior"], levels, BAR)
        figure.savefig(
            card / "errors.png", dpi=100, metadata={"Software": None}, pil_kwargs={"optimize": True}
        )
        torus = " --sps-home DIR" if "log_fagn" in emulator.space else ""
        options = f" --simulate {simulate} --seed {seed}{torus}" if simulate else ""
        command = f"starling validate {header['name']} --card {card.name}{options}"
        remake = f"starling train configs/train_{header['name']}.yaml{torus}"
        write_atomically(
            card / "model_card.md", spectrum_card(header, "errors.png", command, remake).encode()
        )
        say(f"wrote {card / 'model_card.md'}")
