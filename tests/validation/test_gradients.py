"""Errors of gradients, measured on made-up models whose gradients are known."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from starling.parameters import Parameter, ParameterSpace
from starling.priors import TruncatedNormal, Uniform
from starling.validation.derivatives import rest_fluxes, rounded
from starling.validation.gradients import gradient_errors, gradient_rows, gradient_verdict

SPACE = ParameterSpace(
    "toy",
    (
        Parameter("logmass", Uniform(8.0, 11.0)),
        Parameter("dust2", TruncatedNormal(0.3, 1.0, 0.0, 4.0)),
        Parameter("zred", Uniform(0.5, 3.0)),
    ),
)
BANDS = ("blue", "green", "red")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Toy:
    """Magnitudes linear in dust and redshift, with a ripple in redshift much shorter than the step of the slope."""

    reddening: Array
    ripple: Array
    brightness: Array
    space: ParameterSpace = field(default=SPACE, metadata={"static": True})
    bands: tuple[str, ...] = field(default=BANDS, metadata={"static": True})

    def rest_flux(self, theta: Array) -> Array:
        ripple = 1e-4 * self.ripple * jnp.sin(2.0 * jnp.pi * theta[2] / 0.001)
        return self.brightness * 10.0 ** (-0.4 * (2.0 * theta[1] * self.reddening + 0.5 * theta[2] + ripple))


def toy(reddening: tuple[float, ...] = (1.0, 0.6, 0.3), ripple: float = 0.0, brightness: float = 1.0) -> Toy:
    return Toy(jnp.asarray(reddening), jnp.asarray(ripple), jnp.asarray(brightness))


def test_a_model_has_the_gradient_of_itself() -> None:
    errors = gradient_errors(toy(), toy(), 1e-8, 40, seed=1)
    assert errors["n"] == 40
    assert errors["n_failed"] == 0
    np.testing.assert_array_equal(errors["rms_error"], 0.0)
    assert np.max(errors["rms_exact"]) > 0.3
    for felt in errors["likelihood"].values():
        assert felt["cosine"] == [1.0] * 5
        assert felt["relative"] == felt["preconditioned"] == [0.0] * 5
        np.testing.assert_allclose([felt["lowest"], felt["highest"]], 0.0, atol=1e-9)
        np.testing.assert_array_equal(felt["eigenvalues"], 0.0)
    assert len(errors["likelihood"]["free"]["eigenvalues"]) == 3
    assert len(errors["likelihood"]["fixed"]["eigenvalues"]) == 2


def test_a_wrong_slope_is_the_error() -> None:
    """The red band reddens 10% too fast: 10% of its derivative, in that band and that parameter alone."""
    exact = toy()
    errors = gradient_errors(toy((1.0, 0.6, 0.33)), exact, 1e-8, 60, seed=2)
    ratio = np.divide(errors["rms_error"], np.maximum(errors["rms_exact"], 1e-9))
    np.testing.assert_allclose(ratio, [[0, 0, 0], [0, 0, 0.1], [0, 0, 0]], atol=1e-3)
    rows = {row.parameter: row for row in gradient_rows(errors)}
    assert list(rows) == ["logmass", "dust2", "zred", "zred, slope"]
    # root mean square over bands of slopes that go as 1, 0.6 and 0.3
    assert rows["dust2"].relative == pytest.approx(0.03 / np.sqrt(1.0 + 0.36 + 0.09), rel=1e-2)
    assert rows["dust2"].worst.startswith("red ")
    for felt in errors["likelihood"].values():
        assert 0.0 < felt["relative"][2] < 1.0
        assert felt["lowest"][2] < -1e-3
        assert felt["highest"][2] > 1e-3


def test_the_curvature_of_fluxes_that_are_two_per_cent_too_bright() -> None:
    """No magnitude has a wrong slope, but the precision F + 1 is 1.02^2 F + 1."""
    errors = gradient_errors(toy(brightness=1.02), toy(), 1e-8, 60, seed=4)
    np.testing.assert_allclose(errors["rms_error"], 0.0, atol=1e-5)
    for felt in errors["likelihood"].values():
        # mass is known a hundred times better than its prior: F is all that counts; mass and redshift together are not
        assert felt["eigenvalues"][0] == pytest.approx(1.02**2 - 1.0, rel=1e-3)
        np.testing.assert_allclose(felt["highest"], 1.02**2 - 1.0, rtol=1e-2)
        assert all(-1e-6 < value < 1.02**2 - 1.0 + 1e-5 for value in felt["lowest"])


def test_a_rough_derivative_of_the_exact_model_is_told_apart() -> None:
    """An emulator without the exact model's ripple is off its derivative, not off its slope."""
    errors = gradient_errors(toy(), toy(ripple=1.0), 1e-8, 60, seed=3)
    redshift = SPACE.index("zred")
    rms = 1e-4 * 2.0 * np.pi / 0.001 / np.sqrt(2.0) / 0.5  # of the ripple's slope, in parts of the true one
    relative = np.divide(errors["rms_error"], np.maximum(errors["rms_exact"], 1e-9))[redshift]
    np.testing.assert_allclose(relative, rms / np.hypot(1.0, rms), rtol=0.25)
    np.testing.assert_allclose(errors["redshift"]["rms_error"], 0.0, atol=1e-3)
    np.testing.assert_allclose(errors["redshift"]["rms_rough"], errors["rms_error"][redshift], rtol=0.1)
    assert "is itself rough" in gradient_verdict(errors)


def test_derivatives_are_those_of_finite_differences() -> None:
    model, x = toy(), np.array([[0.3, -0.5, 1.0], [-1.0, 2.0, 0.1]])
    gradient = rest_fluxes(model, x).magnitude_gradient(1e-8)
    flux = jax.vmap(lambda x: model.rest_flux(SPACE.constrain(x)))
    step = 1e-2 * np.eye(3)
    for i in range(3):
        above, below = (np.asarray(flux(jnp.asarray(x + sign * step[i]))) for sign in (1, -1))
        np.testing.assert_allclose(gradient[..., i], -2.5 * np.log10(above / below) / 2e-2, atol=2e-3)


def test_other_bands_are_refused() -> None:
    other = Toy(jnp.ones(3), jnp.zeros(()), jnp.ones(()), bands=("u", "v", "w"))
    with pytest.raises(ValueError, match="not the same parameters and bands"):
        gradient_errors(other, toy(), 1e-8, 4, seed=0)


def test_four_digits_are_kept() -> None:
    assert rounded(np.array([[0.0, 1.23456e-7], [-98765.4, 1.0]])) == [[0.0, 1.235e-7], [-98770.0, 1.0]]
