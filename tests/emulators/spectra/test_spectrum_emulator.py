"""Spectrum emulators from end to end on a made-up galaxy: training, accuracy, file, redshift, gradients."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.components import Components
from starling.cosmology import luminosity_distance_mpc
from starling.emulators.spectra.config import SpectrumConfig
from starling.emulators.spectra.files import load_spectrum_emulator, read_quantiles
from starling.emulators.spectra.grid import SpectralGrid
from starling.emulators.spectra.model import SpectrumEmulator
from starling.emulators.spectra.pipeline import train_spectrum_emulator
from starling.sfh import bin_edges_gyr
from starling.spaces import prospector_alpha_14

EDGES = np.geomspace(1000.0, 3e4, 121)
WAVE = np.sqrt(EDGES[1:] * EDGES[:-1])
LINES = np.array([5006.84, 6562.8])
SPACE = prospector_alpha_14((0.001, 2.5))


def line_pixels() -> np.ndarray:
    pixels = np.zeros((LINES.size, WAVE.size))
    pixels[np.arange(LINES.size), np.searchsorted(EDGES, LINES) - 1] = 1.0
    return pixels / np.diff(EDGES)


def toy_spectra(theta: jax.Array) -> Components:
    """Components that are smooth in every parameter."""
    values = SPACE.unpack(theta)
    edges = bin_edges_gyr(values["zred"])
    age = 0.5 * (edges[1:] + edges[:-1])
    wave = jnp.asarray(WAVE / 5500.0)
    colour = jnp.log1p(age)[:, None] * jnp.tanh(2.0 * (wave - 1.0)) * (1.0 + 0.2 * values["logzsol"])
    depth = values["dust2"] * wave ** (-0.7 + 0.2 * values["dust_index"])
    light = (0.1 + age) ** -0.8
    return Components(
        stars=1e-4 * light[:, None] * jnp.exp(0.3 * colour - depth),
        lines=0.1 * jnp.exp(jnp.asarray([0.3, 0.2]) * (values["gas_logz"] - 2.0 * values["dust2"])),
        absorbed=light * (0.1 + values["dust2"]),
        bolometric=light,
        mass_fraction=0.6 + 0.3 / (1.0 + age),
        dust=1e-6 * wave,
        infrared_share=jnp.asarray(0.9),
        torus=1e-6 * (1.0 + 0.1 * values["log_agn_tau"]) * wave,
    )


def simulate(theta: np.ndarray) -> dict[str, np.ndarray]:
    return {k: np.asarray(v) for k, v in jax.jit(jax.vmap(toy_spectra))(jnp.asarray(theta))._asdict().items()}


def make_config(kind: str, **training: object) -> SpectrumConfig:
    small = {"width": 32, "depth": 2}
    dusty = {"transforms": {"dust2": ["identity", "log_shifted"], "zred": ["log_age"]}}
    network: dict[str, object] = {"kind": "pca", **small, "features": dusty}
    if kind == "mixture":
        roles = ("stars", "lines", "dust", "torus")
        network = {"kind": "mixture"} | {role: {**small, "features": dusty} for role in roles}
    return SpectrumConfig.model_validate(
        {
            "name": f"toy_{kind}",
            "seed": 3,
            "space": {"model": "prospector_alpha_14", "zred": [0.001, 2.5]},
            "spectra": {"low_aa": 1000.0, "high_aa": 30000.0, "seams_aa": [4000.0]},
            "components": {"n_basis": 1024, "most": 12, "rms": 1e-4},
            "sets": {"n_train": 4096, "n_validation": 512, "n_test": 512, "chunk": 512},
            "network": network,
            "training": {"stages": [{"epochs": 20, "batch_size": 128}], **training},
        }
    )


GRID = SpectralGrid(EDGES, LINES, line_pixels())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spectra")
    train_spectrum_emulator(
        make_config("mixture"),
        simulate,
        GRID,
        {"tables": "toy"},
        workdir=folder,
        out=folder / "toy.safetensors",
    )
    return folder / "toy.safetensors"


@pytest.fixture(scope="module")
def emulator(trained: Path) -> SpectrumEmulator:
    return load_spectrum_emulator(trained)


def test_the_mixture_is_accurate_and_says_how_much(trained: Path, emulator: SpectrumEmulator) -> None:
    header, quantiles = read_quantiles(trained)
    stated = header["accuracy"]["prior"]["all"]
    theta = SPACE.sample(jax.random.key(5), (200,))
    exact = simulate(np.asarray(theta))
    from starling.emulators.spectra.model import whole

    total = jax.vmap(lambda t, p: whole(SPACE, t, p, emulator.line_pixels))(
        theta, Components(*(jnp.asarray(exact[name]) for name in Components._fields))
    )
    error = np.abs(np.asarray(jax.vmap(emulator)(theta)) / np.asarray(total) - 1.0)
    assert np.median(error.mean(axis=1)) < 0.01
    assert np.isclose(np.quantile(error.mean(axis=1), 0.68), stated["mean"][0], rtol=0.3)
    assert quantiles["prior"].shape == (4, WAVE.size)


def test_the_papers_kind_trains_too(tmp_path: Path) -> None:
    config = make_config("pca")
    emulator = train_spectrum_emulator(
        config, simulate, GRID, {"tables": "toy"}, workdir=tmp_path, out=tmp_path / "toy.safetensors"
    )
    header, _ = read_quantiles(tmp_path / "toy.safetensors")
    assert header["accuracy"]["prior"]["all"]["mean"][0] < 0.1
    assert np.all(emulator.parts(SPACE.sample(jax.random.key(0)))[1] == 0.0)  # lines are in the spectrum


def test_redshift_mass_and_distance_are_analytic(emulator: SpectrumEmulator) -> None:
    theta = SPACE.sample(jax.random.key(1)).at[SPACE.index("zred")].set(0.3)
    theta = theta.at[SPACE.index("logmass")].set(10.0)
    rest = emulator(theta)
    centres = jnp.asarray(emulator.wave_aa[20:100] * 1.3, jnp.float32)
    seen = emulator.observed(theta, centres)
    distance_cm = float(luminosity_distance_mpc(0.3)) * 3.0856775814913673e24
    expected = 1e10 * np.asarray(rest[20:100], float) * 3.828e33 / (4 * np.pi * distance_cm**2) / 1.3
    assert np.allclose(seen, expected, rtol=2e-3, atol=0.0)
    assert np.all(np.asarray(emulator.observed(theta, jnp.asarray([500.0, 9e4]))) == 0.0)


def test_gradients_are_finite_and_right(emulator: SpectrumEmulator) -> None:
    theta = SPACE.sample(jax.random.key(2)).at[SPACE.index("dust2")].set(0.4)
    total = lambda t: jnp.sum(jnp.log(emulator(t)))  # noqa: E731
    gradient = jax.grad(total)(theta)
    assert np.all(np.isfinite(gradient))
    for name in ("dust2", "logsfr_ratios_2", "log_fagn"):
        step = jnp.zeros_like(theta).at[SPACE.index(name)].set(1e-2)
        slope = (total(theta + step) - total(theta - step)) / 2e-2
        assert np.isclose(gradient[SPACE.index(name)], slope, rtol=0.05, atol=0.2)


def test_a_cut_emulator_gives_the_same_pixels(emulator: SpectrumEmulator) -> None:
    theta = SPACE.sample(jax.random.key(3))
    part = emulator.cut(3000.0, 9000.0)
    inside = (emulator.wave_aa >= 3000.0) & (emulator.wave_aa <= 9000.0)
    assert np.allclose(part(theta), np.asarray(emulator(theta))[inside], rtol=1e-4, atol=0.0)
    with pytest.raises(ValueError, match="no pixel between"):
        emulator.cut(1e6, 2e6)


def test_a_damaged_file_says_so(trained: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(trained.read_bytes()[:2000])
    with pytest.raises(ValueError, match="damaged"):
        load_spectrum_emulator(broken)
    from starling.emulators import default_path

    with pytest.raises(ValueError, match="not a starling spectrum emulator"):
        load_spectrum_emulator(default_path())


@pytest.mark.parametrize("extra", [{"fresh": {"rows": 512}}, {"sobolev_weight": 0.1}])
def test_what_only_photometry_has_is_refused(extra: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="for photometry only"):
        make_config("mixture", **extra)


def test_a_mixture_needs_a_network_for_every_component() -> None:
    content = make_config("mixture").model_dump()
    content["network"].pop("torus")
    with pytest.raises(ValueError, match="one network for each"):
        SpectrumConfig.model_validate(content)
