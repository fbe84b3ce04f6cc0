import numpy as np
import pytest
from arviz_stats.base import array_stats

from starling.inference import Draws, diagnose
from starling.inference.convergence import convergence


def made_up(values, diverging=0.0, problem="", outside=np.nan):
    """Draws of one galaxy with two free parameters from values [chain, draw, 2]."""
    shape = values.shape[:2]
    bad = np.zeros(shape, bool)
    bad.flat[: int(diverging * bad.size)] = True
    ones = np.ones((1, *shape))
    remoteness = np.full(bad.size, 0.5 if np.isfinite(outside) else np.nan)
    remoteness[: int(np.nan_to_num(outside) * bad.size)] = 1.5
    return Draws(
        names=("mass", "dust"),
        free=("mass", "dust"),
        theta=values[None],
        remoteness=remoteness.reshape(1, *shape),
        extra={},
        log_density=ones,
        acceptance_rate=ones,
        diverging=bad[None],
        n_steps=ones,
        step_size=np.ones(1),
        n_modes=np.ones(1, int),
        problems=(problem,),
    )


@pytest.fixture
def good():
    return np.random.default_rng(1).normal(size=(4, 500, 2))


def ar1(rng, n, rho):
    x = rng.normal(size=(4, n))
    for i in range(1, n):
        x[:, i] = rho * x[:, i - 1] + np.sqrt(1 - rho**2) * x[:, i]
    return x


def test_against_arviz():
    rng = np.random.default_rng(2)
    series = np.stack([ar1(rng, 400, rho) for rho in (0.0, 0.5, 0.9, 0.97, -0.4)], axis=-1)
    series[0, :, 3] += 1.0
    rhat, bulk, tail = convergence(series)
    for i in range(series.shape[-1]):
        one = series[..., i]
        np.testing.assert_allclose(rhat[i], array_stats.rhat(one), rtol=1e-4)
        np.testing.assert_allclose(bulk[i], array_stats.ess(one), rtol=0.03)
        np.testing.assert_allclose(tail[i], array_stats.ess(one, method="tail", prob=(0.05, 0.95)), rtol=0.1)


def test_good_draws_pass(good):
    found = diagnose(made_up(good))
    assert found.passed.all()
    assert found.flag == ("",)


def test_chains_that_disagree(good):
    good[0, :, 1] += 2.0
    flag = diagnose(made_up(good)).flag[0]
    assert "chains disagree" in flag
    assert "dust" in flag
    assert "mass" not in flag


def test_chains_that_hardly_move():
    rng = np.random.default_rng(3)
    slow = np.stack([ar1(rng, 500, 0.97), rng.normal(size=(4, 500))], axis=-1)
    flag = diagnose(made_up(slow)).flag[0]
    assert "bulk ESS below 400 in mass" in flag


def test_divergences(good):
    assert "3.0% of the transitions diverged" in diagnose(made_up(good, diverging=0.03)).flag[0]
    assert diagnose(made_up(good, diverging=0.005)).passed.all()


def test_draws_outside_the_domain(good):
    found = diagnose(made_up(good, outside=0.03))
    assert found.outside[0] == 0.03
    assert "3.0% of the draws are outside what the emulator was trained on" in found.flag[0]
    assert diagnose(made_up(good, outside=0.005)).passed.all()
    unknown = diagnose(made_up(good))
    assert np.isnan(unknown.outside[0])
    assert unknown.passed.all()


def test_chains_that_never_move(good):
    assert "never moved" in diagnose(made_up(np.ones_like(good))).flag[0]
    good[..., 0] = np.nan
    assert "no movement in mass" in diagnose(made_up(good)).flag[0]


def test_problems_of_the_data_come_first(good):
    assert diagnose(made_up(good, problem="no band is used")).flag[0] == "no band is used"


def test_divergences_of_all_transitions(good):
    """Draws that each stand for three transitions: counts, among three times as many."""
    draws = made_up(good)
    counts = np.zeros(draws.diverging.shape, int)
    counts[0, 0, :36] = 2
    found = diagnose(draws._replace(diverging=counts, every=(3,)))
    assert found.divergences[0] == 72
    assert "1.2% of the transitions diverged" in found.flag[0]
    counts[0, 0, 20:] = 0
    assert diagnose(draws._replace(diverging=counts, every=(3,))).passed.all()


def test_sampled_zero_points_that_do_not_mix(good):
    rng = np.random.default_rng(4)
    zero = rng.normal(size=(1, 4, 500, 3))
    zero[..., 2] = 1.0
    extra = {"width": rng.normal(size=(1, 4, 500)), "zero_points": zero}
    assert diagnose(made_up(good)._replace(extra=extra)).passed.all()
    zero[0, 0, :, 1] += 2.0
    found = diagnose(made_up(good)._replace(extra=extra))
    assert found.rhat.shape == (1, 2)
    assert not found.passed[0]
    assert "the chains disagree" in found.flag[0]
    assert "zero_points[1] (" in found.flag[0]
    assert not any(name in found.flag[0] for name in ("zero_points[0]", "zero_points[2]", "width", "mass"))
