"""Parameter spaces: the maps invert each other, also with parameters held fixed, and errors name the parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from starling.parameters import Parameter, ParameterSpace
from starling.priors import MassMetallicity, Uniform
from starling.spaces import prospector_alpha, prospector_alpha_14, training_space

SPACE = prospector_alpha()


def test_the_published_model() -> None:
    """REFERENCE: 18 parameters in this order (Mathews et al. 2023, table 1); two fewer without the torus."""
    assert SPACE.names == (
        "logmass",
        "logzsol",
        *(f"logsfr_ratios_{i}" for i in range(1, 7)),
        "dust2",
        "dust_index",
        "dust1_fraction",
        "log_fagn",
        "log_agn_tau",
        "gas_logz",
        "zred",
        "duste_qpah",
        "duste_umin",
        "log_duste_gamma",
    )
    assert len(prospector_alpha(agn=False)) == 16
    low, high = SPACE.bounds
    assert (low[0], high[0]) == (6.0, 12.5)
    assert np.isclose(high[SPACE.index("log_fagn")], np.log10(3.0))


@pytest.mark.parametrize("fixed", [{}, {"zred": 1.3}, {"zred": 0.7, "logmass": 10.0, "dust2": 0.2}])
def test_maps_invert_each_other(fixed: dict[str, float]) -> None:
    theta = SPACE.sample(jax.random.key(3), (64,))
    for name, value in fixed.items():
        theta = theta.at[:, SPACE.index(name)].set(value)
    whitened = jax.jit(jax.vmap(lambda t: SPACE.unconstrain(t, fixed)))(theta)
    assert whitened.shape == (64, 18 - len(fixed))
    back = jax.jit(jax.vmap(lambda x: SPACE.constrain(x, fixed)))(whitened)
    assert np.allclose(back, theta, rtol=1e-4, atol=2e-4)
    cube = jax.jit(jax.vmap(lambda t: SPACE.to_unit_cube(t, fixed)))(theta)
    assert np.allclose(
        jax.jit(jax.vmap(lambda u: SPACE.from_unit_cube(u, fixed)))(cube), theta, rtol=1e-4, atol=2e-4
    )


def test_whitened_coordinates_are_standard_normal_under_the_prior() -> None:
    theta = SPACE.sample(jax.random.key(5), (4000,))
    whitened = np.asarray(jax.jit(jax.vmap(SPACE.unconstrain))(theta), float)
    for column in whitened.T:
        assert stats.kstest(column, "norm").pvalue > 1e-4
    correlation = np.corrcoef(whitened.T) - np.eye(18)
    assert np.max(np.abs(correlation)) < 5.0 / np.sqrt(4000)


def test_log_prob_is_the_density_of_the_map() -> None:
    """Change of variables: log p(theta) = log N(x) - log |d theta / d x|."""
    with jax.enable_x64(True):
        theta = SPACE.sample(jax.random.key(11))
        x = SPACE.unconstrain(theta)
        _, log_volume = jnp.linalg.slogdet(jax.jit(jax.jacfwd(SPACE.constrain))(x))
        want = jnp.sum(jax.scipy.stats.norm.logpdf(x)) - log_volume
        assert float(SPACE.log_prob(theta)) == pytest.approx(float(want), abs=1e-3)
        assert float(SPACE.log_prob(theta.at[0].set(99.0))) == -np.inf
        partial = SPACE.log_prob(theta, fixed=("zred",))
        assert float(partial) == pytest.approx(float(SPACE.log_prob(theta)) + np.log(2.5), abs=1e-6)


def test_prior_of_metallicity_moves_with_mass() -> None:
    theta = SPACE.sample(jax.random.key(0), (8000,))
    logmass, logzsol = np.asarray(theta[:, 0]), np.asarray(theta[:, 1])
    assert np.median(logzsol[logmass > 11.5]) > np.median(logzsol[logmass < 9]) + 0.3


def test_whitening_is_finite_at_the_edges_of_the_support() -> None:
    low, high = SPACE.bounds
    for edge in (low, high):
        assert np.all(np.isfinite(SPACE.unconstrain(jnp.asarray(edge, jnp.float32))))
    far = SPACE.constrain(jnp.full(18, 9.0))
    assert np.all(np.isfinite(far))
    assert np.all(np.isfinite(jax.jit(jax.jacfwd(SPACE.constrain))(jnp.full(18, -6.0))))


def test_training_space_has_the_same_support_and_thicker_tails() -> None:
    wide = training_space(SPACE)
    assert np.array_equal(wide.bounds, SPACE.bounds)
    key = jax.random.key(2)
    i = SPACE.index("logsfr_ratios_3")
    narrow, thick = SPACE.sample(key, (4000,))[:, i], wide.sample(key, (4000,))[:, i]
    assert np.mean(np.abs(thick) > 2) > 5 * np.mean(np.abs(narrow) > 2)


def test_pack_and_errors() -> None:
    values = {name: 0.5 * (p.low + p.high) for name, p in zip(SPACE.names, SPACE.parameters, strict=True)}
    theta = SPACE.pack(values)
    assert SPACE.unpack(theta)["zred"] == pytest.approx(1.75)
    assert SPACE.pack(values | {"dust2": np.ones(5)}).shape == (5, 18)
    with pytest.raises(ValueError, match="also needs a value for dust2"):
        SPACE.pack({name: value for name, value in values.items() if name != "dust2"})
    with pytest.raises(ValueError, match="no parameter 'dust3'"):
        SPACE.pack(values | {"dust3": 1.0})
    with pytest.raises(ValueError, match="no parameter 'redshift'"):
        SPACE.constrain(jnp.zeros(17), {"redshift": 1.0})
    with pytest.raises(ValueError, match="expected 17 coordinates"):
        SPACE.constrain(jnp.zeros(18), {"zred": 1.0})
    with pytest.raises(ValueError, match="appears twice"):
        ParameterSpace("twice", (Parameter("a", Uniform(0, 1)), Parameter("a", Uniform(0, 1))))
    with pytest.raises(ValueError, match="earlier in the space"):
        ParameterSpace(
            "order", (Parameter("logzsol", MassMetallicity()), Parameter("logmass", Uniform(6, 12)))
        )


def test_json_round_trip_and_hash() -> None:
    assert ParameterSpace.from_dict(SPACE.to_dict()) == SPACE
    assert hash(prospector_alpha()) == hash(SPACE)
    changed = SPACE.with_priors(dust2=Uniform(0.0, 2.0))
    assert changed != SPACE
    assert changed.names == SPACE.names


def test_the_14_parameter_model_fixes_the_dust_emission() -> None:
    space = prospector_alpha_14()
    assert len(space) == 15  # and redshift, which the paper counts apart
    values = space.unpack(space.sample(jax.random.key(0), (3,)))
    assert values["duste_umin"] == 1.0
    assert values["log_duste_gamma"] == -2.0
    assert ParameterSpace.from_dict(space.to_dict()) == space
    assert training_space(space).constants == space.constants
    with pytest.raises(ValueError, match="appears twice"):
        ParameterSpace("twice", space.parameters, (("zred", 1.0),))
