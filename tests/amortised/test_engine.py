"""Posteriors from a flow that nobody trained: the weights alone have to make them exact."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_flows import EVERYTHING, NEVER, SETTINGS, linear_data

from starling.amortised import AmortisedSettings, Proposal, Trained, amortised_posterior
from starling.inference import Observation, take
from tests.amortised.conftest import LinearModel


def _closed(model: LinearModel, observation: Observation) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, covariance and log evidence (of the likelihood without its constants) of a linear model."""
    at = jnp.asarray([0.0, 0.0, observation.fixed["zred"]])
    matrix = np.asarray(jax.jacfwd(model)(at), float)[:, :2]
    error = np.asarray(observation.flux_err, float)
    residual = (np.asarray(observation.flux, float) - np.asarray(model(at), float)) / error
    scaled = matrix / error[:, None]
    precision = scaled.T @ scaled + np.eye(2)
    covariance = np.linalg.inv(precision)
    mean = covariance @ scaled.T @ residual
    evidence = (
        -0.5 * residual @ residual + 0.5 * mean @ precision @ mean - 0.5 * np.linalg.slogdet(precision)[1]
    )
    return mean, covariance, evidence


def test_weights_make_the_posterior_of_a_linear_model(plain: LinearModel, untrained: Proposal) -> None:
    observations = linear_data(plain, 3)
    result = amortised_posterior(jax.random.key(0), observations, plain, untrained, EVERYTHING, SETTINGS)
    assert result.passed.all()
    assert set(result.stage.tolist()) <= {1, 2}
    for row in range(3):
        mean, covariance, evidence = _closed(plain, take(observations, row))
        draws = result.draws.theta[row].reshape(-1, 3)[:, :2].astype(float)
        sigma = np.sqrt(np.diag(covariance))
        error = 5.0 / np.sqrt(min(result.ess[row], len(draws)))
        np.testing.assert_allclose((draws.mean(axis=0) - mean) / sigma, 0.0, atol=error)
        np.testing.assert_allclose(
            np.cov(draws.T) / np.outer(sigma, sigma), covariance / np.outer(sigma, sigma), atol=1.5 * error
        )
        assert result.log_evidence[row] == pytest.approx(evidence, abs=5.0 * result.log_evidence_error[row])
        np.testing.assert_array_equal(draws.shape, (2000, 2))
        assert np.all(result.draws.theta[row, ..., 2] == observations.fixed["zred"][row])


@pytest.mark.parametrize("settings", [SETTINGS, NEVER], ids=["weights", "chains"])
@pytest.mark.parametrize("snr", [3.0, 0.3])
def test_the_mass_is_drawn_with_its_posterior(
    massive: LinearModel, untrained_massive: Proposal, settings: AmortisedSettings, snr: float
) -> None:
    proposal = untrained_massive
    observations = take(linear_data(massive, 1, snr=snr), [0])
    result = amortised_posterior(jax.random.key(0), observations, massive, proposal, EVERYTHING, settings)
    assert result.passed.all()
    axes = np.linspace(8.0, 12.0, 161), np.linspace(-4.0, 4.0, 41), np.linspace(-4.0, 4.0, 41)
    grid = np.stack([one.ravel() for one in np.meshgrid(*axes, indexing="ij")], axis=1)
    theta = np.column_stack([grid, np.full(len(grid), observations.fixed["zred"][0])])
    flux = np.asarray(jax.jit(jax.vmap(massive))(jnp.asarray(theta, jnp.float32)), float)
    one = take(observations, 0)
    chi2 = np.sum(((np.asarray(one.flux) - flux) / np.asarray(one.flux_err)) ** 2, axis=1)
    density = np.exp(-0.5 * (chi2 - chi2.min()) - 0.5 * np.sum(grid[:, 1:] ** 2, axis=1))
    exact = density @ grid / density.sum()
    spread = np.sqrt(density @ (grid - exact) ** 2 / density.sum())
    found = result.draws.theta[0].reshape(-1, 4)[:, :3].astype(float)
    np.testing.assert_allclose((found.mean(axis=0) - exact) / spread, 0.0, atol=0.25)
    np.testing.assert_allclose(found.std(axis=0) / spread, 1.0, atol=0.2)


def test_chains_make_the_posterior_of_a_linear_model(plain: LinearModel, untrained: Proposal) -> None:
    observations = linear_data(plain, 2)
    result = amortised_posterior(jax.random.key(0), observations, plain, untrained, EVERYTHING, NEVER)
    assert result.stage.tolist() == [2, 2]
    assert result.by_chains.all()
    assert np.all(result.rhat < 1.01)
    for row in range(2):
        mean, covariance, _ = _closed(plain, take(observations, row))
        draws = result.draws.theta[row].reshape(-1, 3)[:, :2].astype(float)
        sigma = np.sqrt(np.diag(covariance))
        error = 5.0 / np.sqrt(result.ess_bulk[row].min())
        np.testing.assert_allclose((draws.mean(axis=0) - mean) / sigma, 0.0, atol=error)
        np.testing.assert_allclose(
            np.cov(draws.T) / np.outer(sigma, sigma), covariance / np.outer(sigma, sigma), atol=1.5 * error
        )
    assert np.all(result.draws.n_steps > 0)
    assert np.all(np.isfinite(result.draws.step_size))


