"""Errors of the gradients of spectra, against models whose gradients are known."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from starling.parameters import Parameter, ParameterSpace
from starling.priors import Uniform
from starling.validation.spectrum_gradients import (
    spectrum_gradient_errors,
    spectrum_gradient_rows,
    spectrum_gradient_table,
    spectrum_gradient_verdict,
)

WAVE = np.geomspace(3000.0, 9000.0, 60)
SPACE = ParameterSpace(
    "slopes",
    (
        Parameter("logmass", Uniform(6.0, 12.0)),
        Parameter("colour", Uniform(-1.0, 1.0)),
        Parameter("depth", Uniform(0.0, 1.0)),
    ),
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PowerLaw:
    """L = (wave / 5000 A)**(stretch * colour) * exp(-depth * wave / 5000 A)."""

    stretch: Float[Array, ""]
    wave_aa: Float[Array, " pixel"]
    space: ParameterSpace = field(metadata={"static": True})

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " pixel"]:
        x, (_, colour, depth) = self.wave_aa / 5000.0, theta
        return x ** (self.stretch * colour) * jnp.exp(-depth * x)


def model(stretch: float, wave: np.ndarray = WAVE) -> PowerLaw:
    return PowerLaw(jnp.asarray(stretch), jnp.asarray(wave, jnp.float32), SPACE)


def test_a_model_agrees_with_itself() -> None:
    found = spectrum_gradient_errors(model(1.0), model(1.0), 16, 0)
    assert found["parameters"] == ["colour", "depth"]  # spectra per Msun do not depend on the mass
    assert found["rms_error"] == [0.0, 0.0]
    assert found["likelihood"]["cosine"] == [1.0] * 5


def test_a_slope_that_is_too_steep_is_seen_where_it_is() -> None:
    found = spectrum_gradient_errors(model(1.1), model(1.0), 64, 0)
    colour, depth = np.asarray(found["rms_error"]) / np.asarray(found["rms_exact"])
    assert np.isclose(colour, 0.1, rtol=1e-3)
    assert depth < 1e-3
    # d ln L / d colour = 0.1 ln(wave / 5000 A), largest at the blue or red end
    assert np.isclose(found["worst_aa"][0], WAVE[np.abs(np.log(WAVE / 5000.0)).argmax()], rtol=1e-3)
    # precisions go with the square of the derivative
    assert found["likelihood"]["highest"][2] > 0.1
    assert "at S/N 10 per pixel" in spectrum_gradient_verdict(found)
    assert spectrum_gradient_rows(found)[0][3] == "10.0%"
    assert spectrum_gradient_table(found).row_count == 2


def test_models_of_other_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="compare like with like"):
        spectrum_gradient_errors(model(1.0, WAVE[:-1]), model(1.0), 4, 0)
