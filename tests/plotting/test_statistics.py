"""The numbers behind the figures: residuals per band, coverage, offsets."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from starling.plotting import Comparison, agreement, band_residuals, recovery
from starling.plotting.bands import BandFluxes, band_fluxes
from starling.plotting.draws import QUANTILES, draws, galaxy_position, quantiles, scalar_names, truth
from starling.plotting.predictive import error_scale
from starling.plotting.residuals import sample_galaxies
from starling.plotting.sample import joint_rank


def fluxes_of(residual: np.ndarray) -> BandFluxes:
    """Fluxes whose standardised residuals are the given ones ``[galaxy, band]``; total error a tenth of the model."""
    n_galaxies, n_bands = residual.shape
    return BandFluxes(
        galaxies=tuple(map(str, range(n_galaxies))),
        bands=tuple(f"b{index}" for index in range(n_bands)),
        wave_um=np.geomspace(0.4, 8, n_bands),
        flux=1.0 + 0.1 * residual,
        sigma=np.full(residual.shape, 0.1),
        used=np.isfinite(residual),
        limit=np.zeros(residual.shape, dtype=bool),
        predicted=np.ones((len(QUANTILES), n_galaxies, n_bands)),
        chi2=np.full(n_galaxies, np.nan),
    )


def test_residuals_are_in_units_of_the_total_error() -> None:
    fluxes = fluxes_of(np.array([[1.0, -2.0, np.nan]]))
    np.testing.assert_allclose(fluxes.standardised(), [[1.0, -2.0, np.nan]])
    np.testing.assert_allclose(fluxes.magnitudes(), [[0.108574, -0.217147, np.nan]], rtol=1e-5)


def test_chi2_is_the_smallest_of_the_draws_without_masked_bands_and_limits(
    tree_maker: Callable[..., xr.DataTree],
) -> None:
    tree = tree_maker(2, 4, n_draws=20)
    observed = tree["observed_data"]
    observed["flux"][:] = [[3.0, 4.0, np.nan, 50.0], [np.nan] * 4]
    observed["flux_err_total"][:] = [[1.0, 2.0, np.nan, 1.0], [np.nan] * 4]
    observed["mask"][:] = [[True, True, False, True], [False] * 4]
    observed["upper_limit"][:] = [[False, False, False, True], [False] * 4]
    tree["posterior_predictive"]["flux"][:] = 100.0
    tree["posterior_predictive"]["flux"][1, 3] = 2.0
    np.testing.assert_allclose(band_fluxes(tree).chi2, [1.0**2 + 1.0**2, np.nan])


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(0)
    n_runs, rate = 150, 0.05
    everyone = np.ones(30, dtype=bool)
    alarms = sum(
        any(
            item.off
            for item in band_residuals(fluxes_of(rng.normal(size=(30, 20))), everyone, false_alarm_rate=rate)
        )
        for _ in range(n_runs)
    )
    assert alarms <= n_runs * rate + 3 * np.sqrt(n_runs * rate * (1 - rate)), "3 sigma of the binomial"


@pytest.mark.parametrize("size", [-1.0, 1.0])
def test_a_band_that_is_off_is_found_despite_outliers(size: float) -> None:
    rng = np.random.default_rng(1)
    residual = rng.normal(size=(64, 20))
    residual[:, 7] += size
    residual[0, 3] = 1e6
    found = band_residuals(fluxes_of(residual), np.ones(64, dtype=bool))
    assert [item.band for item in found if item.off] == ["b7"]
    assert found[7].mean == pytest.approx(size, abs=3 * found[7].standard_error)


def test_too_few_galaxies_prove_nothing() -> None:
    found = band_residuals(fluxes_of(np.full((4, 3), 50.0)), np.ones(4, dtype=bool))
    assert not any(item.off for item in found)
    assert np.isnan(found[0].mean)
    assert found[0].n == 4


def test_sample_is_those_that_passed(tree_maker: Callable[..., xr.DataTree]) -> None:
    tree = tree_maker(6, 6, n_draws=20)
    tree["diagnostics"]["passed"][:] = [True, False, True, True, False, True]
    assert sample_galaxies(tree).sum() == 4
    tree["diagnostics"]["passed"][:] = False
    assert sample_galaxies(tree).sum() == 6


def test_bands_are_read_in_any_order_of_dimensions(tree: xr.DataTree) -> None:
    expected = band_fluxes(tree)
    turned = tree.copy(deep=True)
    for group in ("observed_data", "posterior_predictive", "posterior", "derived"):
        data = turned[group].to_dataset()
        turned[group] = xr.DataTree(data.transpose(*reversed(list(data.sizes))))
    found = band_fluxes(turned)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, right)


def test_flat_names(tree: xr.DataTree) -> None:
    names = scalar_names(tree)
    assert "logsfr_ratios_1" in names
    assert "logsfr_ratios" not in names
    assert "sfh" not in names
    ratio = tree["posterior"]["logsfr_ratios"].values[..., 2]
    np.testing.assert_array_equal(draws(tree, "logsfr_ratios_3", 4), ratio[:, :, 4].ravel())
    assert draws(tree, "logmass").shape == (4 * 60, 24)
    assert truth(tree, "mwa") is None


def test_galaxies_by_id_and_position(tree: xr.DataTree) -> None:
    assert galaxy_position(tree, "cosmos-1037") == 1
    assert galaxy_position(tree, -1) == 23


def test_quantiles_leave_out_what_is_not_finite() -> None:
    values = np.array([[1.0, np.nan], [2.0, np.nan], [np.inf, np.nan], [3.0, np.nan]])
    np.testing.assert_array_equal(quantiles(values, (0.5,)), [[2.0, np.nan]])


def test_recovery_counts(tree_maker: Callable[..., xr.DataTree]) -> None:
    tree = tree_maker(20, 6, n_draws=50, passed=1.0)
    true = tree["truth"]["logmass"]
    spread = xr.DataArray(np.linspace(-1, 1, 50), dims="draw")
    shift = xr.DataArray(np.where(np.arange(20) < 5, 2.0, 0.1), dims="galaxy")
    tree["posterior"]["logmass"] = (true + shift + spread).expand_dims(chain=4)
    result = recovery(tree, "logmass")
    assert (result.n, result.covered) == (20, 15)
    assert result.bias == pytest.approx(0.1, abs=0.02)
    assert result.coverage == 0.75
    assert result.calibrated


def test_agreement_names_outliers(tree_maker: Callable[..., xr.DataTree]) -> None:
    tree = tree_maker(40, 6, n_draws=50, passed=1.0)
    middle = tree["derived"]["log_stellar_mass"].median(("chain", "draw")).values
    other = middle - 0.2 + 0.05 * np.random.default_rng(2).normal(size=40)
    other[7] += 2.0
    other[8] = np.nan
    result = agreement(tree, Comparison("log_stellar_mass", other, "elsewhere"))
    assert result.n == 39
    assert result.offset == pytest.approx(0.2, abs=0.03)
    assert result.scatter == pytest.approx(0.05, abs=0.025)
    assert result.outliers == (str(tree["observed_data"]["galaxy"].values[7]),)


@pytest.mark.parametrize(("stretch", "calibrated"), [(1.0, True), (0.6, False)])
def test_ranks_of_all_parameters_together_see_what_single_ones_do_not(
    stretch: float, calibrated: bool
) -> None:
    """Of two correlated parameters posteriors have the right margins and, with ``stretch``, the wrong correlation."""
    rng = np.random.default_rng(2)
    n, n_draws = 400, 200
    width, mixed = np.sqrt(0.5), 0.95
    right = np.linalg.cholesky([[1.0, mixed], [mixed, 1.0]])
    wrong = np.linalg.cholesky([[1.0, stretch * mixed], [stretch * mixed, 1.0]])
    centre = rng.normal(size=(n, 2))
    true = centre + width * rng.normal(size=(n, 2)) @ right.T
    values = centre[:, None] + width * rng.normal(size=(n, n_draws, 2)) @ wrong.T
    galaxy = {"galaxy": [str(i) for i in range(n)]}
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(
                {
                    name: (("chain", "draw", "galaxy"), values[:, :, i].T[None])
                    for i, name in enumerate(("a", "b"))
                },
                galaxy,
            ),
            "truth": xr.Dataset({name: ("galaxy", true[:, i]) for i, name in enumerate(("a", "b"))}, galaxy),
        }
    )
    shares = joint_rank(tree, ("a", "b"))
    assert (stats.kstest(shares, "uniform").pvalue > 0.01) == calibrated
    for name in ("a", "b"):
        single = (draws(tree, name) < truth(tree, name)).mean(axis=0)
        assert stats.kstest(single, "uniform").pvalue > 0.01


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_the_factor_on_errors_that_are_wrong_by_it_is_found(factor: float) -> None:
    """Beside a floor, which is right."""
    rng = np.random.default_rng(4)
    quoted, floor = rng.uniform(0.5, 2.0, 20_000), rng.uniform(0.1, 1.0, 20_000)
    total = np.hypot(quoted, floor)
    residual = rng.normal(size=20_000) * np.hypot(factor * quoted, floor) / total
    assert error_scale(residual**2, (quoted / total) ** 2) == pytest.approx(factor, rel=0.03)


def test_no_factor_on_errors_mends_a_floor_that_is_wrong() -> None:
    share = np.full(100, 1e-6)  # of the variance, that the observed errors make
    assert np.isnan(error_scale(np.full(100, 4.0), share))
    assert np.isnan(error_scale(np.zeros(0), np.zeros(0)))
