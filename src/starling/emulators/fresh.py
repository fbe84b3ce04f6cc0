"""Training on galaxies that are simulated as it goes, instead of a set that stays as it is.

The rows to train on are a pool of fixed size, which begins as the ordinary training set. After every few epochs a round
of new galaxies takes the place of the oldest ones. They were proposed a round before, with the errors that the network
had then, and simulated by a thread of their own while it trained. So the pool is a function of the seed and of the
epoch's number, however long a simulation takes.

Rounds are on disk (proposals before they are simulated, then the galaxies), as many as the last checkpoint needs: a run
that was killed finds its pool again. What it finds there ahead of its checkpoint it would simulate alike, so it uses
that.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from safetensors.numpy import load_file, save

from starling.emulators.config import FreshConfig
from starling.emulators.rounds import read_round, round_is_whole, round_path, write_round
from starling.simulation import Simulator
from starling.simulation.generate import split_failures
from starling.simulation.shards import THETA, write_atomically
from starling.simulation.store import finite_rows

_N_JUDGED = 16384  # newest galaxies whose errors tell where to simulate next

Outputs = dict[str, Float[np.ndarray, "row ..."]]


class FreshRows:
    """A ``RowSource`` whose rows are renewed; of the numbers that it is made of, nothing is its own.

    ``make`` turns parameters and a simulator's outputs into rows like those of the pool, ``error`` gives one positive
    number per row, and ``propose`` the parameters of a round from the number of the round, the parameters of the newest
    galaxies and their errors. ``simulate`` is given ``chunk`` galaxies at a time. ``n_epochs`` is the run's length. The
    arrays of the pool are given away.
    """

    def __init__(
        self,
        pool: Any,
        theta: Float[np.ndarray, "row param"],
        config: FreshConfig,
        *,
        n_epochs: int,
        folder: Path,
        chunk: int,
        simulate: Simulator,
        make: Callable[[Array, Mapping[str, Array]], Any],
        error: Callable[[Any, Any], Float[Array, " row"]],
        propose: Callable[[int, np.ndarray, np.ndarray], Float[np.ndarray, "row param"]],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._pool, self._theta = pool, theta.copy()
        self._config, self._n_epochs, self._folder, self._chunk = config, n_epochs, folder, chunk
        self._simulate, self._make, self._error, self._propose = simulate, make, error, propose
        self._say = say
        self._inserted = 0  # rounds that are in the pool, or were
        self._pending: Future[dict[str, np.ndarray]] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="simulate")

    def start(self, epoch: int) -> None:
        """Begin with an empty folder, or read back what the epoch needs; ValueError where that is not there."""
        if epoch == 0:
            for path in self._folder.glob("*.safetensors"):
                path.unlink()
            return
        rounds = (epoch - 1) // self._config.epochs
        for number in range(max(1, rounds - self._n_kept + 1), rounds + 1):
            self._insert(number, self._read(number))
        self._inserted = rounds
        if self._wanted(rounds + 1):
            path = self._proposal(rounds + 1)
            if not path.exists():
                raise ValueError(f"{path}, which the checkpoint needs, is gone; train with --fresh")
            self._submit(rounds + 1, load_file(path)[THETA])

    def rows(self, epoch: int, model: Any) -> Any:
        number, rest = divmod(epoch, self._config.epochs)
        if rest:
            return self._pool
        if number and self._pending is not None:
            self._insert(number, self._pending.result())
            self._inserted, self._pending = number, None
        if self._wanted(number + 1):
            theta = self._propose(number + 1, *self._judge(model))
            write_atomically(self._proposal(number + 1), save({THETA: np.ascontiguousarray(theta)}))
            self._submit(number + 1, theta)
        return self._pool

    def saved(self, epoch: int) -> None:
        """Remove the rounds that a run from this epoch would not read."""
        rounds = (epoch - 1) // self._config.epochs
        for path in self._folder.glob("*.safetensors"):
            number, proposed = int(path.stem.split("-")[1]), path.name.startswith("proposal")
            if number <= (rounds if proposed else rounds - self._n_kept):
                path.unlink()

    def close(self) -> None:
        """Wait for the simulation that runs; what it gives is on disk."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    @property
    def _n_kept(self) -> int:
        """Rounds that the pool holds rows of."""
        return -(-len(self._theta) // self._config.rows)

    def _wanted(self, number: int) -> bool:
        return number * self._config.epochs < self._n_epochs

    def _proposal(self, number: int) -> Path:
        return self._folder / f"proposal-{number:06d}.safetensors"

    def _positions(self, number: int) -> Int[np.ndarray, " row"]:
        """Where a round goes: the pool is a ring."""
        rows = self._config.rows
        positions: Int[np.ndarray, " row"] = ((number - 1) * rows + np.arange(rows)) % len(self._theta)
        return positions

    def _insert(self, number: int, galaxies: dict[str, np.ndarray]) -> None:
        galaxies, failed = _without_failed(galaxies)
        if failed:
            self._say(f"round {number}: {failed} of {self._config.rows} rows are not finite and are left out")
        theta, positions = galaxies.pop(THETA), self._positions(number)
        new = self._make(jnp.asarray(theta), {name: jnp.asarray(a) for name, a in galaxies.items()})
        self._pool = _replace(self._pool, jnp.asarray(positions), new)
        self._theta[positions] = theta

    def _judge(self, model: Any) -> tuple[np.ndarray, np.ndarray]:
        """Parameters of the newest galaxies, the last ones not yet trained on, and the errors there."""
        n_pool = len(self._theta)
        newest = (self._inserted * self._config.rows - 1 - np.arange(min(_N_JUDGED, n_pool))) % n_pool
        chosen = jax.tree.map(lambda array: array[newest], self._pool)
        return self._theta[newest], np.asarray(self._error(model, chosen))

    def _submit(self, number: int, theta: Float[np.ndarray, "row param"]) -> None:
        self._pending = self._thread.submit(self._simulated, number, theta)

    def _simulated(self, number: int, theta: Float[np.ndarray, "row param"]) -> dict[str, np.ndarray]:
        """The galaxies of a round, from disk where they are there."""
        if round_is_whole(self._folder, number, len(theta)):
            found = read_round(self._folder, number)
            if np.array_equal(found[THETA], theta):
                return found
        pieces = (theta[start : start + self._chunk] for start in range(0, len(theta), self._chunk))
        parts = [split_failures(self._simulate(piece), len(piece))[0] for piece in pieces]
        outputs: Outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        write_round(self._folder, number, theta, outputs)
        return {THETA: theta, **outputs}

    def _read(self, number: int) -> dict[str, np.ndarray]:
        if not round_is_whole(self._folder, number, self._config.rows):
            path = round_path(self._folder, number)
            raise ValueError(f"{path}, which the checkpoint needs, is gone or damaged; train with --fresh")
        return read_round(self._folder, number)


def _without_failed(galaxies: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """Rows that are not finite replaced by others of the round, so that shapes stay; and how many they were."""
    good = np.flatnonzero(finite_rows(*galaxies.values()))
    n_rows = len(galaxies[THETA])
    if not good.size:
        raise ValueError("the simulator gave no finite row in a whole round: look at its parameters")
    if good.size == n_rows:
        return dict(galaxies), 0
    rows = np.resize(good, n_rows)
    return {name: array[rows] for name, array in galaxies.items()}, n_rows - good.size


@partial(jax.jit, donate_argnums=0)
def _replace(pool: Any, positions: Int[Array, " row"], new: Any) -> Any:
    """The pool with other rows in some places, in the memory that it has."""
    return jax.tree.map(lambda array, rows: array.at[positions].set(rows), pool, new)
