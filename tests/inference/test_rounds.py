"""What is kept of chains of any length, and whether stopping when they look converged distorts it."""

import numpy as np

from starling.inference.convergence import Thresholds, converged
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
        diverging=number < 0,
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
        assert store.kept.n_draws <= 4 * N
        store, before = with_room(store, N), m


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
        good, _ = converged(draws, np.zeros(draws.shape[:3], bool), Thresholds())
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
