"""Posterior draws for many galaxies: batches of them through compiled initialisation, warm-up and sampling."""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from starling.forward import ForwardModel, Part, parts_of
from starling.inference.batch import Common, Sampled, sample_batch
from starling.inference.convergence import Thresholds, converged, latents_of
from starling.inference.density import Model
from starling.inference.hopeless import Standing, why_hopeless
from starling.inference.likelihood import galaxy_model
from starling.inference.observation import Observation, check
from starling.inference.rounds import Kept, Store, added, handed_out, multiples, with_room
from starling.inference.settings import SamplerSettings
from starling.inference.target import check_model

# what a batch costs beyond its galaxies, in galaxies: small matrix products are slow
_BATCH_OVERHEAD = 8


class Progress(NamedTuple):
    """Where a fit is: ``fraction`` of all its transitions, and what it is doing."""

    fraction: float
    galaxies_done: int
    galaxies: int
    stage: str


class Draws(NamedTuple):
    """Posterior draws; numpy arrays [galaxy, chain, draw, ...]."""

    names: tuple[str, ...]  # all parameters of the space, the last axis of ``theta``
    free: tuple[str, ...]  # those that were sampled
    theta: Float[np.ndarray, "galaxy chain draw param"]
    remoteness: np.ndarray  # above 1 outside what the forward model was made for; NaN where it does not know
    extra: dict[str, np.ndarray]  # latent sites of the model beyond the space's
    log_density: np.ndarray
    acceptance_rate: np.ndarray  # mean since the draw before
    diverging: np.ndarray  # whether, or how often, transitions diverged since the draw before
    n_steps: np.ndarray  # leapfrog steps, that is gradients, since the draw before
    step_size: Float[np.ndarray, " galaxy"]
    n_modes: np.ndarray  # modes of comparable mass that the starts found
    problems: tuple[str, ...]  # per galaxy what is wrong with its data, empty where nothing is
    every: tuple[int, ...] = ()  # per galaxy the transitions that a draw stands for; 1 where nothing is said
    gave_up: tuple[
        str, ...
    ] = ()  # per galaxy why its chains were stopped before their time, empty where they were not

    @property
    def share_diverging(self) -> Float[np.ndarray, " galaxy"]:
        """Divergent transitions among all of each galaxy."""
        # rows may have been left out at the end
        every = np.asarray(self.every[: len(self.diverging)]) if self.every else 1
        return self.diverging.mean(axis=(1, 2)) / every


def fit(
    key: Array,
    observations: Observation,
    forward_model: ForwardModel,
    *,
    settings: SamplerSettings | None = None,
    model: Model = galaxy_model,
    progress: Callable[[Progress], None] | None = None,
    numbers: Sequence[int] | Int[np.ndarray, " galaxy"] | None = None,
) -> Draws:
    """Posterior draws for a batch of galaxies, maggies in, one leading galaxy axis.

    Every galaxy gets ``settings.n_warmup`` transitions and then ``settings.n_draws``; those that have not converged by
    then (``Thresholds``) get more of them, among themselves, until they have, ``settings.patience`` is at an end, or a
    round brings nothing (``starling.inference.hopeless``), and what is kept of them is spread evenly over all
    (``starling.inference.rounds``).

    ``model`` is any NumPyro model of one galaxy with the signature of ``galaxy_model`` and its sites (call it inside
    yours); it gets ``noise``, the errors prepared once, if it takes that. Galaxies run ``settings.together`` at once,
    shared out over all JAX devices; the last ones are padded, so that nothing compiles twice.
    Where the forward model is cheaper for some galaxies apart (``parts_of``), a batch holds such as go together. The
    draws of a galaxy depend on ``key`` and its position in the input (or its number, where ``numbers`` are given), not
    on its neighbours. A galaxy that cannot be fitted gets draws and a flag (see ``diagnose``), never an exception.
    """
    settings = settings or SamplerSettings()
    problems = check(observations, forward_model)
    check_model(model, settings.model_error, settings.errors)
    n = observations.flux.shape[0]
    devices = min(jax.device_count(), n)
    parts = parts_of(forward_model, observations.fixed, n)
    size = _batch_size(parts, settings.together, devices)
    own = np.arange(n) if numbers is None else np.asarray(numbers)
    common = Common(key, observations, own, model, settings, devices, size)
    galaxies = _Galaxies(
        np.asarray([not words for words in problems]),
        [forward_model.space.index(name) for name in forward_model.space.free(observations.fixed)],
        [None] * n,
        [None] * n,
        [None] * n,
        [1] * n,
        [[] for _ in range(n)],
        [""] * n,
    )
    rounds = _rounds(common, parts, galaxies)
    for fraction, done, stage in rounds:
        if progress is not None:
            progress(Progress(fraction, done, n, stage))
    if progress is not None:
        progress(Progress(1.0, n, n, "done"))
    drawn: Kept = jax.tree.map(lambda *leaves: np.stack(leaves), *galaxies.drawn)
    states = [state for state in galaxies.states if state is not None]
    return Draws(
        names=forward_model.space.names,
        free=forward_model.space.free(observations.fixed),
        **drawn._asdict(),
        step_size=np.exp([state.chains.step_size.log_step_size_avg for state in states]),
        n_modes=np.stack([state.n_modes for state in states]),
        problems=tuple(problems),
        every=tuple(galaxies.every),
        gave_up=tuple(galaxies.gave_up),
    )


