"""Weights of a flow that nobody trained, with outliers and zero points: they alone have to make the posterior exact."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from toy_flows import EVERYTHING, NEVER, SETTINGS, linear_data

from starling.amortised import Proposal, Stage, amortised_posterior
from starling.cli.flows import choose_flow
from starling.inference import ErrorModel, Observation, ZeroPoint, galaxy_model, prepare_noise, take
from starling.inference.density import flat_density
from tests.amortised.conftest import LinearModel

ALL = ZeroPoint("all", ("sdss_u0", "sdss_g0", "sdss_r0", "sdss_i0", "sdss_z0", "twomass_J"), 0.1)
KINDS = {
    "student_t": ErrorModel(likelihood="student_t"),
    "mixture": ErrorModel(likelihood="mixture", f_outlier_phot=0.05),
    "free": ErrorModel(likelihood="mixture", f_outlier_phot="free"),
    "zero_points": ErrorModel(zero_points=(ALL,)),
}
LONGER = replace(SETTINGS, stages=(Stage(8, 1000),))


def on_grid(
    model: LinearModel, observation: Observation, errors: ErrorModel
) -> tuple[np.ndarray, np.ndarray, float]:
    """Posterior mean and deviation of mass, a and b, and ln Z, by summing the density of the chains over a grid."""
    noise = prepare_noise(observation, model, 0.0, "none", errors)
    density = flat_density(galaxy_model, observation, model, noise=noise)
    x = np.linspace(-4.0, 4.0, 41)
    mass = np.linspace(9.2, 10.8, 321)

    @jax.jit
    def values(theta: Array) -> tuple[Array, Array]:
        x = jax.vmap(lambda one: model.space.unconstrain(one, ("zred",)))(theta)
        return jax.vmap(density.log_density)(x), x[:, 0]

    grid = np.stack([g.ravel() for g in np.meshgrid(mass, x, x, indexing="ij")], axis=1)
    theta = np.column_stack([grid, np.full(len(grid), float(observation.fixed["zred"]))])
    log_density, score = (np.asarray(found, float) for found in values(jnp.asarray(theta, jnp.float32)))
    # the prior of the mass is uniform: over its whitened coordinate the density has a normal more
    low, high = model.space.bounds
    log_density = log_density + 0.5 * score**2 + 0.5 * np.log(2 * np.pi) - np.log(float(high[0] - low[0]))
    weight = np.exp(log_density - log_density.max())
    mean = weight @ grid / weight.sum()
    cell = (mass[1] - mass[0]) * (x[1] - x[0]) ** 2
    evidence = log_density.max() + np.log(weight.sum() * cell)
    return mean, np.sqrt(weight @ (grid - mean) ** 2 / weight.sum()), evidence


@pytest.fixture(scope="module")
def struck(massive: LinearModel) -> Observation:
    """A galaxy with one band off by twenty errors."""
    observations = take(linear_data(massive, 1, snr=10.0), [0])
    return observations._replace(flux=observations.flux.at[0, 2].add(20.0 * observations.flux_err[0, 2]))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_exact(
    massive: LinearModel, untrained_massive: Proposal, struck: Observation, kind: str
) -> None:
    observations = struck if kind != "zero_points" else take(linear_data(massive, 1, snr=10.0), [0])
    proposal = untrained_massive
    settings = replace(LONGER, errors=KINDS[kind])
    result = amortised_posterior(jax.random.key(0), observations, massive, proposal, EVERYTHING, settings)
    assert result.passed.all()
    mean, sigma, evidence = on_grid(massive, take(observations, 0), KINDS[kind])
    assert result.log_evidence[0] == pytest.approx(evidence, abs=5.0 * result.log_evidence_error[0] + 0.02)
    found = result.draws.theta[0].reshape(-1, 4)[:, :3].astype(float)
    np.testing.assert_allclose((found.mean(axis=0) - mean) / sigma, 0.0, atol=0.25)
    np.testing.assert_allclose(found.std(axis=0) / sigma, 1.0, atol=0.2)


@pytest.mark.parametrize("kind", ["mixture", "zero_points"])
def test_chains_of_the_flow_are_exact(
    massive: LinearModel, untrained_massive: Proposal, struck: Observation, kind: str
) -> None:
    proposal = untrained_massive
    settings = replace(NEVER, errors=KINDS[kind])
    result = amortised_posterior(jax.random.key(1), struck, massive, proposal, EVERYTHING, settings)
    mean, sigma, _ = on_grid(massive, take(struck, 0), KINDS[kind])
    found = result.draws.theta[0].reshape(-1, 4)[:, :3].astype(float)
    np.testing.assert_allclose((found.mean(axis=0) - mean) / sigma, 0.0, atol=0.25)
    np.testing.assert_allclose(found.std(axis=0) / sigma, 1.0, atol=0.2)


def test_zero_points_that_are_sampled_are_refused(
    massive: LinearModel, struck: Observation, tmp_path: Path
) -> None:
    free = ErrorModel(zero_points=(ALL,), treatment="free")
    with pytest.raises(ValueError, match=r"integrate them out .* or fit with chains alone"):
        replace(SETTINGS, errors=free)
    chosen = choose_flow("auto", "default", tmp_path, massive, struck, free_zero_points=True)
    assert chosen.archive is None
    assert "zero points are sampled" in chosen.words
    with pytest.raises(ValueError, match="treatment: marginalise"):
        choose_flow("flow.json", "default", tmp_path, massive, struck, free_zero_points=True)
