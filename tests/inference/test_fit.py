from dataclasses import replace

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from starling.inference import SamplerSettings, compiled, diagnose, fit, galaxy_model, take


def closed_posterior(linear_model, observation):
    """Mean and covariance of the free parameters of a linear model under a standard-normal prior."""
    used = np.asarray(observation.mask)
    matrix = np.asarray(linear_model.matrix, float)[used]
    error = np.asarray(observation.flux_err, float)[used]
    known = matrix[:, 3] * float(observation.fixed["zred"])
    data = (np.asarray(observation.flux, float) - np.asarray(linear_model.offset))[used] - known
    weighted = matrix[:, :3] / error[:, None]
    covariance = np.linalg.inv(weighted.T @ weighted + np.eye(3))
    return covariance @ weighted.T @ (data / error), covariance


def assert_posterior(draws, found, galaxy, linear_model, observation):
    mean, covariance = closed_posterior(linear_model, observation)
    samples = draws.theta[galaxy, :, :, :3].reshape(-1, 3)
    # 4.5 standard errors of a mean, and of a variance of nearly normal draws, from the bulk and tail ESS
    least = min(found.ess_bulk[galaxy].min(), found.ess_tail[galaxy].min())
    sigma = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(samples.mean(0) - mean) < 4.5 * sigma / np.sqrt(least))
    scaled = np.cov(samples.T) / np.outer(sigma, sigma) - covariance / np.outer(sigma, sigma)
    assert np.all(np.abs(scaled) < 4.5 * np.sqrt(2 / least))


@pytest.mark.parametrize("galaxy", [0, 1, 3, 4])
def test_linear_gaussian_posterior(linear_draws, linear_model, linear_data, galaxy):
    found = diagnose(linear_draws)
    assert np.nanmax(found.rhat[galaxy]) < 1.02
    assert_posterior(linear_draws, found, galaxy, linear_model, take(linear_data, galaxy))


def test_shapes_and_fixed_parameters(linear_draws, linear_data):
    assert linear_draws.theta.shape == (5, 4, 500, 4)
    assert linear_draws.free == ("a", "logsfr_ratios_1", "logsfr_ratios_2")
    expected = np.broadcast_to(np.asarray(linear_data.fixed["zred"])[:, None, None], (5, 4, 500))
    np.testing.assert_array_equal(linear_draws.theta[..., 3], expected)


def test_bad_galaxies_are_flags(linear_draws):
    found = diagnose(linear_draws)
    assert found.flag[0] == ""
    assert found.passed[0]
    assert "not finite in band_0" in found.flag[2]
    assert "no band is used" in found.flag[3]
    assert not found.passed[2]
    assert not found.passed[3]


def test_padding_changes_nothing(linear_draws, linear_model, linear_data, quick):
    """The fifth galaxy runs beside a copy of itself in ``linear_draws``, beside another galaxy here."""
    six = fit(jax.random.key(3), take(linear_data, [0, 1, 2, 3, 4, 1]), linear_model, settings=quick)
    np.testing.assert_array_equal(six.theta[:5], linear_draws.theta)


def test_the_number_of_devices_changes_nothing(linear_draws, linear_model, linear_data, quick, monkeypatch):
    assert jax.device_count() > 1
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    alone = fit(jax.random.key(3), linear_data, linear_model, settings=quick)
    # rounding differs between programs, and grows along a chain
    np.testing.assert_allclose(alone.step_size[0], linear_draws.step_size[0], rtol=0.2)
    for draws in (alone, linear_draws):
        assert_posterior(draws, diagnose(draws), 0, linear_model, take(linear_data, 0))


def test_a_bad_galaxy_leaves_others_alone(linear_draws, linear_model, linear_data, quick):
    pair = take(linear_data, [0, 1])
    spoiled = pair._replace(flux=pair.flux.at[1].set(np.nan))
    draws = fit(jax.random.key(3), spoiled, linear_model, settings=quick)
    np.testing.assert_array_equal(draws.theta[0], linear_draws.theta[0])
    assert "not finite" in diagnose(draws).flag[1]


def test_nuts(linear_model, linear_data, quick):
    before = compiled.advance._cache_size()
    pair = take(linear_data, [0, 1])
    draws = fit(jax.random.key(4), pair, linear_model, settings=replace(quick, kernel="nuts"))
    assert (
        compiled.advance._cache_size() == before + 1
    )  # warm-up, adapted metrics and sampling are one program
    found = diagnose(draws)
    for galaxy in (0, 1):
        assert_posterior(draws, found, galaxy, linear_model, take(linear_data, galaxy))


def wider(observation, forward_model, *, error_floor=0.05):
    numpyro.sample("width", dist.Uniform(1.0, 3.0))
    galaxy_model(observation, forward_model, error_floor=error_floor)


def test_a_users_model_is_sampled_with_its_own_sites(linear_model, linear_data, quick):
    draws = fit(jax.random.key(4), take(linear_data, [0]), linear_model, settings=quick, model=wider)
    width = draws.extra["width"]
    assert width.shape == (1, 4, 500)
    assert 1.0 < width.min() < 1.2 < 2.8 < width.max() < 3.0
    assert_posterior(draws, diagnose(draws), 0, linear_model, take(linear_data, 0))


def test_nothing_compiles_twice_and_progress_is_told(linear_draws, linear_model, linear_data, quick):
    programs = (compiled.begin, compiled.advance, compiled.update_metric, compiled.sites_of)
    before = [program._cache_size() for program in programs]
    told = []
    settings = replace(quick, n_warmup=50, n_draws=100, mean_steps=3)
    brighter = linear_data._replace(flux=1.1 * linear_data.flux)
    fit(jax.random.key(1), brighter, linear_model, settings=settings, progress=told.append)
    assert [program._cache_size() for program in programs] == before
    assert [one.fraction for one in told] == sorted(one.fraction for one in told)
    assert told[-1].fraction == 1.0
    assert {one.stage for one in told} == {"initialising", "warm-up", "sampling", "done"}


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"n_draws": 55}, "multiple of chunk"),
        ({"n_chains": 0}, "n_chains"),
        ({"target_accept": 1.2}, "target_accept"),
        ({"error_floor": -0.1}, "error_floor"),
    ],
)
def test_settings_that_make_no_sense(wrong, word):
    with pytest.raises(ValueError, match=word):
        SamplerSettings(**wrong)
