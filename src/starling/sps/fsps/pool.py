"""Galaxies over FSPS processes: each gets those that need the same SSPs, and one that ends is replaced."""

import json
import time
from collections import deque
from collections.abc import Mapping
from importlib.util import find_spec
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from starling.sps.fsps.home import FspsError, Home, Libraries, check_home, check_path
from starling.sps.fsps.process import SCRIPT, Process, explain
from starling.sps.fsps.translate import Galaxies, Settings
from starling.sps.fsps.worker import N_SCALARS

_AHEAD = 2  # galaxies that a process has in hand, so that it never waits for the next
_HOPELESS = 3  # processes that end one after the other without a result


class Inventory(NamedTuple):
    """What FSPS has: wavelengths (vacuum, Angstrom), SSP ages (log10 yr), metal mass fractions, that of the Sun."""

    wave_aa: np.ndarray
    line_wave_aa: np.ndarray
    log_age: np.ndarray
    metals: np.ndarray
    solar: float


class Timeouts(NamedTuple):
    """Seconds until a process counts as hung: while it starts and reads its tables, and at one galaxy.

    The first galaxies of a process make it build SSPs, up to all of them in the DESI model.
    """

    start_s: float = 600.0
    galaxy_s: float = 300.0


PATIENT = Timeouts()


class Answers(NamedTuple):
    """One row per galaxy: stellar, formed and dust mass, spectrum, lines; NaN where ``failures`` has the reason."""

    numbers: Float[np.ndarray, "row number"]
    failures: dict[int, str]


