"""Rounds of draws that end when they are worth enough."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from starling.amortised.adapt import Adaptation, Rounds, adapt, of_flow
from starling.amortised.psis import smooth
from starling.amortised.reliability import NEVER, Reliability

SCALE = jnp.linspace(0.3, 1.5, 10)[:, None]
PLAN = Adaptation(8, 500, 0.2)
EXACT = 5.0 * np.log(2.0 * np.pi) + np.sum(np.log(np.asarray(SCALE)))


def evaluate(key: Array, z: Array) -> tuple[Array, dict[str, Any]]:
    return -0.5 * jnp.sum((z / SCALE) ** 2, axis=0), {"z": z.T, "key": jax.random.uniform(key, (z.shape[1],))}


@jax.jit
def until(key: Array, limits: Reliability) -> Rounds:
    return adapt(key, evaluate, of_flow(key, 10, 2), PLAN, limits)


def limits(ess: float) -> Reliability:
    return Reliability(jnp.asarray(0.7), jnp.asarray(ess))


def made(found: Rounds) -> Rounds:
    chosen = np.asarray(found.made)
    values = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], found.values)
    return found._replace(values=values, log_weight=found.log_weight[chosen])


def test_they_end_once_they_are_worth_enough_and_no_later() -> None:
    key = jax.random.key(1)
    n_rounds = []
    for ess in (50.0, 400.0, 1000.0):
        found = made(until(key, limits(ess)))
        whole = smooth(np.asarray(found.log_weight, float))
        assert whole.ess >= ess
        n_rounds.append(len(found.log_weight) // PLAN.n)
        if n_rounds[-1] > 1:
            # with a round less they were not
            shorter = adapt(key, evaluate, of_flow(key, 10, 2), PLAN._replace(rounds=n_rounds[-1] - 1))
            assert smooth(np.asarray(shorter.log_weight, float)).ess < ess
    assert n_rounds == sorted(n_rounds)
    assert n_rounds[0] < n_rounds[-1] < PLAN.rounds


def test_what_was_drawn_is_as_if_no_more_rounds_had_been_planned() -> None:
    key = jax.random.key(1)
    ended = until(key, limits(400.0))
    found = made(ended)
    n_rounds = len(found.log_weight) // PLAN.n
    planned = adapt(key, evaluate, of_flow(key, 10, 2), PLAN._replace(rounds=n_rounds))
    assert np.all(planned.made)
    np.testing.assert_allclose(found.log_weight, planned.log_weight, rtol=1e-4, atol=1e-4)
    for name in ("z", "key"):
        np.testing.assert_allclose(found.values[name], planned.values[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ended.halves.mean, planned.halves.mean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("never", [NEVER, Reliability(0.7, np.inf), Reliability(-np.inf, 0.0)])
def test_all_rounds_where_it_is_never_enough(never: Reliability) -> None:
    found = until(jax.random.key(1), jax.tree.map(jnp.asarray, never))
    assert np.all(found.made)
    assert np.all(np.isfinite(found.log_weight))


def test_ending_early_hardly_biases_the_evidence() -> None:
    """A round that is the last because its weights look good: they do by luck too."""
    run = jax.jit(jax.vmap(lambda key: adapt(key, evaluate, of_flow(key, 10, 2), PLAN, limits(300.0))))
    found = run(jax.random.split(jax.random.key(3), 64))
    each = [
        smooth(np.asarray(log_weight, float)[np.asarray(chosen)])
        for log_weight, chosen in zip(found.log_weight, found.made, strict=True)
    ]
    assert np.mean(found.made) < 0.8
    off = np.asarray([one.log_mean for one in each]) - EXACT
    # less than what one galaxy's evidence scatters by, at so many draws' worth
    assert abs(off.mean()) < 3.0 * off.std() / 8.0 + 0.5 / np.sqrt(300.0)
