"""The parts of nested sampling: the unit cube of a NumPyro model, slices, weights, files."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

from starling.inference import galaxy_model, take
from starling.inference.likelihood import log_likelihood_at
from starling.inference.nested import Record, load_record, save_record
from starling.inference.nested.cube import cube_density
from starling.inference.nested.result import chains_of, effective_sizes, systematic
from starling.inference.nested.slices import slice_chain, walls
from starling.inference.noise import prepare_noise


def test_the_cube_is_that_of_the_space_and_the_likelihood_that_of_the_chains(linear_model, linear_data):
    one = take(linear_data, 0)
    density = cube_density(galaxy_model, one, linear_model, error_floor=0.1)
    assert density.size == 3
    assert density.latent == ("x",)
    noise = prepare_noise(one, linear_model, 0.1)
    for u in np.random.default_rng(0).uniform(0.01, 0.99, (5, 3)):
        theta = linear_model.space.from_unit_cube(jnp.asarray(u, jnp.float32), one.fixed)
        sites = density.sites(jnp.asarray(u, jnp.float32))
        found = [sites[name] for name in linear_model.space.names]
        np.testing.assert_allclose(found, theta, rtol=1e-4, atol=1e-5)
        expected = log_likelihood_at(one, linear_model, theta, linear_model(theta), noise)
        np.testing.assert_allclose(density.log_likelihood(jnp.asarray(u, jnp.float32)), expected, rtol=1e-4)


def test_sites_follow_their_priors_in_order():
    def model():
        width = numpyro.sample("width", dist.Uniform(1.0, 3.0))
        with numpyro.plate("bands", 2):
            numpyro.sample("shift", dist.Normal(5.0, width))
        with numpyro.handlers.scale(scale=2.0):
            numpyro.sample("seen", dist.Normal(width, 1.0), obs=jnp.asarray(2.0))

    density = cube_density(model)
    assert density.size == 3
    sites = density.sites(jnp.asarray([0.5, 0.5, 0.8413447]))
    np.testing.assert_allclose(sites["width"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(sites["shift"], [5.0, 7.0], rtol=1e-4)
    expected = 2.0 * stats.norm.logpdf(0.0)
    np.testing.assert_allclose(density.log_likelihood(jnp.asarray([0.5, 0.1, 0.9])), expected, rtol=1e-5)


def test_sites_without_quantiles_are_an_error():
    with pytest.raises(ValueError, match="no latent site"):
        cube_density(lambda: numpyro.sample("seen", dist.Normal(), obs=0.0))
    with pytest.raises(ValueError, match="'kind' is discrete"):
        cube_density(lambda: numpyro.sample("kind", dist.Bernoulli(0.5)))
    with pytest.raises(ValueError, match="'pair': MultivariateNormal has no quantile"):
        cube_density(lambda: numpyro.sample("pair", dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2))))


def test_a_likelihood_that_is_no_number_is_none():
    def model():
        x = numpyro.sample("x", dist.Uniform(-1.0, 1.0))
        numpyro.factor("log", jnp.log(x))

    density = cube_density(model)
    assert density.log_likelihood(jnp.asarray([0.2])) == -jnp.inf
    np.testing.assert_allclose(density.log_likelihood(jnp.asarray([0.75])), np.log(0.5), rtol=1e-5)


def test_walls_of_the_cube():
    low, high = walls(jnp.asarray([0.5, 0.25, 0.5]), jnp.asarray([1.0, -1.0, 0.0]))
    np.testing.assert_allclose([low, high], [-0.5, 0.25], atol=1e-6)


def test_slices_fill_a_contour_evenly():
    """A disc that a wall of the cube cuts: points are uniform in it, wherever they start."""

    def log_likelihood(u):
        return -jnp.sum((u - jnp.asarray([0.5, 0.1])) ** 2)

    n, radius = 4000, 0.25
    start = jnp.asarray([0.5, 0.3])
    chain = jax.jit(
        jax.vmap(
            lambda key: slice_chain(
                log_likelihood, key, start, 0.1 * jnp.eye(2), jnp.asarray(-(radius**2)), 12
            )
        )
    )
    moved = chain(jax.random.split(jax.random.key(1), n))
    u = np.asarray(moved.u, float)
    assert np.all((u > 0.0) & (u < 1.0))
    assert np.all(np.sum((u - [0.5, 0.1]) ** 2, axis=1) < radius**2)
    np.testing.assert_allclose(moved.log_likelihood, -np.sum((u - [0.5, 0.1]) ** 2, axis=1), atol=1e-6)
    assert moved.calls.min() >= 12
    np.testing.assert_array_less(0, moved.contractions)
    # the marginal of the first coordinate: chord lengths of the disc below and above its centre, cut at the wall
    grid = np.linspace(-radius, radius, 2001)
    chord = np.sqrt(radius**2 - grid**2) + np.minimum(np.sqrt(radius**2 - grid**2), 0.1)
    cdf = np.cumsum(chord) / chord.sum()
    found = stats.kstest(u[:, 0] - 0.5, lambda x: np.interp(x, grid, cdf))
    assert found.pvalue > 1e-3
    found = stats.kstest(u[u[:, 1] > 0.1, 0] - 0.5, stats.semicircular(scale=radius).cdf)
    assert found.pvalue > 1e-3


def test_a_start_outside_the_contour_stays_and_is_refused():
    moved = slice_chain(
        lambda u: -jnp.sum(u), jax.random.key(0), jnp.asarray([0.5, 0.5]), jnp.eye(2), jnp.asarray(1.0), 3
    )
    np.testing.assert_array_equal(moved.u, [0.5, 0.5])
    assert moved.log_likelihood == -jnp.inf


def make_record(rng, n=2000, dim=2):
    log_weight = np.log(rng.dirichlet(np.full(n, 0.5))).astype(np.float32)
    theta = rng.normal(size=(n, dim)).astype(np.float32)
    names = ("a", "b")
    return Record(
        names=names,
        free=names,
        theta=theta,
        remoteness=np.full(n, np.nan, np.float32),
        extra={"offset": rng.normal(size=(n, 3)).astype(np.float32)},
        log_weight=log_weight,
        log_likelihood=np.sort(rng.normal(size=n)).astype(np.float32),
        strand=rng.integers(0, 40, n).astype(np.int32),
        log_evidence=-3.5,
        log_evidence_err=0.1,
        information=2.0,
        n_calls=10,
        n_iterations=5,
        finished=True,
        cpu_s=1.0,
        wall_s=2.0,
    )


def test_systematic_draws_follow_the_weights():
    weight = np.array([0.5, 0.0, 0.3, 0.2])
    counts = np.bincount(systematic(np.random.default_rng(0), weight, 1000), minlength=4)
    np.testing.assert_allclose(counts, 1000 * weight, atol=1)


def test_chains_are_of_strands_of_their_own():
    record = make_record(np.random.default_rng(2))
    chosen = chains_of(record, 300, seed=1)
    assert chosen.shape == (4, 300)
    for chain, index in enumerate(chosen):
        assert set(record.strand[index] % 4) == {chain}


def test_effective_sizes_of_weights():
    rng = np.random.default_rng(4)
    record = make_record(rng, n=20_000)
    bulk, tail = effective_sizes(record.theta.astype(float), record.weight)
    # weights that know nothing of the values: Kish's number
    np.testing.assert_allclose(bulk, record.n_effective, rtol=0.1)
    np.testing.assert_allclose(tail, record.n_effective, rtol=0.3)
    same = np.full(500, 1 / 500)
    bulk, tail = effective_sizes(rng.normal(size=(500, 1)), same)
    np.testing.assert_allclose([bulk, tail], 500, rtol=1e-6)


def test_records_are_whole_or_not_there(tmp_path):
    record = make_record(np.random.default_rng(3))
    path = save_record(record, tmp_path / "galaxy.safetensors", {"galaxy": "x", "seed": 1})
    again = load_record(path, {"galaxy": "x", "seed": 1})
    assert again is not None
    for one, other in zip(record, again, strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
        elif isinstance(one, dict):
            np.testing.assert_array_equal(one["offset"], other["offset"])
        else:
            assert one == other
    assert load_record(path, {"galaxy": "y", "seed": 1}) is None
    assert load_record(tmp_path / "nowhere.safetensors") is None
    path.write_bytes(path.read_bytes()[:-100])
    assert load_record(path) is None
    assert [file.name for file in tmp_path.iterdir()] == ["galaxy.safetensors"]
