"""What is kept of chains of any length, and whether stopping when they look converged distorts it."""

import jax
import numpy as np

from starling.inference import SamplerSettings
from starling.inference.batch import Sampled, apart
from starling.inference.convergence import Thresholds, converged, latents_of
from starling.inference.fit import _Galaxies, _judge
from starling.inference.rounds import Kept, added, handed_out, multiples, with_room

N = 50


def numbered(first, n, n_chains=2):
    """Transitions whose draws are their own numbers."""
    number = np.broadcast_to(np.arange(first, first + n, dtype=float), (n_chains, n))
    return Kept(
        theta=number[..., None],
        remoteness=number,
        extra={"width": number},
        log_density=number,
        acceptance_rate=number % 2,
        diverging=number % 4 == 0,
        n_steps=np.ones((n_chains, n), int),
    )


def test_what_is_handed_out_is_spread_evenly_over_all_transitions():
    assert multiples(16) == [1, 2, 3, 4, 6, 8, 12, 16]
    store, before = None, 0
    for m in multiples(40):
        store = added(store, numbered(before * N, (m - before) * N))
        kept = handed_out(store, N)
        np.testing.assert_array_equal(kept.theta[0, :, 0], np.arange(m - 1, m * N, m))
        np.testing.assert_array_equal(kept.extra["width"], kept.theta[..., 0])
        assert kept.n_steps.sum() == 2 * m * N
        np.testing.assert_allclose(kept.acceptance_rate.mean(), 0.5)
        assert kept.diverging.sum() == 2 * -(-m * N // 4)
        assert store.every(N) == m
        assert store.kept.n_draws <= 4 * N
        store, before = with_room(store, N), m


def test_what_is_left_out_is_not_kept_in_memory():
    store = added(None, numbered(0, 4 * N))
    for kept in (handed_out(store, N), with_room(store, N).kept):
        for values in (kept.theta, kept.remoteness, kept.extra["width"], kept.log_density):
            assert values.flags.c_contiguous
            assert not any(
                np.shares_memory(values, whole) for whole in store.kept if whole is not store.kept.extra
            )


def test_a_galaxy_does_not_keep_its_batch_in_memory():
    of_two = jax.tree.map(lambda *leaves: np.stack(leaves), numbered(0, N), numbered(N, N))
    swapped = of_two._replace(theta=np.swapaxes(np.swapaxes(of_two.theta, 1, 2).copy(), 1, 2))
    (one,) = apart(Sampled(None, np.ones(2, int), swapped), 1)
    np.testing.assert_array_equal(one.kept.theta, of_two.theta[0])
    for values in (one.kept.theta, one.kept.n_steps, one.kept.extra["width"]):
        assert values.base is None
        assert values.flags.c_contiguous


def test_divergences_between_the_draws_count():
    """2% of the transitions, none of them the last one of its four."""
    chains = np.random.default_rng(5).normal(size=(4, 4 * 500))
    diverging = np.zeros(chains.shape, bool)
    diverging[:, ::50] = True
    store = added(None, bare(chains)._replace(diverging=diverging))
    kept = handed_out(store, 500)
    assert not diverging[:, 3::4].any()
    one = kept.theta[:, :, None], kept.diverging[:, :, None], Thresholds()
    assert not converged(*one, every=store.every(500)).good[0]
    assert converged(*one, every=3 * store.every(500)).good[0]


def test_further_latent_sites_must_converge_where_they_move():
    rng = np.random.default_rng(6)
    theta = rng.normal(size=(4, 500, 2, 1))
    site = rng.normal(size=(2, 4, 500, 3))
    site[..., 2] = 1.0
    site[1, 0, :, 1] += 2.0
    latents = latents_of({"zero_points": site})
    assert latents.names == ("zero_points[0]", "zero_points[1]", "zero_points[2]")
    calm = np.zeros(theta.shape[:3], bool)
    found = converged(theta, calm, Thresholds(), latents=latents.draws)
    assert found.good.tolist() == [True, False]
    assert found.moved.all()
    assert found.rhat[0] < 1.01 < 1.1 < found.rhat[1]
    assert found.ess[1] < 0.1 < 1.0 < found.ess[0]


def test_galaxies_whose_zero_points_have_not_converged_go_on():
    """A parameter of three galaxies is fine; the zero point of the second, and the transitions of the third, not."""
    rng = np.random.default_rng(7)
    stores = []
    for number in range(3):
        site = rng.normal(size=(4, 1000, 1))
        site[0] += 2.0 * (number == 1)
        diverging = (np.arange(1000) % 20 == 0) & (number == 2)
        new = bare(rng.normal(size=(4, 1000)))
        diverging = np.broadcast_to(diverging, (4, 1000))
        stores.append(added(None, new._replace(extra={"zero_points": site}, diverging=diverging)))
    galaxies = _Galaxies(
        np.ones(3, bool), [0], [None] * 3, stores, [None] * 3, [1] * 3, [[], [], []], [""] * 3
    )
    _judge(np.arange(3), galaxies, SamplerSettings(n_draws=500))
    assert [store is None for store in galaxies.stores] == [True, False, False]
    assert galaxies.every == [2, 2, 2]


def autocorrelated(generator, last, n, rho):
    """Chains of a normal with mean 0 and variance 1, from where they were."""
    out = np.empty((*last.shape, n))
    for i in range(n):
        last = rho * last + np.sqrt(1.0 - rho**2) * generator.normal(size=last.shape)
        out[..., i] = last
    return out


def bare(draws):
    """One galaxy's draws [chain, draw]."""
    zeros = np.zeros(draws.shape)
    return Kept(draws[..., None], zeros, {}, zeros, zeros, zeros > 0, zeros.astype(int))


def test_stopping_when_chains_agree_does_not_distort():
    """200 galaxies, 4 chains with an autocorrelation time of 9: they stop at very different lengths."""
    generator, n, n_draws, rho = np.random.default_rng(4), 200, 250, 0.8
    last = generator.normal(size=(n, 4))
    stores, kept, lengths, before = [None] * n, [None] * n, np.zeros(n, int), 0
    waiting = np.arange(n)
    for m in multiples(24):
        if not waiting.size:
            break
        new = autocorrelated(generator, last, (m - before) * n_draws, rho)
        last, before = new[..., -1], m
        for row in waiting:
            stores[row] = added(stores[row], bare(new[row]))
            kept[row] = handed_out(stores[row], n_draws).theta
            stores[row] = with_room(stores[row], n_draws)
        draws = np.stack([kept[row] for row in waiting], axis=2)
        good = converged(draws, np.zeros(draws.shape[:3], bool), Thresholds()).good
        lengths[waiting[good]] = m
        waiting = waiting[~good]
    assert not waiting.size
    assert len(set(lengths.tolist())) >= 3
    values = np.stack(kept)[..., 0].reshape(n, -1)
    # independent draws in a galaxy: as many as its length and the autocorrelation time allow
    independent = np.minimum(4 * n_draws * lengths * (1 - rho) / (1 + rho), 4 * n_draws)
    error = 1.0 / np.sqrt(independent.sum())
    assert abs(np.average(values.mean(axis=1), weights=independent)) < 4 * error
    for level, expected in ((-1.0, 0.158655), (1.0, 0.841345)):
        share = np.average((values < level).mean(axis=1), weights=independent)
        assert abs(share - expected) < 4 * error * np.sqrt(expected * (1 - expected))
    scatter = np.std(values.mean(axis=1) * np.sqrt(independent))
    assert 0.8 < scatter < 1.2
