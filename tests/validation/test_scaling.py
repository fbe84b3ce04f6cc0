"""Power laws with their uncertainty, and the front."""

import numpy as np
import pytest

from starling.validation.scaling import PowerLaw, choose, fit_power_law, front

WIDTHS = (32, 64, 128, 256, 512)


@pytest.mark.parametrize("exponent", [-1.0, 0.3, 2.0])
def test_an_exact_power_law_is_recovered(exponent: float) -> None:
    law = fit_power_law(WIDTHS, [3.0 * n**exponent for n in WIDTHS])
    assert law is not None
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.amplitude == pytest.approx(3.0)
    assert law.exponent_error == pytest.approx(0.0, abs=1e-9)
    assert (law.low, law.high, law.n) == (32, 512, 5)
    np.testing.assert_allclose(law(np.array([100.0])), 3.0 * 100.0**exponent)


def test_the_uncertainty_is_that_of_repeated_measurements() -> None:
    rng = np.random.default_rng(0)
    noise = np.exp(0.1 * rng.normal(size=(2000, len(WIDTHS))))
    laws = [fit_power_law(WIDTHS, (row / WIDTHS).tolist()) for row in noise]
    exponents = np.array([law.exponent for law in laws if law])
    errors = np.array([law.exponent_error for law in laws if law], float)
    # 2000 fits with 3 degrees of freedom each: the mean of the squared errors is known to sqrt(2 / 6000), the variance
    # of the exponents to sqrt(2 / 2000), their ratio to 3.7%
    assert np.mean(exponents) == pytest.approx(-1.0, abs=4 * exponents.std() / np.sqrt(2000))
    assert np.mean(errors**2) == pytest.approx(np.var(exponents), rel=4 * 0.037)


def test_only_the_range_counts_and_two_points_have_no_uncertainty() -> None:
    y = [1.0, 1.0, 1.0, 4.0, 16.0]
    law = fit_power_law(WIDTHS, y, low=128)
    assert law is not None
    assert (law.exponent, law.n) == (pytest.approx(2.0), 3)
    two = fit_power_law(WIDTHS, y, low=200)
    assert two is not None
    assert two.exponent_error is None
    assert str(two) == "N^(2.00), 256 ≤ N ≤ 512"
    assert str(PowerLaw(1.0, -1.0, 0.05, 32, 256, 4)) == "N^(-1.00 ± 0.05), 32 ≤ N ≤ 256"
    assert fit_power_law(WIDTHS, y, low=300) is None
    assert fit_power_law([64, 64], [1.0, 2.0]) is None
    with pytest.raises(ValueError, match="above 0"):
        fit_power_law([1, 2], [1.0, 0.0])


def test_the_front_has_what_nothing_beats() -> None:
    cost = [5.0, 1.0, 3.0, 3.0, 6.0, 2.0]
    error = [1.0, 9.0, 4.0, 4.0, 1.0, 9.0]
    # 4 costs more than 0 and is as good; 5 costs more than 1 and is as good; 2 and 3 are equal
    assert front(cost, error) == [1, 2, 3, 0]
    assert front([1.0], [1.0]) == [0]


def test_the_choice_is_the_cheapest_that_is_good_enough() -> None:
    cost, error = [1.0, 2.0, 3.0, 4.0], [9.0, 5.0, 5.0, 1.0]
    assert choose(cost, error, 5.0) == 1
    assert choose(cost, error, 4.9) == 3
    assert choose(cost, error, 0.5) == 3
    assert choose([2.0, 1.0], [1.0, 1.0], 0.5) == 1
