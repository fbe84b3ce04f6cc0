"""The whole way: weights where they do, chains in the proposal's coordinates, plain chains for the rest."""

import importlib
from dataclasses import replace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_flows import EVERYTHING, NEVER, SETTINGS, linear_data

from starling.amortised import AmortisedSettings, Archive, Proposal, Settled, settle
from starling.inference import Observation, SamplerSettings, to_datatree
from starling.inference.nested import PRESETS, rest
from starling.inference.settings import Nested
from starling.inference.summary import summary_table
from tests.amortised.conftest import LinearModel

settle_module = importlib.import_module("starling.amortised.settle")  # its function has its name

SAMPLER = SamplerSettings(
    n_chains=2,
    n_warmup=100,
    n_draws=800,
    mean_steps=4.0,
    n_descents=2,
    descent_steps=5,
    error_floor=0.0,
    model_error="none",
)


def _settle(
    plain: LinearModel, untrained: Proposal, observations: Observation, settings: AmortisedSettings
) -> Settled:
    archive = Archive(untrained, EVERYTHING, {})
    return settle(jax.random.key(0), observations, plain, archive, SAMPLER, settings)


def test_weights_settle_and_say_so(plain: LinearModel, untrained: Proposal) -> None:
    observations = linear_data(plain, 2)
    draws, found = _settle(plain, untrained, observations, SETTINGS)
    assert found.passed.all()
    assert {stage.split()[0] for stage in found.weights.stage} == {"weights"}
    assert np.all(np.isnan(found.rhat))
    assert np.all(found.ess_bulk >= 400.0)
    np.testing.assert_array_equal(found.ess_bulk, found.weights.ess[:, None].repeat(2, axis=1))
    tree = to_datatree(draws, observations, plain, found, galaxy=["a", "b"], settings=SAMPLER)
    assert tree["diagnostics"]["stage"].values.tolist() == list(found.weights.stage)
    table = summary_table(tree)
    assert {"stage", "k_hat", "ess_weights", "log_evidence", "log_evidence_err"} <= set(table.colnames)
    assert table["flag"].tolist() == ["ok", "ok"]


def test_what_nothing_settles_goes_to_plain_chains_and_keeps_its_place(
    plain: LinearModel, untrained: Proposal
) -> None:
    observations = linear_data(plain, 3)
    bad = observations._replace(flux=observations.flux.at[1, 0].set(jnp.nan))
    hopeless = replace(NEVER, chains=None, ess=1e9)
    draws, found = _settle(plain, untrained, bad, hopeless)
    assert found.weights.stage == ("chains", "unsettled", "chains")
    assert found.passed.tolist() == [True, False, True]
    assert "not finite" in found.flag[1]
    assert np.all(found.rhat[[0, 2]] < 1.01)
    assert np.all(draws.n_steps[0] > 0)
    # plain chains take 4 steps a transition: a draw has the transitions that are said of it
    steps = draws.n_steps.mean(axis=(1, 2)) / np.asarray(draws.every)
    np.testing.assert_allclose(steps[[0, 2]], 4.0, rtol=0.2)
    np.testing.assert_array_equal(draws.theta[:, 0, 0, 2], np.asarray(observations.fixed["zred"]))


def test_plain_chains_are_for_galaxies_that_the_flow_misses(
    plain: LinearModel, untrained: Proposal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert NEVER.chains is not None
    brief = replace(NEVER, ess=1e9, astray=np.inf, chains=NEVER.chains._replace(patience=1))
    monkeypatch.setattr(settle_module, "fit", lambda *_, **__: pytest.fail("plain chains"))
    draws, found = _settle(plain, untrained, linear_data(plain, 2), brief)
    assert found.weights.stage == ("unsettled", "unsettled")
    assert all("R-hat" in flag for flag in found.flag)
    assert np.all(draws.n_steps > 0)
    with pytest.raises(pytest.fail.Exception, match="plain chains"):
        _settle(plain, untrained, linear_data(plain, 2), replace(brief, astray=-9.0))


def test_nested_sampling_is_the_last_resort(plain: LinearModel, untrained: Proposal) -> None:
    """Where chains end too early; the posterior is the same normal that the weights find."""
    pytest.importorskip("dynesty")
    observations = linear_data(plain, 2)
    archive = Archive(untrained, EVERYTHING, {})
    known, known_found = _settle(plain, untrained, observations, SETTINGS)
    hopeless = replace(NEVER, chains=None, ess=1e9)
    brief = replace(SAMPLER, n_warmup=50, n_draws=50, patience=1, nested="quick")
    draws, found = settle(jax.random.key(0), observations, plain, archive, brief, hopeless)
    assert found.weights.stage == ("nested", "nested")
    assert found.passed.all()
    assert np.all(found.ess_bulk >= 400.0)
    evidence = found.weights.log_evidence
    np.testing.assert_allclose(evidence, known_found.weights.log_evidence, atol=1.0)
    columns = [draws.names.index(name) for name in draws.free]
    for row in range(2):
        a, b = (one.theta[row][..., columns].reshape(-1, len(columns)) for one in (draws, known))
        np.testing.assert_allclose(a.mean(axis=0), b.mean(axis=0), atol=0.35 * b.std(axis=0).max())
        np.testing.assert_allclose(a.std(axis=0), b.std(axis=0), rtol=0.3)


def test_nested_sampling_that_fails_is_a_flag(
    plain: LinearModel, untrained: Proposal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dynesty")

    def fails(*_arguments: object) -> None:
        raise RuntimeError("no point above the threshold")

    monkeypatch.setattr(rest, "sample_galaxy", fails)
    archive = Archive(untrained, EVERYTHING, {})
    brief = replace(SAMPLER, n_warmup=50, n_draws=50, patience=1, nested="standard")
    hopeless = replace(NEVER, chains=None, ess=1e9)
    draws, found = settle(jax.random.key(0), linear_data(plain, 2), plain, archive, brief, hopeless)
    assert found.weights.stage == ("unsettled", "unsettled")
    assert all("nested sampling failed too: no point above" in flag for flag in found.flag)
    assert np.all(np.isfinite(draws.theta))


def test_presets_of_the_last_resort_are_those_of_the_judge() -> None:
    assert set(get_args(Nested)) == {"none", *PRESETS}
