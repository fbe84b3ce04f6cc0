"""Simulated galaxies that are observed as a catalogue's: their exact posteriors have to be calibrated."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from starling.cli.fits import _too_coarse
from starling.inference import Observation, SamplerSettings, observe
from starling.inference.error_model import ErrorModel, ZeroPoint
from starling.inference.likelihood import log_likelihood_at
from starling.inference.noise import model_share, prepare_all
from starling.validation.replicas import Replicas, draw_replicas
from tests.cli.conftest import BANDS, ToyModel

SETTINGS = SamplerSettings(error_floor=0.1)
GRID = np.linspace(6.0, 12.5, 3001)


@pytest.fixture(scope="module")
def model() -> ToyModel:
    return ToyModel(jnp.asarray([1.0, 0.7, 0.47, 0.25, 0.1]), BANDS)


@pytest.fixture(scope="module")
def catalogue(model: ToyModel) -> Observation:
    """Galaxies of which only the mass is unknown; the second lacks a band and has a limit in another."""
    theta = np.stack([np.linspace(9.0, 11.0, 8), np.full(8, 0.4), np.linspace(0.6, 2.5, 8)], axis=1)
    flux = np.asarray(jax.vmap(model)(jnp.asarray(theta)))
    mask, limit = np.ones(flux.shape, bool), np.zeros(flux.shape, bool)
    mask[1, 0], limit[1, 4] = False, True
    fixed = {"dust2": theta[:, 1], "zred": theta[:, 2]}
    return observe(flux, 0.1 * flux.mean() * np.ones_like(flux), mask=mask, upper_limit=limit, fixed=fixed)


def shares(found: Replicas, model: ToyModel, settings: SamplerSettings) -> np.ndarray:
    """The posterior probability of a smaller mass than the true one, on a grid; the prior is flat."""
    noise = prepare_all(
        found.observations, model, settings.error_floor, settings.model_error, settings.errors
    )

    @jax.jit
    @jax.vmap
    def density(one, noise, theta):
        def at(mass):
            point = theta.at[0].set(mass)
            return log_likelihood_at(one, model, point, model(point), noise)

        return jax.vmap(at)(jnp.asarray(GRID))

    log = np.asarray(density(found.observations, noise, jnp.asarray(found.theta)), float)
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    below = np.cumsum(weight, axis=1)
    place = np.searchsorted(GRID, found.theta[:, 0])
    return below[np.arange(len(place)), place] / below[:, -1]


@pytest.mark.parametrize(
    "errors",
    [ErrorModel(), ErrorModel(zero_points=(ZeroPoint("blue", BANDS[:2], 0.1),))],
    ids=["plain", "zero points"],
)
def test_exact_posteriors_of_them_are_calibrated(
    model: ToyModel, catalogue: Observation, errors: ErrorModel
) -> None:
    settings = replace(SETTINGS, errors=errors)
    found = draw_replicas(3, 1500, catalogue, model, settings)
    assert stats.kstest(shares(found, model, settings), "uniform").pvalue > 0.01
    # the same data with errors that are thought to be smaller: what the test can tell apart
    wrong = found._replace(observations=found.observations._replace(flux_err=found.observations.flux_err / 2))
    narrow = replace(settings, error_floor=0.05)
    assert stats.kstest(shares(wrong, model, narrow), "uniform").pvalue < 1e-6


def test_they_are_as_bright_as_the_catalogue_and_seen_in_its_bands(
    model: ToyModel, catalogue: Observation
) -> None:
    found = draw_replicas(0, 20, catalogue, model, SETTINGS)
    assert set(found.like[:8].tolist()) == set(range(8))
    assert len(found.observations.flux) == len(found.theta) == 20
    for name, column in (("dust2", 1), ("zred", 2)):
        np.testing.assert_array_equal(found.observations.fixed[name], catalogue.fixed[name][found.like])
        np.testing.assert_array_equal(found.theta[:, column], catalogue.fixed[name][found.like])
    as_second = found.like == 1
    mask = np.asarray(found.observations.mask)
    assert (mask[as_second] == [False, True, True, True, False]).all()
    assert mask[~as_second].all()
    assert not np.asarray(found.observations.upper_limit).any()
    flux, theirs = np.asarray(found.observations.flux), np.asarray(catalogue.flux)[found.like]
    apart = np.abs(np.log10(np.nanmedian(flux, axis=1) / np.median(theirs, axis=1)))
    # the masses of the prior span 6.5 dex: without the choice the median would be above 1
    assert np.median(apart) < 0.1
    assert apart.max() < 1.0


def test_the_same_seed_gives_the_same_galaxies_however_many(model: ToyModel, catalogue: Observation) -> None:
    few, many = (draw_replicas(5, n, catalogue, model, SETTINGS) for n in (3, 8))
    again = draw_replicas(5, 8, catalogue, model, SETTINGS)
    np.testing.assert_array_equal(many.theta, again.theta)
    np.testing.assert_array_equal(few.like, many.like[:3])
    assert not np.array_equal(draw_replicas(6, 8, catalogue, model, SETTINGS).theta, many.theta)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (replace(SETTINGS, errors=ErrorModel(likelihood="student_t")), "likelihood: student_t"),
        (replace(SETTINGS, model_error="local"), "model_error: local"),
    ],
)
def test_a_likelihood_that_is_no_distribution_of_data_is_refused(
    model: ToyModel, catalogue: Observation, settings: SamplerSettings, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        draw_replicas(0, 4, catalogue, model, settings)


def test_a_model_that_is_coarser_than_the_data_says_where(model: ToyModel, catalogue: Observation) -> None:
    """Its error is 1% of the flux; those of the data are 4% in all but the first band, and 0.2% there."""
    flux = jnp.abs(catalogue.flux)
    accurate = catalogue._replace(flux_err=flux * jnp.asarray([0.002, 0.04, 0.04, 0.04, 0.04]))
    share = model_share(accurate, model, 0.0)
    np.testing.assert_allclose(share, 0.01**2 / (0.01**2 + np.array([0.002, *[0.04] * 4]) ** 2), rtol=1e-3)
    floor = 0.05
    assert model_share(accurate, model, floor)[0] == pytest.approx(1e-4 / (1e-4 + 4e-6 + floor**2), rel=1e-3)
    nowhere = accurate._replace(mask=accurate.mask.at[:, 2].set(False))
    assert np.flatnonzero(np.isnan(model_share(nowhere, model, 0.0))).tolist() == [2]
    said = _too_coarse(model, accurate, replace(SETTINGS, error_floor=0.0))
    assert f"in 1 of 5 bands: its own error is more than half of the variance ({BANDS[0]} 96%)" in said
    assert _too_coarse(model, accurate, SETTINGS) == ""
