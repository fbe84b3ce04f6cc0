from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.amortised.mocks import Mock, NoiseRange, draw_mocks, instruments
from starling.inference.coordinates import Coordinates
from tests.amortised.conftest import LinearModel


@pytest.fixture(scope="module")
def mocks(massive: LinearModel) -> Mock:
    coordinates = Coordinates(massive.space, ("zred",))
    return draw_mocks(jax.random.key(0), 4000, massive, coordinates, NoiseRange())


def test_mocks_are_finite_and_cover_what_is_asked_for(mocks: Mock) -> None:
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(mocks))
    assert np.all(np.asarray(mocks.seen.error) > 0)
    share = np.asarray(mocks.seen.error / jnp.abs(mocks.seen.flux))
    low, high = np.quantile(share, [0.02, 0.98])
    assert low < 0.02
    assert high > 0.5
    used = np.asarray(mocks.seen.mask).sum(axis=1)
    assert used.min() >= 5
    assert used.max() == 6


def test_the_level_of_the_errors_says_nothing_of_the_mass(mocks: Mock) -> None:
    mass = np.asarray(mocks.theta[:, 0])
    level = np.log(np.asarray(mocks.seen.error)).mean(axis=1) - np.log(10.0) * mass
    low, high = level[mass < 9.0], level[mass > 11.0]
    error = np.hypot(low.std() / np.sqrt(low.size), high.std() / np.sqrt(high.size))
    assert low.mean() == pytest.approx(high.mean(), abs=4.0 * error)


def test_coordinates_are_the_prior_whitened_ones_without_mass(mocks: Mock, massive: LinearModel) -> None:
    coordinates = Coordinates(massive.space, ("zred",))
    assert coordinates.free == ("a", "b")
    apart = {"zred": mocks.theta[0, 3], "logmass": mocks.theta[0, 0]}
    np.testing.assert_allclose(coordinates.to_theta(mocks.v[0], apart), mocks.theta[0], rtol=1e-4)
    assert np.asarray(mocks.v).std(axis=0) == pytest.approx([1.0, 1.0], abs=0.05)


def test_bands_of_a_camera_go_together() -> None:
    numbers = instruments(
        ["acs_wfc_f606w", "acs_wfc_f814w", "galex_FUV", "spitzer_irac_ch1", "spitzer_mips_24"]
    )
    assert numbers[0] == numbers[1]
    assert len(set(numbers.tolist())) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"depth": (1.0, 0.1)}, "noise.depth must ascend"),
        ({"floor": (0.1, 0.4)}, "noise.floor must ascend between 0 and 0.25"),
        ({"missing": 1.5}, "noise.missing is a share"),
    ],
)
def test_ranges_that_make_no_sense(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NoiseRange(**changes)
