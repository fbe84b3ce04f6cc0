"""Layers of a network that see only some of its inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from starling.emulators.config import NetworkConfig
from starling.emulators.features import FeatureRecipe, fit_features, raw_features
from starling.emulators.networks import Architecture, Aside, Network, network_from_weights, weights_of
from starling.spaces import prospector_alpha

SPACE = prospector_alpha(agn=False)
SHAPE = Architecture(4, 3, width=8, depth=2, inputs_to_head=True, aside=Aside((1, 3), 6, 2))


def test_they_see_their_inputs_only() -> None:
    network = Network(SHAPE, rngs=nnx.Rngs(0))
    x = jnp.arange(4.0)
    assert network(x).shape == (3,)
    assert network.trunk(x).shape == (8 + 4 + 6,)
    slopes = np.asarray(jax.jacfwd(network.trunk)(x))[-6:]
    assert np.all(slopes[:, [0, 2]] == 0.0)
    assert np.all(np.any(slopes[:, [1, 3]] != 0.0, axis=0))


def test_they_are_in_files_and_headers() -> None:
    network = Network(SHAPE, rngs=nnx.Rngs(0))
    shape = Architecture.from_dict(SHAPE.to_dict())
    assert shape == SHAPE
    again = network_from_weights(shape, weights_of(network))
    np.testing.assert_array_equal(again(jnp.ones(4)), network(jnp.ones(4)))
    # headers from before they were there
    assert Architecture.from_dict({"n_inputs": 4, "n_outputs": 3}) == Architecture(4, 3)
    assert "aside" not in Architecture(4, 3).to_dict()


def test_inputs_are_found_by_the_parameters_that_they_are_made_of() -> None:
    recipe = FeatureRecipe(
        transforms=(("dust2", "identity"), ("dust2", "log_shifted"), ("zred", "log1p")),
        products=(("dust2", "dust_index"), ("logzsol", "zred")),
        knots=(("logzsol", -0.7), ("dust2", 1.0)),
        log_bin_masses=True,
        redshift_harmonics=2,
    )
    wanted = ("logzsol", "zred")
    columns = recipe.columns_of(SPACE, wanted)
    middle = SPACE.from_unit_cube(jnp.full(len(SPACE), 0.95))  # beyond the knots
    slopes = np.asarray(jax.jacfwd(lambda t: raw_features(recipe, SPACE, t))(middle))
    others = [i for i, name in enumerate(SPACE.names) if name not in wanted]
    alone = np.all(slopes[:, others] == 0.0, axis=1)
    assert columns == tuple(np.flatnonzero(alone))
    assert len(columns) == 2 + 1 + 1 + 2


def test_a_configuration_names_parameters() -> None:
    theta = SPACE.sample(jax.random.key(0), (50,))
    content = {"features": {"parameters": ["dust2", "zred"]}, "aside": {"parameters": ["zred"], "width": 5}}
    config = NetworkConfig.model_validate(content)
    shape = config.shape(fit_features(config.features.build(), SPACE, theta), 7)
    assert shape.aside == Aside((1,), 5, 3)
    content["aside"] = {"parameters": ["logzsol"]}
    config = NetworkConfig.model_validate(content)
    with pytest.raises(ValueError, match="depends on logzsol alone"):
        config.shape(fit_features(config.features.build(), SPACE, theta), 7)
