"""Every forward model through one set of checks: shapes, units, gradients, jit, vmap, precision, trace counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parrot_files import save_object, single, stitched
from toy_emulators import toy_stitched
from toy_tables import make_toy_tables

from starling.emulators.files import load_default
from starling.forward import PROPERTIES, ForwardModel, is_linear_in_mass, linearise, parts_of
from starling.published import parrot_model, speculator_model
from starling.published.parrot_model import ParrotModel
from starling.sps import exact_model

BANDS = ("acs_wfc_f606w", "wfc3_ir_f160w", "spitzer_irac_ch2")
# off the nodes of tables and edges of pixels
POINT = dict(
    zip((f"logsfr_ratios_{i}" for i in range(1, 7)), (0.2, -0.3, 0.1, 0.4, -0.2, 0.3), strict=True)
) | {
    "logmass": 10.3,
    "logzsol": -0.43,
    "dust2": 0.6,
    "dust_index": -0.33,
    "dust1_fraction": 1.1,
    "log_fagn": -1.3,
    "log_agn_tau": 1.2,
    "gas_logz": -0.27,
    "zred": 1.2345,
    "duste_qpah": 1.7,
    "duste_umin": 2.3,
    "log_duste_gamma": -1.6,
}
DOMAINS = ((0.5, 1.3), (1.1, 2.0), (1.7, 3.0))  # an overlap where gradients are tested


MODELS = (
    *("exact", "emulator", "stitched direct", "stitched mixture"),
    *("speculator", "parrot", "stitched parrot"),
)


def make_parrot(path: Path, content: Any) -> ForwardModel:
    return parrot_model(save_object(path / "parrot.npy", content)).select(BANDS)


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ForwardModel:
    makers: dict[str, Callable[[], ForwardModel]] = {
        "exact": lambda: exact_model(make_toy_tables(), BANDS),
        "emulator": lambda: load_default().select(BANDS),
        "stitched direct": lambda: toy_stitched("direct", BANDS, DOMAINS),
        "stitched mixture": lambda: toy_stitched("mixture", BANDS, DOMAINS),
        "speculator": lambda: speculator_model(
            request.getfixturevalue("shared_data") / "speculator", (*BANDS, "sdss_r0")
        ).select(BANDS),
        "parrot": lambda: make_parrot(tmp_path_factory.mktemp("single"), single()),
        "stitched parrot": lambda: make_parrot(tmp_path_factory.mktemp("stitched"), stitched()),
    }
    return makers[request.param]()


@pytest.fixture(scope="module")
def theta(model: ForwardModel) -> jax.Array:
    return model.space.sample(jax.random.key(4), (6,))


@jax.jit
def fluxes(model: ForwardModel, theta: jax.Array) -> jax.Array:
    return jax.vmap(model)(theta)


def test_is_a_forward_model_and_a_pytree(model: ForwardModel) -> None:
    assert isinstance(model, ForwardModel)
    assert model.bands == BANDS
    assert model.wave_effective_aa.shape == (3,)
    leaves, structure = jax.tree.flatten(model)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    again = jax.tree.unflatten(structure, leaves)
    assert again.bands == model.bands
    assert again.space == model.space


def test_maggies_of_one_galaxy_and_of_many(model: ForwardModel, theta: jax.Array) -> None:
    many = fluxes(model, theta)
    assert many.shape == (6, 3)
    assert np.all(np.isfinite(many))
    one = jax.jit(lambda m, t: m(t))(model, theta[2])
    assert np.allclose(one, many[2], rtol=1e-4, atol=0.0)
    # a galaxy of 1e10 Msun at z = 1 is between AB 17 and 33
    middle = dict(zip(model.space.names, np.asarray(theta[0]), strict=True)) | {"logmass": 10.0, "zred": 1.0}
    magnitude = -2.5 * np.log10(
        np.asarray(jax.jit(lambda m, t: m(t))(model, model.space.pack(middle)), float)
    )
    assert np.all((magnitude > 15) & (magnitude < 33))


def test_mass_scales_flux(model: ForwardModel, theta: jax.Array) -> None:
    heavier = theta.at[:, model.space.index("logmass")].add(1.0)
    assert np.allclose(fluxes(model, heavier), 10.0 * fluxes(model, theta), rtol=1e-4, atol=0.0)


def follows_mass(model: ForwardModel, theta: jax.Array) -> bool:
    """Whether the flux is in proportion to the mass, from one end of its prior to the other."""
    index = model.space.index("logmass")
    low, high = (float(end[index]) for end in model.space.bounds)
    ends = [np.asarray(fluxes(model, theta.at[:, index].set(mass)), float) for mass in (low, high)]
    return np.allclose(10.0 ** (high - low) * ends[0], ends[1], rtol=1e-3, atol=0.0)


def test_who_says_linear_in_mass_is(model: ForwardModel, theta: jax.Array) -> None:
    """Chains and flows take a model's word for it. Networks that have the mass among their inputs do not give it."""
    assert is_linear_in_mass(model) == (not isinstance(model, ParrotModel))
    assert follows_mass(model, theta) or not is_linear_in_mass(model)
    parts = parts_of(model, {"zred": np.linspace(0.6, 2.5, 4)}, 4)
    for same in (model.select(BANDS[1:]), *(part.model for part in parts)):
        assert is_linear_in_mass(same) == is_linear_in_mass(model)