def test_chains_that_have_not_converged_go_on(plain: LinearModel, untrained: Proposal) -> None:
    observations = linear_data(plain, 3)
    assert NEVER.chains is not None
    slow = NEVER.chains._replace(mean_steps=1.0, proposals=1)
    brief = replace(NEVER, n_draws=100, rhat=1.05)
    once, more = (
        amortised_posterior(
            jax.random.key(0),
            observations,
            plain,
            untrained,
            EVERYTHING,
            replace(brief, chains=slow._replace(patience=patience)),
        )
        for patience in (1, 12)
    )
    at_once = once.passed
    assert not at_once.all()  # else there is nothing to see
    assert once.draws.every == (1, 1, 1)
    assert more.stage.tolist() == [2, 2, 2]
    every = np.asarray(more.draws.every)
    assert np.all(every[at_once] == 1)
    assert np.all(every[~at_once] > 1)
    assert more.draws.theta.shape == once.draws.theta.shape == (3, 4, 100, 3)
    np.testing.assert_array_equal(more.draws.theta[at_once], once.draws.theta[at_once])
    steps = more.draws.n_steps.mean(axis=(1, 2)) / every
    np.testing.assert_allclose(steps, steps[0], rtol=0.05)
    for row in range(3):
        mean, covariance, _ = _closed(plain, take(observations, row))
        draws = more.draws.theta[row].reshape(-1, 3)[:, :2].astype(float)
        np.testing.assert_allclose((draws.mean(axis=0) - mean) / np.sqrt(np.diag(covariance)), 0.0, atol=0.4)


def test_other_bands_than_the_flows_are_no_obstacle(plain: LinearModel, untrained: Proposal) -> None:
    some = plain.select(["twomass_J", "sdss_g0", "sdss_i0"])
    other = replace(untrained, bands=(*untrained.bands[:5], "wise_w1"))
    observations = linear_data(some, 2)
    ours = amortised_posterior(jax.random.key(0), observations, some, untrained, EVERYTHING, SETTINGS)
    unknown = amortised_posterior(jax.random.key(0), observations, some, other, EVERYTHING, SETTINGS)
    assert ours.outside == ("", "")
    assert "does not know twomass_J" in unknown.outside[0]
    np.testing.assert_allclose(ours.log_evidence, unknown.log_evidence, atol=0.3)


def test_a_limit_counts_as_the_likelihood_has_it(plain: LinearModel, untrained: Proposal) -> None:
    seen = linear_data(plain, 1)
    limit = seen._replace(upper_limit=seen.upper_limit.at[0, 0].set(True))
    free = seen._replace(mask=seen.mask.at[0, 0].set(False))
    evidence = [
        amortised_posterior(jax.random.key(0), one, plain, untrained, EVERYTHING, SETTINGS).log_evidence[0]
        for one in (limit, free)
    ]
    # at most all of the posterior without the band is below its limit
    assert evidence[0] < evidence[1] + 0.05


def test_who_cannot_be_fitted_fails_alone(plain: LinearModel, untrained: Proposal) -> None:
    good = linear_data(plain, 2)
    bad = good._replace(flux=good.flux.at[0, 0].set(jnp.nan))
    result = amortised_posterior(jax.random.key(0), bad, plain, untrained, EVERYTHING, SETTINGS)
    assert result.stage[0] == 0
    assert not result.passed[0]
    assert result.passed[1]
    assert "not finite" in result.draws.problems[0]


def test_galaxies_unlike_the_training_are_named(plain: LinearModel, untrained: Proposal) -> None:
    observations = linear_data(plain, 2, snr=5.0)
    narrow = Trained((0.5, 0.0, 0.0, 0.0), (0.9, 9.0, 99.0, 1.0))
    result = amortised_posterior(jax.random.key(0), observations, plain, untrained, narrow, SETTINGS)
    assert all("median error" in words and "trained: 50.0% to 90.0%" in words for words in result.outside)


def test_what_a_flow_is_not_for_is_refused(
    plain: LinearModel, massive: LinearModel, untrained: Proposal, untrained_massive: Proposal
) -> None:
    observations = linear_data(massive, 1)
    with pytest.raises(ValueError, match="the model has 'linear', or other priors"):
        amortised_posterior(jax.random.key(0), observations, massive, untrained, EVERYTHING, SETTINGS)
    free = linear_data(plain, 1)._replace(fixed={})
    with pytest.raises(ValueError, match="known zred, these have nothing fixed"):
        amortised_posterior(jax.random.key(0), free, plain, untrained, EVERYTHING, SETTINGS)

    @jax.tree_util.register_pytree_node_class
    class Silent(LinearModel):
        linear_in_mass = False

    silent = Silent(massive.matrix, massive.space, massive.bands)
    mass_flow = untrained_massive
    with pytest.raises(ValueError, match="linear in 10\\*\\*logmass, and the model does not say so"):
        amortised_posterior(jax.random.key(0), observations, silent, mass_flow, EVERYTHING, SETTINGS)
    with pytest.raises(ValueError, match="stages must be some"):
        AmortisedSettings(stages=())


def test_a_galaxys_draws_do_not_depend_on_its_neighbours(plain: LinearModel, untrained: Proposal) -> None:
    observations = linear_data(plain, 3)
    all_three = amortised_posterior(jax.random.key(0), observations, plain, untrained, EVERYTHING, SETTINGS)
    two = amortised_posterior(
        jax.random.key(0), take(observations, [0, 1]), plain, untrained, EVERYTHING, SETTINGS
    )
    np.testing.assert_allclose(two.log_evidence, all_three.log_evidence[:2], rtol=1e-5)