class Pool:
    """FSPS processes with the same settings. ``run`` may be called from several threads, which then take turns."""

    def __init__(
        self,
        sps_home: str | Path | None,
        settings: Settings,
        workers: int = 1,
        timeouts: Timeouts = PATIENT,
        script: Path = SCRIPT,
    ) -> None:
        self._path, self._settings, self._timeouts, self._script = (
            check_path(sps_home),
            settings,
            timeouts,
            script,
        )
        if find_spec("fsps") is None:
            raise FspsError("python-fsps is not installed: pip install 'starling-sed[fsps]'")
        self._lock = Lock()
        self.home: Home | None = None
        self.processes: list[Process] = []
        try:
            self.inventory, self.version = self._start(workers)
        except BaseException:
            self.close()
            raise

    def run(self, galaxies: Galaxies) -> Answers:
        """The answers of FSPS, in the order of the galaxies, whatever the order in which they are computed.

        A galaxy that makes FSPS fail, end or hang has a row of NaN and a reason, and the others go on in a new process.
        Raises FspsError where process after process ends without a result, or where all of many galaxies fail.
        """
        with self._lock:
            if not self.processes:
                raise FspsError("the FSPS processes have been ended")
            try:
                return self._run(galaxies)
            except BaseException:
                # answers to galaxies of this call must not be taken for those of the next
                self.close()
                raise

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.kill()
        self.processes = []

    def _start(self, workers: int) -> tuple[Inventory, str]:
        self.processes = [Process(self._path, self._script) for _ in range(max(1, workers))]
        answers = [self._prepare(process) for process in self.processes]
        contents = [self._await(process) for process in self.processes]
        found = contents[0]
        inventory = Inventory(
            np.asarray(found["wave_aa"]),
            np.asarray(found["line_wave_aa"]),
            np.asarray(found["log_age"]),
            np.asarray(found["metals"]),
            float(found["solar"]),
        )
        return inventory, str(answers[0]["version"])

    def _prepare(self, process: Process) -> dict[str, Any]:
        """Hear what FSPS was compiled for, check the directory for it, and let the process read its tables."""
        hello = process.expect(b"L", self._timeouts.start_s, "FSPS was started")
        if self.home is None:
            self.home = check_home(self._path, Libraries(*hello["libraries"]))
        process.set_up(self._settings._asdict())
        return hello

    def _await(self, process: Process) -> dict[str, Any]:
        return process.expect(b"I", self._timeouts.start_s, f"FSPS read its tables in {self._path}")

    def _run(self, galaxies: Galaxies) -> Answers:
        n = len(galaxies.parameters)
        n_numbers = N_SCALARS - 1 + self.inventory.wave_aa.size + self.inventory.line_wave_aa.size
        numbers, failures = np.full((n, n_numbers), np.nan), dict[int, str]()
        order = np.argsort(galaxies.order, kind="stable")
        queues = [deque(part.tolist()) for part in np.array_split(order, len(self.processes))]
        ended: list[str] = []  # reasons since the last result
        self._feed(queues, galaxies)
        while any(process.in_hand for process in self.processes):
            for place in self._ready():
                reason = self._take(place, numbers, failures)
                ended = [] if reason is None else [*ended, reason]
                if len(ended) >= _HOPELESS:
                    raise FspsError(
                        f"{len(ended)} FSPS processes ended one after the other: {explain(ended)}"
                    )
                if reason is not None:
                    self._replace(place, queues[place])
            self._feed(queues, galaxies)
        if len(failures) == n > _HOPELESS:
            raise FspsError(f"FSPS failed at all {n} galaxies: {explain(list(failures.values()))}")
        return Answers(numbers, failures)

    def _feed(self, queues: list[deque[int]], galaxies: Galaxies) -> None:
        """Give every process its next galaxies; one that has done its own takes from the end of the longest queue."""
        for process, own in zip(self.processes, queues, strict=True):
            while len(process.in_hand) < _AHEAD and any(queues):
                index = own.popleft() if own else max(queues, key=len).pop()
                process.give(index, galaxies.parameters[index], galaxies.history[index])

    def _ready(self) -> list[int]:
        """Places of the processes that have something to say, or have had too long."""
        busy = {process.connection: place for place, process in enumerate(self.processes) if process.in_hand}
        now = time.monotonic()
        first = min(self.processes[place].since for place in busy.values())
        speaking = wait(list(busy), max(0.0, first + self._timeouts.galaxy_s - now))
        late = time.monotonic() - self._timeouts.galaxy_s
        return [
            place
            for connection, place in busy.items()
            if connection in speaking or self.processes[place].since <= late
        ]

    def _take(self, place: int, numbers: np.ndarray, failures: dict[int, str]) -> str | None:
        """Note the answer of a process; the reason, where it has ended or is hung and had to be."""
        process = self.processes[place]
        if not process.connection.poll():
            limit = self._timeouts.galaxy_s
            reason = f"FSPS took more than {limit:g} s for one galaxy, and was ended{process.kill()}"
            failures[process.in_hand[0]] = reason
            return reason
        try:
            tag, content = process.receive()
        except FspsError as error:
            failures[process.in_hand[0]] = str(error)
            return str(error)
        index = process.took()
        if tag == b"E":
            failures[index] = json.loads(content)["reason"]
            return None
        answer = np.frombuffer(content)
        if int(answer[0]) != index:
            raise FspsError(f"FSPS's process answered galaxy {int(answer[0])} where {index} was asked")
        if np.all(np.isfinite(answer)):
            numbers[index] = answer[1:]
        else:
            failures[index] = "FSPS gave numbers that are not finite"
        return None

    def _replace(self, place: int, queue: deque[int]) -> None:
        """A new process for one that has ended; the galaxy that ended it is not tried again."""
        _, *others = self.processes[place].in_hand
        queue.extendleft(reversed(others))
        self.processes[place] = Process(self._path, self._script)
        self._prepare(self.processes[place])
        self._await(self.processes[place])


def describe_settings(settings: Settings) -> Mapping[str, Any]:
    """What decides the numbers of a pool beside its tables, JSON-able."""
    return {"fsps_parameters": dict(settings.constants), "zcontinuous": settings.zcontinuous}
