"""The emulator as a forward model: accurate, linear in mass, differentiable, sliceable."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.components import SPECTRAL_PROPERTIES
from starling.cosmology import luminosity_distance_mpc
from starling.emulators import PhotometryEmulator, load_emulator, read_header
from starling.emulators.pipeline import simulate_sets, train_emulator
from starling.forward import PROPERTIES, ForwardModel
from tests.emulators.conftest import (
    BANDS,
    DESCRIPTION,
    NETWORKS,
    SPACE,
    jax_simulator,
    make_config,
    toy_simulator,
    toy_totals,
)


@pytest.fixture(scope="module")
def emulator(toy_file: Path) -> PhotometryEmulator:
    return load_emulator(toy_file)


@jax.jit
def fluxes(model: PhotometryEmulator, thetas: jax.Array) -> jax.Array:
    return jax.vmap(model)(thetas)


@pytest.fixture(scope="module")
def thetas() -> jax.Array:
    return SPACE.sample(jax.random.key(11), (64,))


def test_it_is_a_forward_model(emulator: PhotometryEmulator) -> None:
    assert isinstance(emulator, ForwardModel)
    assert emulator.bands == BANDS


def test_errors_on_new_draws_are_small_and_as_the_header_says(
    emulator: PhotometryEmulator, toy_file: Path
) -> None:
    theta = SPACE.sample(jax.random.key(5), (2000,))
    exact = toy_totals(theta)["rest_flux"]
    error = -2.5 * jnp.log10(jax.jit(jax.vmap(emulator.rest_flux))(theta) / exact)
    measured = np.std(np.asarray(error), axis=0)
    assert np.all(measured < 0.05)
    stated = np.array(read_header(toy_file)["accuracy"]["prior"]["std"][: len(BANDS)])
    # the standard error of a standard deviation with 1000 galaxies is 2% for normal errors; these have heavier tails
    np.testing.assert_allclose(measured, stated, rtol=0.4)
    np.testing.assert_allclose(emulator.sigma_mag, stated, rtol=1e-6)


def test_flux_is_linear_in_mass(emulator: PhotometryEmulator, thetas: jax.Array) -> None:
    heavier = thetas.at[:, SPACE.index("logmass")].add(1.0)
    ratio = fluxes(emulator, heavier) / fluxes(emulator, thetas)
    np.testing.assert_allclose(ratio, 10.0, rtol=2e-5)


def test_flux_is_diluted_by_distance(emulator: PhotometryEmulator, thetas: jax.Array) -> None:
    distance = luminosity_distance_mpc(thetas[:, SPACE.index("zred")]) / 1e-5
    scale = 10.0 ** thetas[:, SPACE.index("logmass")] / distance**2
    expected = jax.jit(jax.vmap(emulator.rest_flux))(thetas) * scale[:, None]
    np.testing.assert_allclose(fluxes(emulator, thetas), expected, rtol=1e-5)


def test_selected_bands_equal_those_of_the_whole(emulator: PhotometryEmulator, thetas: jax.Array) -> None:
    order = (BANDS[3], BANDS[0])
    part = emulator.select(order)
    assert part.bands == order
    assert part.core.n_bands == 2
    whole = fluxes(emulator, thetas)[:, jnp.array([3, 0])]
    np.testing.assert_allclose(fluxes(part, thetas), whole, rtol=1e-5)
    np.testing.assert_array_equal(part.flux_error(whole[0]), emulator.select(order).flux_error(whole[0]))
    properties = jax.jit(lambda model, theta: model.properties(theta))
    whole_properties, part_properties = properties(emulator, thetas[0]), properties(part, thetas[0])
    for name, value in whole_properties.items():
        np.testing.assert_array_equal(part_properties[name], value)


def test_unknown_bands_are_named(emulator: PhotometryEmulator) -> None:
    with pytest.raises(ValueError, match=r"'sdss_g'.*did you mean.*sdss_g0"):
        emulator.select(["sdss_i0", "sdss_g"])


def test_gradient_agrees_with_finite_differences(emulator: PhotometryEmulator, thetas: jax.Array) -> None:
    theta = thetas[0]

    @jax.jit
    def magnitude(t: jax.Array) -> jax.Array:
        return -2.5 * jnp.log10(emulator(t))

    jacobian = np.asarray(jax.jit(jax.jacfwd(magnitude))(theta))
    step = 2e-3
    for column in range(len(SPACE)):
        shift = jnp.zeros(len(SPACE)).at[column].set(step)
        numeric = np.asarray((magnitude(theta + shift) - magnitude(theta - shift)) / (2.0 * step))
        # float32: a magnitude of 20 is known to 2e-6, so the quotient to 2e-3
        np.testing.assert_allclose(jacobian[:, column], numeric, rtol=2e-2, atol=5e-3)


def test_gradient_is_finite_on_the_edges_of_the_prior(emulator: PhotometryEmulator) -> None:
    for edge in SPACE.bounds:
        gradient = jax.jit(jax.jacfwd(emulator))(jnp.asarray(edge, jnp.float32))
        assert bool(jnp.all(jnp.isfinite(gradient)))


def test_flux_error_is_a_constant_error_in_magnitudes_of_bright_sources(emulator: PhotometryEmulator) -> None:
    flux = jnp.full(len(BANDS), 1e-6)
    expected = emulator.sigma_mag / (2.5 / np.log(10.0)) * flux
    np.testing.assert_allclose(emulator.flux_error(flux), expected, rtol=1e-4)
    assert bool(jnp.all(emulator.flux_error(jnp.zeros(len(BANDS))) > 0))


def test_properties_are_complete_and_emulated(emulator: PhotometryEmulator, thetas: jax.Array) -> None:
    properties = jax.jit(jax.vmap(emulator.properties))(thetas)
    assert set(properties) == set(PROPERTIES)
    exact = toy_totals(thetas)["properties"]
    logmass = thetas[:, SPACE.index("logmass")]
    expected = dict(zip(SPECTRAL_PROPERTIES, exact.T, strict=True))
    for name, value in {
        "log_stellar_mass": logmass + expected["log_mass_fraction"],
        "u_minus_v": expected["u_minus_v"],
        "v_minus_j": expected["v_minus_j"],
        "log_lir": logmass + expected["log_lir_per_msun"],
    }.items():
        assert float(jnp.std(properties[name] - value)) < 0.05, name


def test_one_compilation_serves_equal_shapes(emulator: PhotometryEmulator, thetas: jax.Array) -> None:
    traces = 0

    @jax.jit
    def counted(model: PhotometryEmulator, theta: jax.Array) -> jax.Array:
        nonlocal traces
        traces += 1
        return jax.vmap(model)(theta)

    counted(emulator, thetas)
    counted(jax.tree.map(lambda leaf: 1.01 * leaf, emulator), thetas)
    assert traces == 1


def test_the_mixture_takes_histories_and_agn_exactly(toy_sets: dict[str, Any], tmp_path: Path) -> None:
    """Whatever the networks have learned, flux is linear in the masses of the bins and in the AGN fraction."""
    config = make_config(training={"stages": [{"epochs": 1, "batch_size": 512}]})
    emulator = train_emulator(config, toy_sets, DESCRIPTION, workdir=tmp_path, out=tmp_path / "a.safetensors")
    theta = SPACE.sample(jax.random.key(3), (1,))[0]
    fagn = SPACE.index("log_fagn")

    @jax.jit
    def flux(log_fagn: float) -> jax.Array:
        return emulator.rest_flux(theta.at[fagn].set(log_fagn))

    none, one, two = flux(-9.0), flux(-1.0), flux(-1.0 + np.log10(2.0))
    np.testing.assert_allclose(two - none, 2.0 * (one - none), rtol=1e-3)


def test_a_simulator_without_components_trains_a_direct_emulator_only(tmp_path: Path) -> None:
    sets = {"n_train": 512, "n_validation": 256, "n_test": 256, "chunk": 256}
    stages = {"stages": [{"epochs": 1, "batch_size": 128}]}
    config = make_config(network=NETWORKS["direct"], sets=sets, training=stages)
    simulated = simulate_sets(config, jax_simulator(toy_totals), DESCRIPTION, tmp_path / "sets")
    train_emulator(config, simulated, DESCRIPTION, workdir=tmp_path, out=tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"needs the components.*kind: direct"):
        train_emulator(
            make_config(sets=sets, training=stages),
            simulated,
            DESCRIPTION,
            workdir=tmp_path / "b",
            out=tmp_path / "b.safetensors",
        )


def test_a_mixture_needs_lines(tmp_path: Path) -> None:
    def simulator(theta: np.ndarray) -> dict[str, np.ndarray]:
        outputs = dict(jax_simulator(toy_simulator)(theta))
        return outputs | {"lines": np.zeros((len(theta), 0), np.float32)}

    config = make_config(
        sets={"n_train": 512, "n_validation": 256, "n_test": 256, "chunk": 256},
        training={"stages": [{"epochs": 1, "batch_size": 128}]},
    )
    description = DESCRIPTION | {"line_wave_aa": []}
    simulated = simulate_sets(config, simulator, description, tmp_path / "sets")
    with pytest.raises(ValueError, match=r"no emission lines.*kind: direct"):
        train_emulator(config, simulated, description, workdir=tmp_path, out=tmp_path / "a.safetensors")
