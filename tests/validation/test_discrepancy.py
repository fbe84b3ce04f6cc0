"""The discrepancy of draws whose discrepancy is known."""

import numpy as np

from starling.validation.discrepancy import centre, discrepancy, sampling_noise, summarise_discrepancy


def test_a_shift_gives_the_known_number() -> None:
    rng = np.random.default_rng(1)
    a, b = 3.0 + 2.0 * rng.normal(size=(40_000, 1)), 9.0 + 1.5 * rng.normal(size=(40_000, 1))
    found = discrepancy(centre(a), centre(b))
    # 4 sigma of the medians and of the widths of so many draws
    np.testing.assert_allclose(found, 6.0 / 2.5, atol=0.05)
    np.testing.assert_array_equal(found, discrepancy(centre(b), centre(a)))


def test_draws_of_one_posterior_differ_as_the_sampling_noise_says() -> None:
    rng = np.random.default_rng(2)
    n, n_galaxies = 400, 3000
    a, b = (centre(rng.normal(size=(n, n_galaxies))) for _ in range(2))
    found = discrepancy(a, b)
    noise = sampling_noise(a, b, np.full(n_galaxies, float(n)), np.full(n_galaxies, float(n)))
    np.testing.assert_allclose(noise, np.sqrt(np.pi / 2 / n), rtol=0.2)
    np.testing.assert_allclose(np.median(found), 0.6745 * np.median(noise), rtol=0.08)
    assert found.max() < 0.4


def test_what_is_not_finite_is_left_out() -> None:
    draws = np.ones((10, 3))
    draws[:, 0] = np.linspace(0.0, 1.0, 10)
    draws[2, 1] = np.nan
    middle = centre(draws)
    np.testing.assert_allclose(middle.median[0], 0.5)
    assert np.isnan(middle.median[1])
    found = discrepancy(middle, middle)
    assert found[0] == 0.0
    assert np.isnan(found[1:]).all()
    summary = summarise_discrepancy(np.array([*found, 4.0, 2.0]))
    assert (summary.n, summary.median, summary.largest, summary.outliers) == (3, 2.0, 4.0, 1)
    empty = summarise_discrepancy(np.array([np.nan]))
    assert empty.n == 0
    assert np.isnan(empty.median)
