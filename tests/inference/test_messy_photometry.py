"""What messy photometry does to posteriors whose truth is known: one amplitude, the posterior summed over a grid."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from starling.inference import ErrorModel, diagnose, fit, observe, summary_table, take, to_datatree
from starling.inference.band_quality import band_quality
from tests.inference.toy_amplitude import GRID, amplitude_model, below, moments, posteriors

KINDS = {
    "gaussian": ErrorModel(),
    "student_t": ErrorModel(likelihood="student_t"),
    "mixture": ErrorModel(likelihood="mixture", f_outlier_phot=0.1, nsigma_outlier_phot=20.0),
    "free": ErrorModel(likelihood="mixture", f_outlier_phot="free", nsigma_outlier_phot=20.0),
}
N, N_BANDS, ERROR = 800, 8, 0.5


def simulated(rng, n=N, level=5.0, error=ERROR):
    """Amplitudes from the prior and noisy fluxes of all bands, in units of the model's."""
    truth = rng.normal(size=n)
    return truth, (level + truth)[:, None] + error * rng.normal(size=(n, N_BANDS))


def observed(flux, error=ERROR, **options):
    return observe(1e-9 * flux, np.full(flux.shape, 1e-9 * error), **options)


def is_calibrated(ranks):
    return stats.kstest(ranks, "uniform").pvalue > 1e-3


def share_inside(ranks):
    """Of the truths in the central 68% of their posteriors."""
    return np.mean(np.abs(ranks - 0.5) < 0.34)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_a_missing_band_never_matters(kind):
    _, flux = simulated(np.random.default_rng(1), 20)
    mask = np.random.default_rng(2).uniform(size=flux.shape) < 0.6
    found = []
    for filler in (np.nan, -1e30, 1e20, 0.0):
        error = np.where(mask, ERROR, np.nan if np.isnan(filler) else abs(filler))
        observation = observe(1e-9 * np.where(mask, flux, filler), 1e-9 * error, mask=mask)
        found.append(posteriors(observation, amplitude_model(N_BANDS), KINDS[kind]))
    assert np.all(np.isfinite(found[0]))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_missing_bands_and_limits_leave_posteriors_calibrated():
    """Faint galaxies; a flux below two errors is only known to be below that, which is what the limit says."""
    rng = np.random.default_rng(3)
    truth, flux = simulated(rng, level=1.5, error=1.0)
    mask = rng.uniform(size=flux.shape) < 0.7
    limit = flux < 2.0
    assert 0.3 < limit.mean() < 0.8
    limited = np.where(limit, 2.0, flux)
    model = amplitude_model(N_BANDS, level=1.5)
    right = posteriors(observed(limited, 1.0, mask=mask, upper_limit=limit), model)
    ranks = below(right, truth)
    assert is_calibrated(ranks)
    assert abs(share_inside(ranks) - 0.68) < 4 * np.sqrt(0.68 * 0.32 / N)
    # limits taken for detections, and left out, are both wrong
    for wrong in ({"mask": mask}, {"mask": mask & ~limit}):
        assert not is_calibrated(below(posteriors(observed(limited, 1.0, **wrong), model), truth))


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_pulls_as_its_integral_says(kind):
    """One band, one limit: the posterior is the prior times the probability of a flux below the limit."""
    model = amplitude_model(1)
    observation = observe(np.array([[4.5e-9]]), np.array([[0.5e-9]]), upper_limit=np.array([[True]]))
    found = posteriors(observation, model, KINDS[kind])[0]
    grid = np.asarray(GRID, float)
    z = (4.5 - 5.0 - grid) / 0.5
    good, bad = stats.norm.cdf(z), stats.norm.cdf(z / 20.0)
    fraction = {"gaussian": 0.0, "mixture": 0.1, "free": (0.5 + 1e-5) / 2.0}
    of_limit = stats.t.cdf(z, 4.0) if kind == "student_t" else (1 - (f := fraction[kind])) * good + f * bad
    expected = stats.norm.pdf(grid) * of_limit
    np.testing.assert_allclose(found, expected / expected.sum(), atol=2e-6)
    assert moments(found[None])[0][0] < -0.2


