"""Parts in processes of this machine; one that dies is replaced, and its part is done again."""

import atexit
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Self

from starling.execution.work import Done, ExecutionError, Job, Work, done, environment, outcome

ATTEMPTS = 3  # a part that ended so many workers is given up


class _Worker:
    """A process, what is said to it and hears from it, and the part that it has."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.connection: Connection = ours
        self.process: BaseProcess = context.Process(target=serve, args=(theirs, threads), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.part: int | None = None

    def begin(self, job: Job, part: int) -> None:
        self.part = part
        try:
            if job != self.job:
                self.connection.send(("job", job))
                self.job = job
            self.connection.send(("part", part))
        except OSError:  # it is dead, which the wait for its answer will say
            pass

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class Processes:
    """An ``Executor`` of ``workers`` processes; work is a ``Job``. They are started when needed, for the context.

    ``threads`` are those of JAX in each. A worker ends by itself when this process has died.
    """

    def __init__(self, workers: int, threads: int = 1) -> None:
        self.n_workers, self.threads = max(1, workers), max(1, threads)
        self.workers: list[_Worker] = []
        atexit.register(self.close)  # before Python waits for processes that still run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, at once."""
        for worker in self.workers:
            worker.end()
        self.workers.clear()
        atexit.unregister(self.close)

    def run(self, work: Work, parts: Iterable[int]) -> Generator[Done]:
        if not isinstance(work, Job):
            raise TypeError("processes do what they can open for themselves: a Job")
        queue, again, attempts = iter(parts), deque[int](), dict[int, int]()
        try:
            while True:
                self._give(work, queue, again)
                busy = [worker for worker in self.workers if worker.part is not None]
                if not busy:
                    return
                for worker in _ready(busy):
                    part, said = worker.part, _hear(worker)
                    assert part is not None
                    worker.part = None
                    if said is not None:
                        yield done(said)
                        continue
                    attempts[part] = attempts.get(part, 0) + 1
                    self._replace(worker, part, attempts[part])
                    again.append(part)
        finally:
            if any(worker.part is not None for worker in self.workers):
                self.close()  # the run was broken off

    def _give(self, job: Job, queue: Iterator[int], again: deque[int]) -> None:
        """A part for every worker that has none, as far as there are parts."""
        while True:
            free = next((worker for worker in self.workers if worker.part is None), None)
            if free is None and len(self.workers) >= self.n_workers:
                return
            part = again.popleft() if again else next(queue, None)
            if part is None:
                return
            if free is None:
                free = _Worker(self.threads)
                self.workers.append(free)
            free.begin(job, part)

    def _replace(self, worker: _Worker, part: int, attempts: int) -> None:
        self.workers.remove(worker)
        worker.end()
        if attempts >= ATTEMPTS:
            raise ExecutionError(
                f"{attempts} worker processes ended ({_how(worker.process.exitcode)}) while they made part {part}. "
                "What is finished is safe, and the same command goes on"
            )


def _how(code: int | None) -> str:
    """How a process ended, and the most likely mend."""
    if code is not None and code < 0:
        return f"signal {-code}: most often no memory is left: use fewer --workers or smaller parts"
    return (
        f"exit code {code}, see what they said above; a script that starts processes needs "
        "`if __name__ == '__main__':` around what it does"
    )


def _ready(workers: list[_Worker]) -> list[_Worker]:
    """Those of the workers that said something or died; waits for the first."""
    found = wait([end for worker in workers for end in (worker.connection, worker.process.sentinel)])
    return [worker for worker in workers if worker.connection in found or worker.process.sentinel in found]


def _hear(worker: _Worker) -> str | None:
    """What a worker says of its part; None where it died first."""
    try:
        if worker.connection.poll():
            return worker.connection.recv_bytes().decode()
    except (EOFError, OSError):
        pass
    return None


def serve(connection: Connection, threads: int) -> None:
    """What a worker process does: parts of jobs, until the other end is closed."""
    # Ctrl-C goes to all processes of a terminal: the one that asked says when this one ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for name, value in environment(threads).items():
        os.environ.setdefault(name, value)
    job: Job | None = None
    while True:
        try:
            kind, value = connection.recv()
            if kind == "job":
                job = value
                continue
            assert job is not None
            connection.send_bytes(outcome(job, value).encode())
        except (EOFError, OSError):
            return