class _Galaxies(NamedTuple):
    """What is known of each galaxy between rounds."""

    sound: np.ndarray  # nothing is wrong with its data
    free: list[int]
    states: list[Sampled | None]
    stores: list[Store | None]
    drawn: list[Kept | None]
    every: list[int]  # transitions that each of the draws stands for
    standings: list[list[Standing]]  # after each round
    gave_up: list[str]


def _rounds(common: Common, parts: Sequence[Part], galaxies: _Galaxies) -> Generator[tuple[float, int, str]]:
    """All the sampling, yielding (fraction, galaxies done, stage)."""
    settings = common.settings
    before, open_rows = 0, np.arange(len(galaxies.sound))
    enough = settings.n_chains * settings.n_draws >= Thresholds().ess_bulk
    rounds = multiples(settings.patience) if enough else [1]
    for number, multiple in enumerate(rounds):
        last = number == len(rounds) - 1
        # nobody knows how many rounds there will be: each gets half of what is left of the bar
        begin = 1.0 - 0.5**number
        width = 1.0 - begin if last else 0.5 ** (number + 1)
        batches = _batches(parts, open_rows, common.size)
        for position, batch in enumerate(batches):
            done = sum(
                drawn is not None and store is None
                for drawn, store in zip(galaxies.drawn, galaxies.stores, strict=True)
            )
            for fraction, stage in _sample(common, batch, galaxies, before, multiple):
                yield begin + width * (position + fraction) / len(batches), done, stage
            _judge(batch.rows, galaxies, settings)
        before = multiple
        open_rows = np.asarray([row for row in open_rows if galaxies.stores[row] is not None], int)
        if not open_rows.size:
            return


def _sample(
    common: Common, batch: Part, galaxies: _Galaxies, before: int, multiple: int
) -> Generator[tuple[float, str]]:
    """One batch from ``before`` to ``multiple`` times ``n_draws`` transitions."""
    n_draws = common.settings.n_draws
    states = [galaxies.states[row] for row in batch.rows]
    results = yield from sample_batch(common, batch, states, before * n_draws, multiple * n_draws)
    for row, result in zip(batch.rows, results, strict=True):
        galaxies.states[row] = result._replace(kept=None)
        assert result.kept is not None
        galaxies.stores[row] = added(galaxies.stores[row], result.kept)


def _judge(rows: np.ndarray, galaxies: _Galaxies, settings: SamplerSettings) -> None:
    """What the galaxies would hand out; the stores of those that need no more, or are past help, are dropped."""
    stores = [store for row in rows if (store := galaxies.stores[row]) is not None]
    drawn = [handed_out(store, settings.n_draws) for store in stores]
    every = [store.every(settings.n_draws) for store in stores]
    theta = np.stack([one.theta[..., galaxies.free] for one in drawn], axis=2)
    diverging = np.stack([one.diverging for one in drawn], axis=2)
    latents = latents_of({name: np.stack([one.extra[name] for one in drawn]) for name in drawn[0].extra})
    found = converged(
        theta,
        diverging,
        Thresholds(),
        every=np.asarray(every),
        latents=None if latents is None else latents.draws,
    )
    for i, row in enumerate(rows):
        galaxies.drawn[row], galaxies.every[row] = drawn[i], every[i]
        galaxies.standings[row].append(Standing(every[i], float(found.rhat[i]), float(found.ess[i])))
        if galaxies.sound[row] and found.moved[i] and not found.good[i]:
            standings = galaxies.standings[row]
            galaxies.gave_up[row] = why_hopeless(standings, settings.patience, settings.n_draws)
            goes_on = not galaxies.gave_up[row]
        else:
            goes_on = False
        galaxies.stores[row] = with_room(stores[i], settings.n_draws) if goes_on else None


def _batch_size(parts: Sequence[Part], most: int, devices: int) -> int:
    """Galaxies of a batch; all are padded to it, so that nothing compiles twice.

    ``most`` for one part. For several it is halved while that computes less in all.
    """
    counts = np.asarray([len(part.rows) for part in parts])
    size = -(-min(most, int(counts.max())) // devices) * devices
    halves = [size]
    while len(parts) > 1 and halves[-1] % (2 * devices) == 0:
        halves.append(halves[-1] // 2)
    return min(halves, key=lambda s: int(np.sum(-(-counts // s)) * (s + _BATCH_OVERHEAD)))


def _batches(parts: Sequence[Part], rows: np.ndarray, size: int) -> list[Part]:
    """These rows, in batches of galaxies of one part."""
    chosen = [(part.rows[np.isin(part.rows, rows)], part.model) for part in parts]
    return [
        Part(some[first : first + size], model)
        for some, model in chosen
        for first in range(0, len(some), size)
    ]