def test_negative_fluxes_keep_faint_amplitudes_unbiased():
    """No flux at all: the average over noise is right with negative fluxes, too bright without them."""
    rng = np.random.default_rng(4)
    flux = 3.0 * rng.normal(size=(N, N_BANDS))
    model = amplitude_model(N_BANDS, level=0.0, slope=4.0)  # the prior is wide beside the error of the mean

    def estimates(observation):
        mean, sigma = moments(posteriors(observation, model))
        shrunk = 1.0 - sigma**2  # the prior pulls to 0
        return np.mean(mean / shrunk)

    error = 3.0 / np.sqrt(N_BANDS * N) / 4.0
    assert np.mean(flux < 0) > 0.4
    assert abs(estimates(observed(flux, 3.0))) < 4 * error
    assert estimates(observed(flux, 3.0, mask=flux > 0)) > 20 * error


@pytest.fixture(scope="module")
def struck():
    """A tenth of the bands scatter twenty times as much as their errors say."""
    rng = np.random.default_rng(5)
    truth, flux = simulated(rng)
    outlier = rng.uniform(size=flux.shape) < 0.1
    return (
        truth,
        flux + np.where(outlier, ERROR * np.sqrt(20.0**2 - 1) * rng.normal(size=flux.shape), 0.0),
        outlier,
    )


def test_outliers_bias_a_gaussian_fit_and_no_robust_one(struck):
    truth, flux, _ = struck
    model = amplitude_model(N_BANDS)
    off, inside, calibrated = {}, {}, {}
    for kind, errors in KINDS.items():
        found = posteriors(observed(flux), model, errors)
        ranks = below(found, truth)
        off[kind] = np.sqrt(np.mean((moments(found)[0] - truth) ** 2))
        inside[kind], calibrated[kind] = share_inside(ranks), is_calibrated(ranks)
    noise = 4 * np.sqrt(0.68 * 0.32 / N)
    assert inside["gaussian"] < 0.5
    assert not calibrated["gaussian"]
    # the mixture is how the data were made, and the fraction lies within the range of the free one
    assert calibrated["mixture"]
    assert abs(inside["mixture"] - 0.68) < noise
    assert abs(inside["free"] - 0.68) < noise + 0.03
    # a Student-t is not, but no outlier moves it far
    assert 0.60 < inside["student_t"] < 0.78
    for kind in ("student_t", "mixture", "free"):
        assert off[kind] < 0.35 * off["gaussian"]


def test_robust_fits_of_clean_data_lose_little():
    truth, flux = simulated(np.random.default_rng(6))
    model = amplitude_model(N_BANDS)
    widths = {}
    for kind, errors in KINDS.items():
        found = posteriors(observed(flux), model, errors)
        widths[kind] = moments(found)[1].mean()
        assert abs(share_inside(below(found, truth)) - 0.68) < 0.10
    for kind in ("student_t", "mixture", "free"):
        assert 0.95 < widths[kind] / widths["gaussian"] < 1.25


def test_a_floor_of_one_band_takes_its_bad_calibration():
    """The first band is off by 30% from galaxy to galaxy; a floor of it alone mends what a common one blurs."""
    rng = np.random.default_rng(7)
    truth, flux = simulated(rng, error=0.2)
    flux[:, 0] += 0.3 * (5.0 + truth) * rng.normal(size=N)
    model = amplitude_model(N_BANDS)
    own = posteriors(observed(flux, 0.2), model, ErrorModel(error_floors=(("band_0", 0.3),)))
    none, common = (posteriors(observed(flux, 0.2), model, error_floor=floor) for floor in (0.0, 0.1))
    assert abs(share_inside(below(own, truth)) - 0.68) < 4 * np.sqrt(0.68 * 0.32 / N) + 0.02
    assert share_inside(below(none, truth)) < 0.4
    assert moments(own)[1].mean() < 0.7 * moments(common)[1].mean()


