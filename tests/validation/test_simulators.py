"""Statistics of two simulators: identical ones do not differ, what is put in is found, and nothing else."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from starling.components import SPECTRAL_PROPERTIES
from starling.photometry import POGSON
from starling.spaces import prospector_alpha
from starling.validation.simulators import (
    FLOOR,
    Fluxes,
    Pair,
    band_statistics,
    best_scale,
    chi2_cost,
    magnitudes,
    neighbours,
    quantities,
    rank_correlations,
    shape_ratio,
    strongest,
    tolerance_mag,
)
from starling.validation.simulators_config import draw_galaxies
from starling.validation.simulators_report import (
    band_table,
    colour_table,
    find,
    galaxy_table,
    sentences,
    summary,
)
from starling.validation.simulators_run import good_rows, run_simulator

SPACE = prospector_alpha(agn=False, zred=(0.5, 3.0))
BANDS = ("sdss_r0", "sdss_u0", "twomass_J", "spitzer_irac_ch1")
WAVE_UM = np.array([0.616, 0.355, 1.235, 3.53])
N = 300
THETA = draw_galaxies(SPACE, N, 0, {})
FLUX = 1e-10 * np.exp(np.random.default_rng(1).normal(size=(N, 4)))
PROPERTIES = np.random.default_rng(2).normal(size=(N, 4))


def pair(factor: Any = 1.0, properties: Any = 0.0, theta: np.ndarray = THETA) -> Pair:
    first, second = Fluxes(FLUX, PROPERTIES), Fluxes(FLUX * factor, PROPERTIES + properties)
    return Pair(("one", "other"), SPACE, BANDS, WAVE_UM, theta, first, second)


def test_a_simulator_does_not_differ_from_itself() -> None:
    found = find(pair())
    for these in (found.raw, found.shape, found.colours):
        np.testing.assert_allclose(these.quantiles, 0.0, atol=1e-12)
        np.testing.assert_array_equal(these.beyond, 0.0)
    np.testing.assert_allclose(found.chi2, 0.0, atol=1e-20)
    np.testing.assert_allclose(found.mass_dex, 0.0, atol=1e-12)
    assert [trend.name for trend in (*found.trends, *found.colour_trends)] == [""] * 9
    said = summary(pair(), found)
    assert (said["bands_with_median_beyond"], said["fluxes_beyond"], said["galaxies_above_1"]) == (
        0,
        0.0,
        0.0,
    )


def test_a_common_factor_is_mass_and_no_difference_of_shape() -> None:
    found = find(pair(0.8))
    np.testing.assert_allclose(found.raw.median, -2.5 * np.log10(0.8))
    np.testing.assert_array_equal(found.raw.beyond, 1.0)
    np.testing.assert_allclose(found.shape.quantiles, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.mass_dex, -np.log10(0.8))
    np.testing.assert_allclose(found.chi2, 0.0, atol=1e-18)
    np.testing.assert_allclose(found.chi2_fixed_mass, 16.0 * pair().seen.sum(axis=1))
    np.testing.assert_allclose(found.colours.quantiles[:, 2:], 0.0, atol=1e-12)


def test_one_band_that_is_off_shows_in_it_and_in_its_colours() -> None:
    factor = np.array([1.0, 1.0, 1.1, 1.0])
    found = find(pair(factor))
    np.testing.assert_allclose(found.raw.median, -POGSON * np.log(factor), atol=1e-12)
    np.testing.assert_array_equal(found.raw.beyond, [0.0, 0.0, 1.0, 0.0])
    assert found.colours.names[2:] == (
        "sdss_u0 - sdss_r0",
        "sdss_r0 - twomass_J",
        "twomass_J - spitzer_irac_ch1",
    )
    off = POGSON * np.log(1.1)
    np.testing.assert_allclose(found.colours.median[2:], [0.0, off, -off], atol=1e-12)
    assert neighbours(pair()) == [tuple(name.split(" - ")) for name in found.colours.names[2:]]


def test_rest_frame_colours_and_surviving_mass_are_compared() -> None:
    change = np.zeros(4)
    for name, value in (("u_minus_v", 0.3), ("v_minus_j", -0.1), ("log_mass_fraction", 0.05)):
        change[SPECTRAL_PROPERTIES.index(name)] = value
    found = find(pair(1.0, change))
    np.testing.assert_allclose(found.colours.median[:2], [0.3, -0.1])
    np.testing.assert_allclose(found.surviving_dex, 0.05)


def test_the_best_mass_minimises_chi2() -> None:
    ratio = np.exp(np.random.default_rng(3).normal(0.1, 0.2, (5, 7)))
    for row, scale, cost in zip(ratio, best_scale(ratio), chi2_cost(ratio), strict=True):
        fitted = minimize_scalar(lambda a, row=row: np.sum(((a * row - 1.0) / FLOOR) ** 2), bounds=(0.1, 3.0))
        assert scale == pytest.approx(fitted.x, rel=1e-4)
        assert cost == pytest.approx(fitted.fun, rel=1e-6)
    assert np.all(chi2_cost(ratio) <= chi2_cost(ratio, free_mass=False))


def test_what_a_difference_follows_is_named() -> None:
    metals = THETA[:, SPACE.index("logzsol")]
    factor = np.ones((N, 4))
    factor[:, 2] = np.exp(0.1 * metals)
    these = pair(factor)
    found = find(these)
    assert found.trends[BANDS.index("twomass_J")].name == "logzsol"
    # the best mass takes up a little more of it where a galaxy shows in fewer bands
    assert found.trends[BANDS.index("twomass_J")].correlation == pytest.approx(-1.0, abs=0.01)
    assert found.cost_trends[0][0] == "logzsol"
    assert "logzsol (" in " ".join(sentences(summary(these, found)))


def test_chance_is_no_trend() -> None:
    values = quantities(pair())
    assert {"log_mwa", "log_ssfr_100", "logzsol", "dust2", "zred"} <= values.keys()
    assert not {"logmass", "logsfr_ratios_1"} & values.keys()
    noise = np.random.default_rng(4).normal(size=(N, 6))
    correlations = rank_correlations(values, noise)
    named = [trend.name for trend in strongest(tuple(values), correlations, np.full(6, N))]
    assert sum(bool(name) for name in named) <= 1  # 66 tries at 3 sigma


def test_bands_blueward_of_lyman_alpha_and_dark_ones_do_not_count() -> None:
    theta = THETA.copy()
    theta[:, SPACE.index("zred")] = np.where(np.arange(N) < 100, 2.5, 1.0)
    flux = FLUX.copy()
    flux[150:160, 0] = 0.0
    these = pair(1.2, theta=theta)._replace(first=Fluxes(flux, PROPERTIES))
    assert list(band_statistics(these).n) == [N - 10, N - 100, N, N]
    assert np.isnan(shape_ratio(these.ratio)[:100, 1]).all()
    np.testing.assert_array_equal(find(these).degrees[[0, 120, 155]], [2, 3, 2])


def test_a_band_that_no_galaxy_shows_in_is_empty() -> None:
    theta = THETA.copy()
    theta[:, SPACE.index("zred")] = 2.9
    these = pair(np.array([1.0, 5.0, 1.2, 1.0]), theta=theta)
    found = find(these)
    assert found.raw.n[1] == 0
    assert np.isnan(found.raw.quantiles[:, 1]).all()
    assert found.trends[1].name == ""
    assert "zred" not in found.quantities  # it does not vary
    assert len(sentences(summary(these, found))) == 7


def test_tables_have_a_row_for_every_band_colour_and_galaxy() -> None:
    these = pair(np.array([1.0, 1.0, 1.1, 1.0]))
    found = find(these, [("sdss_u0", "twomass_J")])
    bands, colours, galaxies = band_table(these, found), colour_table(found), galaxy_table(these, found)
    assert list(bands["band"]) == list(BANDS)
    assert list(colours["colour"])[-1] == "sdss_u0 - twomass_J"
    assert len(galaxies) == N
    np.testing.assert_allclose(galaxies["dmag_twomass_J"], -POGSON * np.log(1.1), rtol=1e-6)
    np.testing.assert_allclose(bands["median_mag"], magnitudes(np.array([1.0, 1.0, 1.1, 1.0])), atol=1e-12)


def test_the_tolerance_is_the_error_that_a_floor_gives_a_magnitude() -> None:
    assert tolerance_mag(0.05) == pytest.approx(0.0543, abs=1e-4)
    assert tolerance_mag(0.05, 2) == pytest.approx(0.0768, abs=1e-4)


def test_galaxies_given_a_parameter_follow_the_prior_of_the_others() -> None:
    poor, rich, again, other = (
        draw_galaxies(SPACE, 2000, seed, {"logmass": mass, "zred": 1.0})
        for seed, mass in ((0, 8.0), (0, 11.5), (0, 8.0), (1, 8.0))
    )
    np.testing.assert_array_equal(poor[:, SPACE.index("zred")], 1.0)
    metals = [drawn[:, SPACE.index("logzsol")].mean() for drawn in (poor, rich)]
    assert metals[0] < metals[1] - 0.3  # massive galaxies are rich in metals
    np.testing.assert_array_equal(poor, again)
    assert not np.array_equal(poor, other)


def simulate(theta: np.ndarray) -> dict[str, np.ndarray]:
    flux = np.repeat(theta[:, :1], 3, axis=1)
    reason = np.where(theta[:, 0] == 7.0, "no light", "")
    flux[theta[:, 0] == 11.0] = np.nan
    return {"rest_flux": flux, "properties": np.zeros((len(theta), 4)), "failure": reason}


@pytest.mark.parametrize("n", [5, 512, 513, 1200])
def test_galaxies_come_back_in_order_whatever_their_number(n: int) -> None:
    theta, seen = np.arange(n, dtype=np.float32)[:, None], list[int]()
    run = run_simulator(simulate, theta, seen.append)
    good = ~np.isin(theta[:, 0], (7.0, 11.0))
    np.testing.assert_array_equal(run.fluxes.flux[good, 0], theta[good, 0])
    assert seen[-1] == n
    assert len(run.fluxes.flux) == len(run.fluxes.properties) == n


def test_galaxies_that_fail_are_left_out_with_their_reason() -> None:
    run = run_simulator(simulate, np.arange(20, dtype=np.float32)[:, None])
    assert run.failed == {7: "no light", 11: "a flux is not finite"}
    whole = run._replace(failed={})
    assert list(np.flatnonzero(~good_rows(("a", "b"), (whole, run)))) == [7, 11]
    with pytest.raises(ValueError, match="no galaxy could be computed by both; b: no light"):
        good_rows(("a", "b"), (whole, run._replace(failed=dict.fromkeys(range(20), "no light"))))


def test_one_galaxy_is_compared_but_follows_nothing() -> None:
    these = pair(np.array([1.0, 1.0, 1.1, 1.0]), theta=THETA[:1])
    these = these._replace(
        first=Fluxes(FLUX[:1], PROPERTIES[:1]), second=Fluxes(these.second.flux[:1], PROPERTIES[:1])
    )
    found = find(these)
    assert found.quantities == ()
    assert {trend.name for trend in found.trends} == {""}
    assert len(sentences(summary(these, found))) == 6
    assert len(galaxy_table(these, found)) == 1
