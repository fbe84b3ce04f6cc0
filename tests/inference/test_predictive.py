"""Does the model explain the data? Galaxies whose posteriors are known, and faults that were put into their data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from starling.inference import Observation, SamplerSettings, observe
from starling.inference.band_quality import band_variables
from starling.inference.error_model import ErrorModel, ZeroPoint
from starling.inference.predictive import IMPROBABLE, deviates
from tests.inference.conftest import SCALE, LinearModel, linear_space

GALAXIES, BANDS, DRAWS, LEVEL = 400, 12, 100, 20.0
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def model() -> LinearModel:
    matrix = SCALE * np.random.default_rng(3).normal(size=(BANDS, len(NAMES)))
    offset = jnp.full(BANDS, LEVEL * SCALE, jnp.float32)
    names = tuple(f"band_{i}" for i in range(BANDS))
    return LinearModel(jnp.asarray(matrix, jnp.float32), offset, linear_space(NAMES), names)


def mocks(model: LinearModel, noise: np.ndarray, error: float = 0.3, **more: Any) -> Observation:
    """Galaxies from the prior with ``noise`` (galaxy, band) in units of their errors."""
    theta = np.random.default_rng(1).normal(size=(len(noise), len(NAMES)))
    flux = np.asarray(jax.vmap(model)(jnp.asarray(theta, jnp.float32)), float)
    return observe(flux + error * SCALE * noise, np.full(flux.shape, error * SCALE), **more)


def variables(
    model: LinearModel,
    observations: Observation,
    settings: SamplerSettings | None = None,
    cov: np.ndarray | None = None,
    fitted: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The checks with draws of the exact posterior of the ``fitted`` bands (default: all that are used).

    ``cov`` is the covariance of the data in units of SCALE^2, where it is not that of their errors.
    """
    settings = settings or SamplerSettings(error_floor=0.0, model_error="none")
    keep = np.asarray(observations.mask & ~observations.upper_limit) if fitted is None else fitted
    matrix, rng = np.asarray(model.matrix, float) / SCALE, np.random.default_rng(2)
    data = np.where(keep, np.asarray(observations.flux, float) / SCALE - LEVEL, 0.0)
    inverse = np.eye(BANDS) / 0.3**2 if cov is None else np.linalg.inv(cov)
    weight = keep[:, :, None] * inverse * keep[:, None, :]  # no band is left out where they are correlated
    precision = np.eye(len(NAMES)) + matrix.T @ weight @ matrix
    covariance = np.linalg.inv(precision)
    mean = np.einsum("gij,gj->gi", covariance @ matrix.T @ weight, data)
    score = rng.normal(size=(len(data), DRAWS, len(NAMES)))
    theta = mean[:, None] + score @ np.linalg.cholesky(covariance).transpose(0, 2, 1)
    draws = theta.astype(np.float32)[:, None]
    predicted = np.asarray(model.offset + draws @ np.asarray(model.matrix).T, np.float32)
    found = band_variables(observations, model, settings, draws, predicted, None)
    return {name: np.asarray(one[1]) for name, one in (found.observed | found.galaxies).items()}


def normal(seed: int = 4, n: int = GALAXIES) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, BANDS))


def test_mocks_of_the_model_itself_are_explained(model: LinearModel) -> None:
    found = variables(model, mocks(model, normal()))
    # means over draws of what is uniform for every draw: centred, less spread (Meng 1994)
    for name in ("p_value", "p_value_band"):
        p = found[name]
        assert abs(p.mean() - 0.5) < 4 * p.std() / np.sqrt(GALAXIES)
        assert p.std() < np.sqrt(1 / 12)
        for alpha in (0.01, 0.05, 0.2):
            assert (p < alpha).sum() <= stats.binom.isf(1e-4, GALAXIES, 2 * alpha)
        assert (p < 0.2).sum() > 0.02 * GALAXIES  # neither is it stuck in the middle
    assert (found["unexplained"] != "").sum() <= stats.binom.isf(1e-4, GALAXIES, 2 * IMPROBABLE)
    # the squares have the mean 1 over the joint distribution of parameters and data, the residuals 0
    assert found["residual_rms"].shape == (GALAXIES, BANDS)
    square = (found["residual_rms"] ** 2).mean(axis=0)
    assert np.all(np.abs(square - 1) < 4 * np.sqrt(2 / GALAXIES))
    assert np.all(np.abs(found["residual"].mean(axis=0)) < 4 / np.sqrt(GALAXIES))


def test_errors_that_are_too_small_are_warned_of(model: LinearModel) -> None:
    found = variables(model, mocks(model, 3.0 * normal()))
    assert (
        found["unexplained"] != ""
    ).mean() > 0.85  # 9 chi^2 of 9 degrees of freedom above what 12 bands allow
    assert np.median(found["p_value"]) < 1e-6
    assert (found["residual_rms"] ** 2).mean() > 4


def test_errors_that_are_too_large_are_not(model: LinearModel) -> None:
    found = variables(model, mocks(model, normal() / 3.0))
    assert not (found["unexplained"] != "").any()
    assert np.median(found["p_value"]) > 0.9