@pytest.fixture(scope="module")
def mixed_fit(struck, quick):
    """Through ``fit``: a galaxy that is clean, one with an outlier, one with an outlier and a limit."""
    _, flux, outlier = struck
    clean = int(np.flatnonzero(~outlier.any(axis=1))[0])
    off = np.abs(flux - np.median(flux, axis=1, keepdims=True)) > 10 * ERROR
    hit = np.flatnonzero(off.sum(axis=1) == 1)[:2]
    rows = [clean, *hit.tolist()]
    limit = np.zeros((3, N_BANDS), bool)
    limit[2, np.flatnonzero(~off[rows[2]])[0]] = True
    observations = observed(flux[rows], upper_limit=limit)
    errors = KINDS["mixture"]
    settings = replace(quick, model_error="none", errors=errors)
    model = amplitude_model(N_BANDS)
    draws = fit(jax.random.key(8), observations, model, settings=settings)
    return observations, model, draws, settings, off[rows]


def test_chains_sample_the_mixture(mixed_fit):
    observations, model, draws, settings, _ = mixed_fit
    found = diagnose(draws)
    assert np.all(found.rhat < 1.02)
    mean, sigma = moments(posteriors(observations, model, settings.errors))
    samples = draws.theta[..., 0].reshape(3, -1)
    least = np.minimum(found.ess_bulk.min(axis=1), found.ess_tail.min(axis=1))
    assert np.all(np.abs(samples.mean(1) - mean) < 4.5 * sigma / np.sqrt(least))
    np.testing.assert_allclose(samples.std(1), sigma, rtol=0.15)


def test_the_tree_names_the_outliers(mixed_fit):
    observations, model, draws, settings, off = mixed_fit
    found = diagnose(draws)
    tree = to_datatree(draws, observations, model, found, galaxy=["a", "b", "c"], settings=settings)
    probability = tree["observed_data"]["outlier_probability"]
    assert probability.dims == ("galaxy", "band")
    np.testing.assert_array_equal(probability > 0.5, off)
    np.testing.assert_array_equal(tree["observed_data"]["outlier_weight"] < 0.5, off)
    assert tree["diagnostics"]["n_outliers"].values.tolist() == [0, 1, 1]
    assert "outliers 20 times as wide, a fraction of 0.1" in tree.attrs["likelihood"]
    table = summary_table(tree)
    assert table["n_outliers"].tolist() == [0, 1, 1]
    assert table["f_outlier_phot"][0] == pytest.approx(0.1)


def test_probabilities_add_up_to_the_outliers_that_there_are(struck):
    """Over many galaxies, with the draws of their grids: what is called 30% is one in 30% of the cases."""
    _, flux, outlier = struck
    model, observations = amplitude_model(N_BANDS), observed(flux)
    weights = posteriors(observations, model, KINDS["mixture"])
    rng = np.random.default_rng(9)
    index = np.stack([rng.choice(len(GRID), 50, p=w / w.sum()) for w in weights])
    theta = np.asarray(GRID)[index][..., None]
    at = jnp.asarray(1e-9 * (5.0 + theta) * np.ones(N_BANDS), jnp.float32)
    found = band_quality(
        observations,
        model,
        jnp.asarray(0.0),
        jnp.asarray(theta, jnp.float32),
        at,
        None,
        model_error="none",
        errors=KINDS["mixture"],
    )
    assert found.suspects is not None
    probability = np.asarray(found.suspects.probability, float)
    assert probability.sum() == pytest.approx(
        outlier.sum(), abs=4 * np.sqrt(np.sum(probability * (1 - probability)))
    )
    for low, high in ((0.0, 0.02), (0.02, 0.2), (0.2, 0.8), (0.8, 1.0)):
        here = (probability >= low) & (probability <= high)
        error = np.sqrt(np.sum(probability[here] * (1 - probability[here]))) / here.sum()
        assert here.sum() > 20
        assert outlier[here].mean() == pytest.approx(probability[here].mean(), abs=4 * error)


def test_one_galaxy_of_a_batch_is_that_galaxy_alone(struck):
    _, flux, _ = struck
    observations = observed(flux[:4])
    both = posteriors(observations, amplitude_model(N_BANDS), KINDS["free"])
    alone = posteriors(take(observations, [2]), amplitude_model(N_BANDS), KINDS["free"])
    np.testing.assert_allclose(alone[0], both[2], rtol=1e-4, atol=1e-9)