def test_a_network_that_bends_the_mass_does_not_say_linear(tmp_path: Path) -> None:
    content = single()
    content[2][1][0][0] = -10.0  # where the activation bends
    bent = make_parrot(tmp_path, content)
    assert not follows_mass(bent, bent.space.sample(jax.random.key(4), (6,)))
    assert not is_linear_in_mass(bent)


def test_gradient_against_finite_differences(model: ForwardModel) -> None:
    with jax.enable_x64(True):
        point = model.space.pack({name: POINT[name] for name in model.space.names})
        double = jax.tree.map(
            lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, model
        )
        log_flux = jax.jit(lambda t: jnp.log(double(t)))
        gradients = [
            np.asarray(jax.jit(mode(lambda t: jnp.log(double(t))))(point))
            for mode in (jax.jacfwd, jax.jacrev)
        ]
        for i, name in enumerate(model.space.names):
            step = np.zeros(point.size)
            step[i] = 1e-5
            slope = np.asarray((log_flux(point + step) - log_flux(point - step)) / 2e-5)
            for gradient in gradients:
                assert np.max(np.abs(gradient[:, i] - slope)) < 1e-3 * max(np.max(np.abs(slope)), 1e-3), name


def test_linear_map_is_the_derivative(model: ForwardModel, theta: jax.Array) -> None:
    flux, slopes = jax.jit(lambda m, t: jax.vmap(lambda one: linearise(m, one))(t))(model, theta)
    assert slopes.shape == (6, 3, len(model.space))
    np.testing.assert_allclose(flux, fluxes(model, theta), rtol=1e-5)
    expected = jax.jit(lambda m, t: jax.vmap(jax.jacfwd(m))(t))(model, theta)
    scale = np.abs(np.asarray(flux))[..., None]
    np.testing.assert_allclose(slopes / scale, expected / scale, rtol=1e-3, atol=1e-4)


def test_properties(model: ForwardModel, theta: jax.Array) -> None:
    properties = jax.jit(lambda m, t: jax.vmap(m.properties)(t))(model, theta)
    assert set(properties) == set(PROPERTIES)
    for name, values in properties.items():
        assert values.shape[0] == 6
        assert np.all(np.isfinite(values)), name
    assert properties["sfh"].shape == (6, 7)
    assert properties["sfh_edges_gyr"].shape == (6, 8)


def test_error_is_finite_not_negative_and_follows_flux(model: ForwardModel) -> None:
    flux = jnp.asarray([0.0, 1e-11, 1e-8])
    error = np.asarray(model.flux_error(flux))
    assert error.shape == (3,)
    assert np.all(np.isfinite(error))
    assert np.all(error >= 0)
    assert error[2] < 0.2 * 1e-8


def test_select(model: ForwardModel, theta: jax.Array) -> None:
    part = model.select(BANDS[::-1][:2])
    assert np.allclose(fluxes(part, theta), np.asarray(fluxes(model, theta))[:, [2, 1]], rtol=1e-4, atol=0.0)
    with pytest.raises(ValueError, match="sdss_z9"):
        model.select(["sdss_z9"])


def test_new_values_do_not_trace_again(model: ForwardModel, theta: jax.Array) -> None:
    traces = 0

    @jax.jit
    def count(model: ForwardModel, theta: jax.Array) -> jax.Array:
        nonlocal traces
        traces += 1
        return model(theta)

    for row in theta:
        count(model, row)
    count(jax.tree.map(lambda leaf: leaf, model), theta[0])
    assert traces == 1
