"""The judge with outliers and with zero points: the evidence is that of sums over a grid."""

import jax
import numpy as np
import pytest

from starling.inference import ErrorModel, ZeroPoint, galaxy_model, observe, prepare_noise, take
from starling.inference.density import flat_density
from starling.inference.nested import NestedSettings, nested_tree, sample_galaxy
from tests.inference.toy_amplitude import GRID, amplitude_model

GROUPS = (ZeroPoint("one", ("band_0", "band_1"), 0.1), ZeroPoint("other", ("band_2", "band_3"), 0.05))
KINDS = {
    # how it is sampled, and the density over the grid that it has to be the integral of
    "mixture": (ErrorModel(likelihood="mixture", f_outlier_phot="free"),) * 2,
    "zero points": (ErrorModel(zero_points=GROUPS, treatment="free"), ErrorModel(zero_points=GROUPS)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_and_posterior(kind):
    model = amplitude_model(4)
    observations = observe(1e-9 * np.array([[6.2, 5.9, 5.5, 12.0]]), np.full((1, 4), 0.4e-9))
    sampled, summed = KINDS[kind]
    settings = NestedSettings(
        n_live=300, dlogz=0.02, lanes=64, n_draws=500, error_floor=0.0, model_error="none", errors=sampled
    )
    one = take(observations, 0)
    record = sample_galaxy(one, model, settings, seed=1)
    noise = prepare_noise(one, model, 0.0, "none", summed)
    density = flat_density(galaxy_model, one, model, noise=noise)
    values = np.asarray(jax.jit(jax.vmap(lambda a: density.log_density(a[None])))(GRID), float)
    weight = np.exp(values - values.max())
    grid = np.asarray(GRID, float)
    evidence = values.max() + np.log(weight.sum() * (grid[1] - grid[0]))
    assert abs(record.log_evidence - evidence) < 4.0 * record.log_evidence_err
    mean = weight @ grid / weight.sum()
    sigma = np.sqrt(weight @ (grid - mean) ** 2 / weight.sum())
    assert abs(record.weight @ record.theta[:, 0] - mean) < 4.5 * sigma / np.sqrt(record.n_effective)
    tree = nested_tree([record], observations, model, galaxy=["a"], settings=settings)
    if kind == "zero points":
        assert tree["posterior"]["zero_points"].dims == ("chain", "draw", "galaxy", "zero_point")
        # the fourth band asks for a larger factor than the prior has
        assert 0.0 < float(tree["posterior"]["zero_points"].sel(zero_point="other").mean()) < 0.15
    else:
        assert tree["diagnostics"]["n_outliers"].values.tolist() == [1]
        assert float(tree["observed_data"]["outlier_probability"][0, 3]) > 0.9
