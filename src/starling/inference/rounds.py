"""When a galaxy has enough draws: rounds of transitions, and what is kept of them.

After m times ``n_draws`` transitions every m-th of them is kept, so a galaxy hands out the same number of draws however
long its chains were, and is judged by what it hands out. m is 1, 2, 3, 4, 6, 8, 12, 16 ...: a store of at most four
times ``n_draws`` draws, evenly spaced, serves all of them.
"""

from typing import NamedTuple

import numpy as np


class Kept(NamedTuple):
    """Draws of ONE galaxy; arrays [chain, draw, ...]."""

    theta: np.ndarray
    remoteness: np.ndarray
    extra: dict[str, np.ndarray]
    log_density: np.ndarray
    acceptance_rate: np.ndarray
    diverging: np.ndarray  # number of divergent transitions since the draw before
    n_steps: np.ndarray

    @property
    def n_draws(self) -> int:
        """Draws of each chain."""
        return self.theta.shape[1]


class Store(NamedTuple):
    """Draws of a galaxy so far, and of how many transitions each is one."""

    kept: Kept
    stride: int

    def every(self, n_draws: int) -> int:
        """Transitions that each draw stands for where ``n_draws`` are handed out."""
        return self.stride * (self.kept.n_draws // n_draws)


_MOST = 4  # times the draws that are handed out


def thinned(kept: Kept, every: int) -> Kept:
    """Every so-manieth draw; steps and divergences add up, and the acceptance is the mean of the transitions between.

    Copies, where any is left out: a view would keep all the others in memory.
    """
    if every == 1:
        return kept

    def last(values: np.ndarray) -> np.ndarray:
        return values[:, every - 1 :: every].copy()

    def groups(values: np.ndarray) -> np.ndarray:
        return values.reshape(values.shape[0], -1, every)

    return Kept(
        last(kept.theta),
        last(kept.remoteness),
        {name: last(values) for name, values in kept.extra.items()},
        last(kept.log_density),
        groups(kept.acceptance_rate).mean(axis=2),
        groups(kept.diverging).sum(axis=2),
        groups(kept.n_steps).sum(axis=2),
    )


def added(store: Store | None, new: Kept) -> Store:
    """With the draws of a further round, all of its transitions."""
    if store is None:
        return Store(new, 1)
    more = thinned(new, store.stride)
    both = [np.concatenate(pair, axis=1) for pair in zip(_leaves(store.kept), _leaves(more), strict=True)]
    return Store(_like(store.kept, both), store.stride)


def handed_out(store: Store, n_draws: int) -> Kept:
    """``n_draws`` draws of each chain, evenly spaced over all its transitions."""
    return thinned(store.kept, store.kept.n_draws // n_draws)


def with_room(store: Store, n_draws: int) -> Store:
    """Half of the draws where the store is full: the next round is twice as long."""
    if store.kept.n_draws < _MOST * n_draws:
        return store
    return Store(thinned(store.kept, 2), 2 * store.stride)


def multiples(most: int) -> list[int]:
    """The m at which galaxies are judged, up to ``most``."""
    found, step = [1], 1
    while found[-1] + step <= most:
        found.append(found[-1] + step)
        if found[-1] == _MOST * step:
            step *= 2
    return found


def _leaves(kept: Kept) -> list[np.ndarray]:
    return [*(a for a in kept if isinstance(a, np.ndarray)), *kept.extra.values()]


def _like(kept: Kept, leaves: list[np.ndarray]) -> Kept:
    n = len(kept) - 1
    plain = leaves[:n]
    return Kept(plain[0], plain[1], dict(zip(kept.extra, leaves[n:], strict=True)), *plain[2:])
