"""Evidence and posterior of a linear model, whose closed form is known, and of models that users write."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from starling.inference import galaxy_model, observe, summary_table, take
from starling.inference.nested import NestedSettings, nested_tree, preset, require_dynesty, sample_galaxy
from tests.inference.conftest import SCALE, LinearModel, linear_space

SETTINGS = NestedSettings(n_live=200, dlogz=0.05, slices=1, lanes=32, n_draws=250, error_floor=0.0)
ERROR = 0.3 * SCALE


@pytest.fixture(scope="module")
def model():
    """Two standard-normal parameters (their edges are 9 sigma out), a redshift that is known, three bands."""
    matrix = SCALE * jnp.asarray([[1.0, 0.3, 0.1], [0.2, 1.0, 0.0], [0.5, -0.7, 0.2]], jnp.float32)
    space = linear_space(("a", "b", "zred"))
    return LinearModel(matrix, jnp.full(3, SCALE, jnp.float32), space, ("u", "v", "w"))


@pytest.fixture(scope="module")
def observations():
    flux = SCALE * np.asarray([[1.9, 1.6, 0.7], [0.1, 2.4, 0.3]])
    return observe(flux, np.full((2, 3), ERROR), fixed={"zred": np.zeros(2)})


def closed_form(model, observation):
    """Mean, covariance and ln evidence, without the constants that the likelihood leaves out."""
    design = np.asarray(model.matrix, float)[:, :2] / ERROR
    data = (np.asarray(observation.flux, float) - np.asarray(model.offset, float)) / ERROR
    covariance = np.linalg.inv(np.eye(2) + design.T @ design)
    marginal = np.eye(3) + design @ design.T
    log_evidence = -0.5 * data @ np.linalg.solve(marginal, data) - 0.5 * np.linalg.slogdet(marginal)[1]
    return covariance @ design.T @ data, covariance, log_evidence


@pytest.fixture(scope="module")
def records(model, observations):
    return [sample_galaxy(take(observations, i), model, SETTINGS, seed=i) for i in range(2)]


def test_evidence_and_posterior_are_the_closed_ones(model, observations, records):
    for i, record in enumerate(records):
        mean, covariance, log_evidence = closed_form(model, take(observations, i))
        assert abs(record.log_evidence - log_evidence) < 3.0 * record.log_evidence_err
        assert 0.02 < record.log_evidence_err < 0.3
        error = np.sqrt(np.diag(covariance) / record.n_effective)
        assert np.all(np.abs(record.weight @ record.theta[:, :2] - mean) < 4.0 * error)
        found = np.cov(record.theta[:, :2].T, aweights=record.weight)
        # 4 sigma of a variance that n_effective independent draws give
        np.testing.assert_allclose(
            np.diag(found), np.diag(covariance), rtol=4.0 * np.sqrt(2.0 / record.n_effective)
        )
        assert record.finished
        assert record.n_calls > record.n_iterations > 200
        assert record.names == ("a", "b", "zred")
        assert record.free == ("a", "b")
        assert np.all(np.diff(record.log_likelihood) >= 0)


def test_point_by_point_is_dynesty_s_own_and_agrees(model, observations, records):
    alone = dataclasses.replace(SETTINGS, n_live=50, lanes=1, dlogz=0.5)
    record = sample_galaxy(take(observations, 0), model, alone, seed=3)
    error = np.hypot(record.log_evidence_err, records[0].log_evidence_err)
    assert abs(record.log_evidence - records[0].log_evidence) < 3.0 * error


def test_a_dynamic_run_reaches_its_effective_samples(model, observations, records):
    dynamic = dataclasses.replace(SETTINGS, n_effective=2000)
    record = sample_galaxy(take(observations, 0), model, dynamic, seed=4)
    assert records[0].n_effective < 2000 <= record.n_effective
    error = np.hypot(record.log_evidence_err, records[0].log_evidence_err)
    assert abs(record.log_evidence - records[0].log_evidence) < 3.0 * error


def test_the_seed_decides(model, observations, records):
    again = sample_galaxy(take(observations, 0), model, SETTINGS, seed=0)
    np.testing.assert_array_equal(again.theta, records[0].theta)
    assert again.log_evidence == records[0].log_evidence


def test_a_run_that_is_cut_short_says_so(model, observations):
    short = dataclasses.replace(SETTINGS, max_calls=1000)
    record = sample_galaxy(take(observations, 0), model, short, seed=0)
    assert not record.finished
    tree = nested_tree([record], take(observations, [0]), model, galaxy=["x"], settings=SETTINGS)
    assert "before the evidence had converged" in str(tree["diagnostics"]["flag"].values[0])


def test_the_tree_is_that_of_a_fit(model, observations, records):
    tree = nested_tree(records, observations, model, galaxy=["one", "two"], settings=SETTINGS, seed=5)
    assert set(tree.children) == {
        "posterior",
        "derived",
        "sample_stats",
        "posterior_predictive",
        "observed_data",
        "constant_data",
        "diagnostics",
        "nested",
    }
    assert tree["posterior"]["a"].shape == (4, 250, 2)
    for i, record in enumerate(records):
        mean, covariance, _ = closed_form(model, take(observations, i))
        found = tree["posterior"]["a"].values[..., i]
        error = np.sqrt(covariance[0, 0] / record.n_effective)
        assert abs(found.mean() - mean[0]) < 4.0 * error
    assert tree["diagnostics"]["passed"].values.all(), tree["diagnostics"]["flag"].values
    assert (tree["diagnostics"]["ess_bulk"].values > 400).all()
    np.testing.assert_allclose(
        tree["nested"]["log_evidence"], [record.log_evidence for record in records], rtol=1e-12
    )
    assert '"kind": "nested"' in tree.attrs["sampler"]
    assert list(summary_table(tree)["flag"]) == ["ok", "ok"]


def test_a_galaxy_without_a_record_is_flagged_and_kept(model, observations, records):
    tree = nested_tree(
        [records[0], None],
        observations,
        model,
        galaxy=["one", "two"],
        settings=SETTINGS,
        failures=["", "its worker ended"],
    )
    assert tree["diagnostics"]["passed"].values.tolist() == [True, False]
    assert tree["diagnostics"]["flag"].values[1] == "its worker ended"
    assert np.isnan(tree["posterior"]["a"].values[..., 1]).all()
    assert np.isnan(tree["nested"]["log_evidence"].values[1])


def test_a_model_of_one_s_own_with_a_parameter_more(model, observations):
    def brighter(observation, forward_model, *, error_floor, noise=None):
        """All bands too bright by an unknown amount, which has a prior of its own."""
        offset = numpyro.sample("offset", dist.Uniform(0.0, 2.0))
        shifted = observation._replace(flux=observation.flux - offset * SCALE)
        galaxy_model(shifted, forward_model, error_floor=error_floor, noise=noise)

    true = 1.0
    given = take(observations, 0)
    flux = jnp.asarray(model(jnp.asarray([0.3, -0.2, 0.0]))) + true * SCALE
    record = sample_galaxy(given._replace(flux=flux), model, SETTINGS, seed=2, model=brighter)
    assert record.extra["offset"].shape == record.strand.shape
    assert record.extra["offset"].min() >= 0.0
    # the parameter and the offset are degenerate: the posterior of the offset, with the linear ones integrated out
    grid = np.linspace(0.0, 2.0, 201)
    log_evidence = np.array(
        [closed_form(model, given._replace(flux=flux - offset * SCALE))[2] for offset in grid]
    )
    density = np.exp(log_evidence - log_evidence.max())
    mean = np.sum(grid * density) / density.sum()
    sigma = np.sqrt(np.sum((grid - mean) ** 2 * density) / density.sum())
    assert abs(record.weight @ record.extra["offset"] - mean) < 4.0 * sigma / np.sqrt(record.n_effective)


def test_what_cannot_be_sampled_is_said(model, observations, monkeypatch):
    one = take(observations, 0)
    everything = one._replace(fixed={name: jnp.asarray(0.0) for name in model.space.names})
    with pytest.raises(ValueError, match="every parameter is fixed"):
        sample_galaxy(everything, model, SETTINGS, seed=0)
    module = importlib.import_module("starling.inference.nested.sample")
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'starling-sed\[judge\]'"):
        require_dynesty()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_live": 0}, "n_live must be at least 1"),
        ({"lanes": 1000}, "lanes .* cannot exceed n_live"),
        ({"dlogz": 0.0}, "dlogz must be positive"),
        ({"slices": 0}, "slices must be at least 1"),
    ],
)
def test_settings_are_checked(changed, said):
    with pytest.raises(ValueError, match=said):
        preset("quick", **changed)


def test_unknown_presets_are_an_error():
    with pytest.raises(ValueError, match="choose one of quick, standard, paper"):
        preset("papers")
    assert preset("paper").n_live == 2000


def test_nothing_compiles_twice_for_galaxies_of_one_kind(model, observations, records):
    from starling.inference.nested import compiled

    before = compiled.move._cache_size(), compiled.meaning._cache_size()
    sample_galaxy(take(observations, 1), model, SETTINGS, seed=7)
    assert (compiled.move._cache_size(), compiled.meaning._cache_size()) == before
    assert jax.tree.leaves(model)