@pytest.mark.parametrize("magnitude", [1.0, -1.0])
def test_a_band_that_is_off_by_a_magnitude_is_named(model: LinearModel, magnitude: float) -> None:
    noise = normal(n=50)
    clean = mocks(model, noise)
    factor = np.ones(BANDS)
    factor[7] = 10 ** (0.4 * magnitude)
    found = variables(model, clean._replace(flux=clean.flux * factor.astype(np.float32)))
    assert np.all(found["unexplained"] != "")
    for text in found["unexplained"]:
        first = str(text).split(": ")[1].split(", ")[0]
        assert first.startswith(f"band_7 {'+' if magnitude > 0 else '-'}")


def test_one_band_among_many_is_found(model: LinearModel) -> None:
    """Nine sigma in one band, of which the fit takes a part, while chi^2 of the others is small."""
    noise = 0.7 * normal(n=100)
    noise[:, 3] += 9.0
    found = variables(model, mocks(model, noise))
    assert (found["unexplained"] != "").mean() > 0.75
    assert all("band_3 +" in text for text in found["unexplained"] if text)


def test_masked_bands_and_limits(model: LinearModel) -> None:
    noise, mask, limit = normal(n=6), np.ones((6, BANDS), bool), np.zeros((6, BANDS), bool)
    mask[0, 2], mask[1] = False, False
    limit[2:4, 5] = True
    noise[0, 2] = 1e5
    clean = mocks(model, noise, mask=mask, upper_limit=limit)
    flux = np.asarray(clean.flux).copy()
    flux[2, 5] *= 0.3  # a galaxy that should be seen there; far below the model
    flux[3, 5] *= 3.0
    found = variables(model, clean._replace(flux=jnp.asarray(flux)))
    assert np.isnan(found["residual"][0, 2])
    assert np.isnan(found["residual"][2:4, 5]).all()
    assert np.isnan(found["p_value"][1])
    assert np.isnan(found["p_value_band"][1])
    assert [bool(text) for text in found["unexplained"]] == [False, False, True, False, False, False]
    assert "band_5 -" in found["unexplained"][2]
    assert "an upper limit" in found["unexplained"][2]


def test_zero_points_that_are_integrated_out_explain_what_they_can(model: LinearModel) -> None:
    """Two bands share a factor of 10%: as data of that covariance explained, without it not."""
    groups = ErrorModel(zero_points=(ZeroPoint("ks", ("band_3", "band_4"), 0.1),))
    settings = SamplerSettings(error_floor=0.0, model_error="none", errors=groups)
    noise = normal()
    clean = mocks(model, noise)
    delta = 1 + 0.1 * np.random.default_rng(9).normal(size=(GALAXIES, 1))
    factor = np.ones((GALAXIES, BANDS))
    factor[:, 3:5] = delta
    observations = clean._replace(flux=clean.flux * factor.astype(np.float32))
    member = np.isin(np.arange(BANDS), (3, 4)) * LEVEL
    cov = 0.09 * np.eye(BANDS) + 0.01 * np.outer(member, member)
    found = variables(model, observations, settings, cov)
    assert abs(found["p_value"].mean() - 0.5) < 0.05
    assert (found["unexplained"] != "").sum() <= 3
    plain = variables(model, observations)
    assert (plain["unexplained"] != "").mean() > 0.5


@pytest.mark.parametrize(
    "errors",
    [
        ErrorModel(likelihood="student_t", degrees_of_freedom=3.0),
        ErrorModel(likelihood="mixture", f_outlier_phot=0.1, nsigma_outlier_phot=10.0),
    ],
)
def test_deviates_of_what_the_likelihood_draws_are_normal(errors: ErrorModel) -> None:
    rng, shape = np.random.default_rng(8), (1, 400, 50)
    if errors.likelihood == "student_t":
        z = rng.standard_t(3.0, shape)
    else:
        z = rng.normal(size=shape) * np.where(rng.uniform(size=shape) < 0.1, 10.0, 1.0)
    found = deviates(z, np.full((1, 400, 1), 0.1), errors)
    assert stats.kstest(found.ravel(), "norm").pvalue > 1e-4
    assert np.all(np.diff(found.ravel()[np.argsort(z.ravel())]) >= -1e-9)
    assert np.isfinite(deviates(np.asarray([[[-1e4, 0.0, 1e4]]]), np.full((1, 1, 1), 0.1), errors)).all()


def test_an_outlier_that_the_likelihood_allows_for_is_no_warning(model: LinearModel) -> None:
    noise = normal(n=40)
    noise[:, 6] += 15.0
    errors = ErrorModel(likelihood="mixture", f_outlier_phot=0.05)
    settings = SamplerSettings(error_floor=0.0, model_error="none", errors=errors)
    observations = mocks(model, noise)
    fitted = np.ones(noise.shape, bool)
    fitted[:, 6] = False  # a robust posterior leaves the outlier out
    found = variables(model, observations, settings, fitted=fitted)
    assert (found["unexplained"] != "").mean() < 0.1
    assert np.all(found["n_outliers"] == 1)
    plain = variables(model, observations, fitted=fitted)
    assert np.all(plain["unexplained"] != "")
