"""Stitching over redshift: continuous, cheap where redshift is known, and what is wrong is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_emulators import SIX_DOMAINS, toy_emulator, toy_stitched

from starling.emulators import PhotometryEmulator, load_emulator, read_header, save_emulator
from starling.emulators.direct import DirectCore
from starling.emulators.mixture import MixtureCore
from starling.emulators.pipeline import Hooks, train_emulator
from starling.emulators.stitched import StitchedCore, blend_weights, check_domains
from starling.emulators.stitching import within
from starling.emulators.training import EpochReport
from starling.forward import parts_of
from starling.inference import Observation, SamplerSettings, fit, galaxy_model, observe, take
from starling.inference.density import flat_density
from tests.emulators.conftest import DESCRIPTION, NETWORKS, make_config
from tests.emulators.test_emulators_files import read_raw, write_raw

BANDS = ("sdss_i0", "twomass_Ks", "spitzer_irac_ch1")
KINDS = ("direct", "mixture")
DOMAINS = np.asarray(SIX_DOMAINS)
EDGES = sorted({*DOMAINS[1:, 0], *DOMAINS[:-1, 1]})  # where overlaps begin and end


@pytest.fixture(scope="module", params=KINDS)
def stitched(request: pytest.FixtureRequest) -> PhotometryEmulator:
    return toy_stitched(request.param, BANDS)


def core_of(emulator: PhotometryEmulator) -> StitchedCore:
    assert isinstance(emulator.core, StitchedCore)
    return emulator.core


def at_redshifts(emulator: PhotometryEmulator, zred: np.ndarray) -> jax.Array:
    """One galaxy at many redshifts."""
    theta = emulator.space.sample(jax.random.key(2))
    return jnp.tile(theta, (len(zred), 1)).at[:, emulator.space.index("zred")].set(jnp.asarray(zred))


def in_double(emulator: PhotometryEmulator) -> PhotometryEmulator:
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, emulator
    )


@jax.jit
def _fluxes(emulator: PhotometryEmulator, theta: jax.Array) -> jax.Array:
    return jax.vmap(emulator)(theta)


@jax.jit
def _log_slopes(emulator: PhotometryEmulator, theta: jax.Array) -> jax.Array:
    return jax.vmap(jax.jacrev(lambda t: jnp.log(emulator(t))))(theta)


def fluxes(emulator: PhotometryEmulator, theta: jax.Array) -> jax.Array:
    return _fluxes(emulator, filled_up(theta))[: len(theta)]


def log_slopes(emulator: PhotometryEmulator, theta: jax.Array) -> jax.Array:
    return _log_slopes(emulator, filled_up(theta))[: len(theta)]


def filled_up(theta: jax.Array, rows: int = 40) -> jax.Array:
    """Always as many galaxies, so that what is compiled for some serves all tests here."""
    return jnp.concatenate([theta, jnp.broadcast_to(theta[:1], (rows - len(theta), theta.shape[1]))])


def test_weights_are_those_of_the_paper() -> None:
    with jax.enable_x64(True):
        zred = np.linspace(0.0, 12.0, 4801)
        weights = np.asarray(blend_weights(jnp.asarray(DOMAINS), jnp.asarray(zred)))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    assert np.all(weights >= 0.0)
    assert (weights > 1e-12).sum(axis=1).max() == 2
    inside = (zred > 3.75) & (zred < 4.25)
    angle = np.pi / (2 * 0.5) * (zred[inside] - 4.0 + 0.25)
    np.testing.assert_allclose(weights[inside, 2], np.sin(angle) ** 2, atol=1e-12)
    np.testing.assert_allclose(weights[inside, 1], np.cos(angle) ** 2, atol=1e-12)
    for number, (low, high) in enumerate(DOMAINS):
        outside = (zred <= low) | (zred >= high)
        begins, ends = number == 0, number == 5
        kept = outside & ~(begins & (zred <= low)) & ~(ends & (zred >= high))
        np.testing.assert_allclose(weights[kept, number], 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ([(0.1, 2.0)], "two redshift domains or more"),
        ([(0.1, 2.0), (3.0, 2.5)], "3 to 2.5 does not ascend"),
        ([(0.1, 2.0), (2.0, 3.0)], "2 to 3 must begin inside 0.1 to 2"),
        ([(0.1, 2.0), (1.0, 1.5)], "must begin inside 0.1 to 2 and end beyond it"),
        ([(0.1, 2.0), (1.0, 3.0), (1.9, 4.0)], "three domains meet between 1.9 and 2"),
    ],
)
def test_domains_that_do_not_join(domains: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_domains(domains)


def test_each_member_counts_alone_outside_overlaps(stitched: PhotometryEmulator) -> None:
    core = core_of(stitched)
    for number, zred in enumerate([1.0, 3.0, 5.0, 7.0, 9.0, 11.0]):
        theta = at_redshifts(stitched, np.asarray([zred]))
        alone = replace(stitched, core=core.at((number,)))
        assert isinstance(alone.core, DirectCore | MixtureCore)
        np.testing.assert_allclose(fluxes(stitched, theta), fluxes(alone, theta), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_is_the_emulator_that_it_was_made_of(kind: str) -> None:
    first, stitched = toy_emulator(kind, BANDS, SIX_DOMAINS[0]), toy_stitched(kind, BANDS)
    theta = at_redshifts(stitched, np.asarray([0.3, 1.2, 1.74]))
    np.testing.assert_allclose(fluxes(stitched, theta), fluxes(first, theta), rtol=2e-5)
    properties = jax.jit(lambda model, theta: jax.vmap(model.properties)(theta))
    ours, theirs = properties(stitched, theta), properties(first, theta)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=2e-4, atol=1e-5, err_msg=name)


def test_flux_and_gradient_are_continuous(stitched: PhotometryEmulator) -> None:
    with jax.enable_x64(True):
        model = in_double(stitched)
        index = model.space.index("zred")

        step = 1e-9
        places = [at_redshifts(model, np.asarray(EDGES) + s).astype(jnp.float64) for s in (-step, 0.0, step)]
        sides = [(jnp.log(fluxes(model, t)), log_slopes(model, t)[..., index]) for t in places]
        for value, slope in sides:
            np.testing.assert_allclose(value, sides[1][0], atol=1e-6)
            np.testing.assert_allclose(slope, sides[1][1], atol=1e-5)
        # without the blending there would be steps to see
        core = core_of(model)
        for number in range(1, 6):
            theta = at_redshifts(model, DOMAINS[number : number + 1, 0]).astype(jnp.float64)
            below, above = (replace(model, core=core.at((n,))) for n in (number - 1, number))
            assert np.max(np.abs(np.log(fluxes(below, theta) / fluxes(above, theta)))) > 1e-2


def test_gradient_in_redshift_across_overlaps(stitched: PhotometryEmulator) -> None:
    with jax.enable_x64(True):
        model = in_double(stitched)
        index = model.space.index("zred")
        zred = np.concatenate([np.linspace(low - 0.05, low + 0.55, 7) + 0.0137 for low in DOMAINS[1:, 0]])
        theta = at_redshifts(model, zred).astype(jnp.float64)
        move = jnp.zeros(theta.shape[1]).at[index].set(1e-6)
        slope = log_slopes(model, theta)[..., index]
        difference = (jnp.log(fluxes(model, theta + move)) - jnp.log(fluxes(model, theta - move))) / 2e-6
        np.testing.assert_allclose(slope, difference, rtol=1e-4, atol=1e-4)


def test_gradient_at_the_ends_of_the_range(stitched: PhotometryEmulator) -> None:
    with jax.enable_x64(True):
        model = in_double(stitched)
        index = model.space.index("zred")
        theta = at_redshifts(model, np.asarray([0.001, 12.0])).astype(jnp.float64)
        step = jnp.zeros_like(theta).at[:, index].set(jnp.asarray([1e-6, -1e-6]))
        slope = log_slopes(model, theta)[..., index]
        # one-sided differences, into the range
        into = jnp.log(fluxes(model, theta + step) / fluxes(model, theta)) / step[:, index, None]
        np.testing.assert_allclose(slope, into, rtol=1e-3, atol=1e-3)


def operations(emulator: PhotometryEmulator, n: int = 64) -> float:
    """Floating-point operations of a batch, as XLA counts them."""
    leaves, structure = jax.tree.flatten(emulator)

    def compute(leaves: list[jax.Array], theta: jax.Array) -> jax.Array:
        return jax.vmap(jax.tree.unflatten(structure, leaves).rest_flux)(theta)

    theta = jnp.zeros((n, len(emulator.space)))
    return float(jax.jit(compute).lower(leaves, theta).compile().cost_analysis()["flops"])


@pytest.mark.slow
def test_cost_is_of_one_network_or_of_two() -> None:
    emulator = toy_stitched("direct", BANDS, width=64)
    zred = np.asarray([1.0, 2.0, 3.0, 11.0, 4.1])
    parts = parts_of(emulator, {"zred": zred}, 5)
    rows = [part.rows.tolist() for part in parts]
    assert rows == [[0], [1], [2], [4], [3]]
    plain = replace(emulator, core=core_of(emulator).at((0,)))
    one, two, whole = operations(plain), operations(parts[1].model), operations(emulator)
    assert operations(parts[0].model) == one
    assert 1.8 * one < two < 2.2 * one
    assert 5.0 * one < whole < 7.0 * one
    # all galaxies of one domain, and of two, go through the same compiled program
    for same in ((0, 2), (1, 3)):
        structures = [jax.tree.structure(parts[i].model) for i in same]
        assert structures[0] == structures[1]


def test_galaxies_are_grouped_by_what_they_need() -> None:
    emulator = toy_stitched("direct", BANDS)
    zred = np.asarray([0.001, 1.75, 1.7501, 2.2499, 2.25, 12.0, 13.0, -1.0, np.nan], np.float32)
    groups = core_of(emulator).groups(zred)
    assert {key: rows.tolist() for key, rows in groups.items()} == {
        (0,): [0, 1, 7, 8],
        (0, 1): [2, 3],
        (1,): [4],
        (5,): [5, 6],
    }
    assert parts_of(emulator, {}, 3)[0].model is emulator
    single = toy_emulator("direct", BANDS)
    (only,) = parts_of(single, {"zred": np.ones(3)}, 3)
    assert only.model is single
    assert only.rows.tolist() == [0, 1, 2]


@jax.jit
def density(observation: Observation, model: PhotometryEmulator, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(flat_density(galaxy_model, observation, model).log_density)(x)


def test_parts_have_the_fluxes_and_densities_of_the_whole(stitched: PhotometryEmulator) -> None:
    zred = np.asarray([2.0, 0.5, 4.2, 6.25, 8.0, 3.0], np.float32)
    theta = stitched.space.sample(jax.random.key(5), (6,)).at[:, stitched.space.index("zred")].set(zred)
    flux = fluxes(stitched, theta)
    observations = observe(flux, 0.1 * flux, fixed={"zred": zred})
    x = jax.random.normal(jax.random.key(1), (17,))

    seen = []
    for rows, model in parts_of(stitched, observations.fixed, 6):
        np.testing.assert_allclose(fluxes(model, theta[rows]), flux[rows], rtol=2e-5)
        value, slope = density(take(observations, int(rows[0])), model, x)
        whole_value, whole_slope = density(take(observations, int(rows[0])), stitched, x)
        np.testing.assert_allclose(value, whole_value, rtol=1e-3)
        np.testing.assert_allclose(slope, whole_slope, rtol=1e-2, atol=1e-2 * np.abs(whole_slope).max())
        seen += rows.tolist()
    assert sorted(seen) == list(range(6))


@pytest.mark.slow
def test_a_fit_in_parts_keeps_the_order_of_galaxies() -> None:
    emulator = toy_stitched("direct", BANDS)
    zred = np.asarray([11.0, 2.0, 0.5, 2.1, 10.5], np.float32)
    theta = emulator.space.sample(jax.random.key(5), (5,)).at[:, emulator.space.index("zred")].set(zred)
    flux = fluxes(emulator, theta)
    observations = observe(flux, 0.1 * flux, fixed={"zred": zred})
    short = SamplerSettings(
        n_warmup=4, n_draws=4, chunk=4, n_chains=2, mean_steps=4.0, n_descents=2, descent_steps=6
    )
    heard = []
    draws = fit(jax.random.key(0), observations, emulator, settings=short, progress=heard.append)
    found = draws.theta[..., emulator.space.index("zred")]
    np.testing.assert_array_equal(found, np.broadcast_to(zred[:, None, None], found.shape))
    for galaxy in range(5):
        x = emulator.space.unconstrain(jnp.asarray(draws.theta[galaxy, 0, -1]), ("zred",))
        # parameters are single precision, and the likelihood is steep in them
        value, _ = density(take(observations, galaxy), emulator, x)
        np.testing.assert_allclose(value, draws.log_density[galaxy, 0, -1], rtol=2e-2, atol=0.2)
    assert [p.galaxies for p in heard] == [5] * len(heard)
    fractions = [p.fraction for p in heard]
    assert fractions == sorted(fractions)
    assert (fractions[-1], heard[-1].galaxies_done) == (1.0, 5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixture"])
def test_training_by_domains(kind: str, toy_sets: dict[str, Any], tmp_path: Path) -> None:
    domains = [[0.5, 1.8], [1.5, 3.0]]
    stages = [{"epochs": 8, "batch_size": 128}]  # a stage of other batches is other programs for every domain
    config = make_config(
        network=NETWORKS[kind],
        stitch={"domains": domains},
        training={"learning_rate": 2e-2, "stages": stages, "checkpoint_minutes": 0},
    )
    said: list[str] = []
    epochs: list[EpochReport] = []
    hooks = Hooks(say=said.append, epoch=epochs.append)
    out = tmp_path / "stitched.safetensors"
    emulator = train_emulator(config, toy_sets, DESCRIPTION, workdir=tmp_path, out=out, hooks=hooks)
    assert isinstance(emulator.core, StitchedCore)
    assert [sentence.split(":")[0] for sentence in said] == ["domain 1 of 2", "domain 2 of 2"]
    assert len(epochs) == 16
    header = read_header(out)
    assert header["kind"] == kind
    np.testing.assert_allclose(header["domains"], domains)
    assert header["accuracy"]["prior"]["n"] == len(toy_sets["test_prior"].theta)
    # the made-up galaxy is 0.5 mag and more from its mean
    assert max(header["accuracy"]["prior"]["std"][:5]) < 0.15
    again = train_emulator(config, toy_sets, DESCRIPTION, workdir=tmp_path, out=out, hooks=hooks)
    assert len(epochs) == 16  # both domains were finished
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(emulator), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_domain_without_galaxies(toy_sets: dict[str, Any]) -> None:
    space = make_config().space.build()
    part = within(toy_sets["validation"], space, 1.0, 1.5)
    zred = part.theta[:, space.index("zred")]
    assert 0 < len(zred) < 500
    assert zred.min() >= 1.0
    assert zred.max() <= 1.5
    assert part.outputs["stars"].shape[0] == len(zred)
    with pytest.raises(ValueError, match="no simulated galaxy lies in 5 < z < 6"):
        within(toy_sets["validation"], space, 5.0, 6.0)


HEADER = {"name": "toy", "curve_sha256": ["0"] * 3}


def test_file_round_trip(stitched: PhotometryEmulator, tmp_path: Path) -> None:
    path = tmp_path / "stitched.safetensors"
    save_emulator(path, stitched, HEADER)
    header, copy = read_header(path), load_emulator(path)
    np.testing.assert_allclose(header["domains"], DOMAINS, rtol=1e-6)
    assert json.loads(path.with_suffix(".json").read_text()) == header
    assert jax.tree.structure(copy) == jax.tree.structure(stitched)
    for one, other in zip(jax.tree.leaves(stitched), jax.tree.leaves(copy), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ([[0.001, 4.0], [3.5, 12.0]], "2 domains, but arrays of 6 members"),
        ([[0.001, 1.0], *SIX_DOMAINS[1:]], r"1.75 to 4.25 must begin inside 0.001 to 1.*train it again"),
        ([[0.001], *SIX_DOMAINS[1:]], "header and weights do not fit"),
    ],
)
def test_a_file_whose_domains_do_not_fit(domains: list[list[float]], message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_emulator(path, toy_stitched("direct", BANDS), HEADER)
    arrays, header = read_raw(path)
    write_raw(path, arrays, header | {"domains": domains})
    with pytest.raises(ValueError, match=message):
        load_emulator(path)


def test_members_of_other_shapes_are_refused() -> None:
    from toy_emulators import toy_branches

    from starling.emulators.stitched import stitched_core

    emulator = toy_emulator("direct", BANDS)
    members = [toy_branches("direct", emulator.space, 3, seed=0, width=width) for width in (8, 9)]
    with pytest.raises(ValueError, match="domain 2 has other networks or inputs"):
        stitched_core(members, [(0.5, 2.0), (1.5, 3.0)], emulator.space, 1e-9, None)
