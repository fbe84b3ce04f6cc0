"""Inputs of networks: what a recipe asks for, standardised, there and back through JSON."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.cosmology import age_gyr
from starling.emulators.features import FeatureRecipe, fit_features, raw_features
from starling.spaces import prospector_alpha

SPACE = prospector_alpha()
RECIPE = FeatureRecipe(
    parameters=("dust2", "zred"),
    transforms=(("zred", "log_age"),),
    products=(("dust2", "dust_index"), ("dust2", "dust_index", "dust_index")),
    knots=(("gas_logz", 0.0),),
    log_bin_masses=False,
    log_knots=(("gas_logz", 0.4),),
)


def test_every_input_is_what_it_says() -> None:
    theta = SPACE.sample(jax.random.key(0))
    values = SPACE.unpack(theta)
    depth, index, metals = (values[name] for name in ("dust2", "dust_index", "gas_logz"))
    expected = [
        depth,
        jnp.log(age_gyr(values["zred"])),
        depth * index,
        depth * index**2,
        jnp.maximum(metals, 0.0),
        jnp.log(jnp.abs(metals - 0.4) + 3e-3),
    ]
    assert np.allclose(raw_features(RECIPE, SPACE, theta), jnp.stack(expected), rtol=1e-5)


def test_inputs_have_mean_0_and_deviation_1() -> None:
    theta = SPACE.sample(jax.random.key(1), (2000,))
    inputs = jax.vmap(fit_features(RECIPE, SPACE, theta))(theta)
    assert np.allclose(inputs.mean(axis=0), 0.0, atol=1e-3)
    assert np.allclose(inputs.std(axis=0), 1.0, atol=1e-3)


def test_a_recipe_survives_json() -> None:
    assert FeatureRecipe.from_dict(RECIPE.to_dict()) == RECIPE
    old = {key: value for key, value in RECIPE.to_dict().items() if key != "log_knots"}
    assert FeatureRecipe.from_dict(old).log_knots == ()  # files from before there were any


@pytest.mark.parametrize(
    "recipe",
    [
        FeatureRecipe(products=(("dust2", "nosuch", "dust2"),)),
        FeatureRecipe(log_knots=(("nosuch", 0.0),)),
    ],
)
def test_parameters_that_the_space_lacks_are_named(recipe: FeatureRecipe) -> None:
    with pytest.raises(ValueError, match="nosuch"):
        recipe.check(SPACE)
