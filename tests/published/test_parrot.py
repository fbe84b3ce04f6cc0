"""Parrot's files, single and stitched: against plain numpy, and every item checked."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parrot_files import FILTERS, LIMITS, parrot_net, reference, residuals, save_object, stitched

from starling.photometry import arsinh_magnitude
from starling.priors import Uniform
from starling.published import parrot_model
from starling.published.parrot_model import stitching
from starling.spaces import prospector_alpha

KNOWN = tuple(name for name in FILTERS if name != "hsc_zpp")
COLUMNS = [FILTERS.index(name) for name in KNOWN]


def draws(zred: tuple[float, float], n: int) -> np.ndarray:
    theta = np.array(prospector_alpha(zred=zred).sample(jax.random.key(1), (n,)))
    theta[:, 0] = np.linspace(9.0, 12.0, n)
    return theta


def test_a_single_emulator(single: list[Any], tmp_path: Path) -> None:
    model = parrot_model(save_object(tmp_path / "parrot.npy", single))
    assert model.bands == KNOWN
    assert "hsc_zpp" in model.description
    assert model.space.names == prospector_alpha().names
    assert model.wave_effective_aa[KNOWN.index("1d3mm")] == pytest.approx(1.244e7, rel=0.01)
    theta = draws((0.5, 3.0), 8)
    found = np.asarray(jax.jit(jax.vmap(model))(jnp.asarray(theta, jnp.float32)))
    magnitudes = np.array([reference(parrot_net(3), row) for row in theta])[:, COLUMNS]
    assert np.allclose(arsinh_magnitude(found), magnitudes, atol=1e-4)
    assert np.allclose(found, 2e-14 * np.sinh((35.0 - magnitudes) / 1.0857362), rtol=1e-4, atol=0.0)
    error = model.flux_error(jnp.asarray([0.0, 1e-12, 1e-10, 1e-8, 1e-6]))
    assert error[-1] / 1e-6 == pytest.approx(0.02 / 1.0857, rel=1e-3)
    assert error[0] == pytest.approx(2e-14 * 0.02 / 1.0857, rel=1e-3)


def test_a_stitched_emulator_weighs_fluxes(tmp_path: Path) -> None:
    model = parrot_model(save_object(tmp_path / "parrot.npy", stitched()))
    assert np.allclose(model.sigma_mag, 0.02)  # the median of the networks
    assert model.space.parameters[14].high == 6.25
    theta = np.tile(draws((0.5, 3.0), 4)[3], (6, 1))
    theta[:, 14] = [0.0, 1.75, 1.9, 2.1, 3.0, 6.25]
    found = np.asarray(jax.jit(jax.vmap(model))(jnp.asarray(theta, jnp.float32)))
    flux = [
        np.array([2e-14 * np.sinh((35.0 - reference(parrot_net(seed), row)) / 1.0857362) for row in theta])
        for seed in range(3)
    ]
    share = np.sin(np.pi / (2 * 0.5) * (theta[:, 14] - 2.0 + 0.25)) ** 2
    expected = np.array(
        [
            flux[0][0],
            flux[0][1],
            (1 - share[2]) * flux[0][2] + share[2] * flux[1][2],
            (1 - share[3]) * flux[0][3] + share[3] * flux[1][3],
            flux[1][4],
            flux[2][5],
        ]
    )[:, COLUMNS]
    assert np.allclose(found, expected, rtol=2e-4, atol=0.0)
    assert np.max(np.abs(flux[0][2] / flux[1][2] - 1.0)) > 0.1


def test_stitching_is_smooth_and_takes_two_networks_at_most() -> None:
    overlaps = jnp.asarray([[2.0, 0.5], [4.0, 0.5], [6.0, 0.5]])
    zred = jnp.linspace(0.0, 8.0, 1601)
    lower, share = jax.vmap(lambda z: stitching(z, overlaps))(zred)
    place = np.asarray(lower) + np.asarray(share)
    assert np.all(np.diff(place) >= -1e-6)
    assert place[0] == 0.0
    assert place[-1] == 3.0
    assert np.max(np.diff(place)) < 0.02
    slope = jax.vmap(jax.grad(lambda z: stitching(z, overlaps)[1]))(zred)
    at_ends = np.isin(np.round(np.asarray(zred), 4), [1.75, 2.25, 3.75, 4.25])
    assert np.allclose(np.asarray(slope)[at_ends], 0.0, atol=1e-3)
    assert float(stitching(jnp.asarray(2.0), overlaps)[1]) == pytest.approx(0.5, abs=1e-6)


def test_properties_do_not_change_with_the_bands(single: list[Any], tmp_path: Path) -> None:
    model = parrot_model(save_object(tmp_path / "parrot.npy", single))
    theta = jnp.asarray(draws((0.5, 3.0), 1), jnp.float32)
    part = model.select(("wfc3_ir_f160w",))
    assert part.core.networks.head.kernel[...].shape[-1] == 1
    compute = jax.jit(lambda m, t: m.properties(t))
    whole, of_part = compute(model, theta[0]), compute(part, theta[0])
    for name, values in whole.items():
        assert np.allclose(values, of_part[name], rtol=1e-4, atol=1e-4), name


SINGLE_BROKEN: list[tuple[int, Any, str]] = [
    (0, {"a": 1, "b": 3}, "filters"),
    (0, {name: i for i, name in enumerate(FILTERS)}, "from 1 on"),
    (0, {f"nobody_{i}": i + 1 for i in range(len(FILTERS))}, "sedpy knows none"),
    (1, (np.zeros(17), np.ones(17)), "input mean"),
    (1, (np.zeros(18), np.zeros(18)), "sigma of zero"),
    (2, (parrot_net(1).weights[:-1], parrot_net(1).biases), "5 arrays of weights and 6"),
    (2, ([np.ones((3, 3))] * 6, parrot_net(1).biases), r"weights\[0\]"),
    (3, (np.full(6, np.inf), np.ones(6)), "not finite"),
    (4, residuals(0.1)[:, :10], r"shape \(6, 11\)"),
    (5, [np.array([0.0, 1.0])] * 17, "18 ranges"),
    (5, [np.array([1.0, 0.0])] * 18, "lower end"),
    (5, [np.array([7.0, 12.5]), *[np.array(limit) for limit in LIMITS[1:]]], "logmass 7 to 12.5"),
]


@pytest.mark.parametrize(("place", "value", "message"), SINGLE_BROKEN)
def test_errors_of_single_files(
    place: int, value: Any, message: str, single: list[Any], tmp_path: Path
) -> None:
    single[place] = value
    path = save_object(tmp_path / "parrot.npy", single)
    with pytest.raises(ValueError, match=message) as error:
        parrot_model(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("nets", [], "two networks"),
        ("nets", [("a", "b", "c", "d", "relu")] * 3, "relu"),
        (
            "emulator_limits",
            [(0.0, 0.5, 2.0, 0.5), (2.1, 0.5, 4.0, 0.5), (4.0, 0.5, 6.0, 0.5)],
            "same overlaps",
        ),
        (
            "emulator_limits",
            [(0.0, 0.5, 2.0, 3.0), (2.0, 3.0, 4.0, 3.0), (4.0, 3.0, 6.0, 3.0)],
            "more than two",
        ),
        ("parameters", ["a"] * 18, "logmass, logzsol"),
        ("zred_index", 3, "zred"),
        ("filters", FILTERS[::-1], "another order"),
        ("resid_quants_labels", ["mean"], "std"),
        ("resid_quants", np.ones((6, 11, 2)), r"shape \(6, 11, 3\)"),
    ],
)
def test_errors_of_stitched_files(name: str, value: Any, message: str, tmp_path: Path) -> None:
    path = save_object(tmp_path / "parrot.npy", stitched() | {name: value})
    with pytest.raises(ValueError, match=message) as error:
        parrot_model(path)
    assert str(path) in str(error.value)


def test_a_narrower_space_fits_a_narrower_file(single: list[Any], tmp_path: Path) -> None:
    single[5][0] = np.array([7.0, 12.5])
    space = prospector_alpha().with_priors(logmass=Uniform(7.0, 12.5))
    assert parrot_model(save_object(tmp_path / "parrot.npy", single), space).space == space


def test_other_files_are_no_parrot(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks filters"):
        parrot_model(save_object(tmp_path / "a.npy", {"nets": []}))
    with pytest.raises(ValueError, match="no Parrot emulator"):
        parrot_model(save_object(tmp_path / "b.npy", [1, 2]))
