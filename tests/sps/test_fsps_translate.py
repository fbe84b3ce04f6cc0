"""Points of a space in FSPS's terms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling.cosmology import age_gyr
from starling.parameters import Parameter, ParameterSpace
from starling.priors import Uniform
from starling.sfh import bin_edges_gyr, mass_fractions
from starling.spaces import desi_bgs, prospector_alpha, prospector_alpha_14
from starling.sps.fsps.translate import TABLE_MASS, settings_of, step_history, translate

SPACE = prospector_alpha(zred=(0.1, 12.0))


def _draws(space: ParameterSpace, n: int) -> np.ndarray:
    return np.array(space.sample(jax.random.key(3), (n,)))


def _columns(space: ParameterSpace, theta: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(settings_of(space).names, translate(space, theta).parameters.T, strict=True))


def test_parameters_have_fsps_names_and_units() -> None:
    theta = _draws(SPACE, 5)
    values, found = (
        {k: np.asarray(v, float) for k, v in SPACE.unpack(jnp.asarray(theta)).items()},
        _columns(SPACE, theta),
    )
    np.testing.assert_allclose(found["dust1"], values["dust1_fraction"] * values["dust2"], rtol=1e-6)
    np.testing.assert_allclose(found["duste_gamma"], 10 ** values["log_duste_gamma"], rtol=1e-6)
    np.testing.assert_allclose(found["fagn"], 10 ** values["log_fagn"], rtol=1e-6)
    np.testing.assert_allclose(found["agn_tau"], 10 ** values["log_agn_tau"], rtol=1e-6)
    for name in ("logzsol", "dust2", "dust_index", "gas_logz", "duste_qpah", "duste_umin"):
        np.testing.assert_allclose(found[name], values[name], rtol=1e-6)
    np.testing.assert_array_equal(translate(SPACE, theta).order, found["logzsol"])


def test_constants_of_a_space_are_parameters_too() -> None:
    space = prospector_alpha_14()
    found = _columns(space, _draws(space, 3))
    np.testing.assert_allclose(found["duste_qpah"], 2.0)
    np.testing.assert_allclose(found["duste_umin"], 1.0)
    np.testing.assert_allclose(found["duste_gamma"], 0.01, rtol=1e-6)


def test_without_agn_there_is_no_torus() -> None:
    names = settings_of(prospector_alpha(agn=False)).names
    assert "fagn" not in names
    assert "agn_tau" not in names


def test_fsps_never_looks_past_its_last_field() -> None:
    theta = _draws(SPACE, 1)
    theta[:, SPACE.index("duste_umin")] = 25.0
    assert 24.999 < _columns(SPACE, theta)["duste_umin"][0] < 25.0


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    st.floats(0.01, 12.0),
)
def test_a_step_history_keeps_masses_and_edges(ratios: list[float], zred: float) -> None:
    edges = np.asarray(bin_edges_gyr(jnp.asarray(zred)), float)
    fractions = np.asarray(mass_fractions(jnp.asarray(ratios), jnp.asarray(edges)), float)
    fractions /= fractions.sum()  # from rounding to float32
    times, rates = step_history(edges[None], fractions[None])[0]
    assert times[0] == 0.0
    # FSPS takes the logarithm of the lookback time of the last row, and must not find it below zero
    assert times[-1] == edges[-1]
    assert np.all(np.diff(times) > 0)
    formed = np.trapezoid(rates, times) * 1e9
    np.testing.assert_allclose(formed, TABLE_MASS, rtol=1e-9)
    # mass formed before the middle of every bin, against the step function
    for i in range(7):
        middle = edges[-1] - 0.5 * (edges[i] + edges[i + 1])
        grid = np.unique(np.append(times[times < middle], middle))
        older = np.trapezoid(np.interp(grid, times, rates), grid) * 1e9
        expected = TABLE_MASS * (fractions[i + 1 :].sum() + 0.5 * fractions[i])
        np.testing.assert_allclose(older, expected, atol=1e-9 * TABLE_MASS)


def test_histories_of_the_desi_model() -> None:
    space = desi_bgs()
    theta = _draws(space, 4)
    found = translate(space, theta)
    values = {name: np.asarray(value, float) for name, value in space.unpack(jnp.asarray(theta)).items()}
    times, rates, metals = np.moveaxis(found.history, 1, 0)
    np.testing.assert_allclose(times[:, -1], np.asarray(age_gyr(values["zred"])), rtol=1e-6)
    assert np.all(np.diff(times, axis=1) > 0)
    np.testing.assert_allclose(np.trapezoid(rates, times, axis=1) * 1e9, TABLE_MASS, rtol=1e-9)
    # metals grow from 2 zh_2 at the beginning to 2 zh_1 now
    np.testing.assert_allclose(metals[:, 0], 2 * values["zh_2"], rtol=1e-5)
    np.testing.assert_allclose(metals[:, -1], 2 * values["zh_1"], rtol=1e-5)
    np.testing.assert_allclose(found.parameters[:, 0], values["dust2"], rtol=1e-6)


def test_a_space_that_fsps_cannot_simulate_is_refused() -> None:
    space = ParameterSpace("other", (Parameter("logmass", Uniform(6, 12)), Parameter("zred", Uniform(0, 1))))
    with pytest.raises(ValueError, match="'other' lacks dust1_fraction, dust2"):
        settings_of(space)
