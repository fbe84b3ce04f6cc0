"""Parts on a Dask cluster: one that runs already, one of this machine, or one of SLURM jobs."""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from starling.execution.work import Done, ExecutionError, Job, Work, done, environment, outcome

INSTALL = "Dask is not installed: install starling with the extra `cluster`"
ALLOWED_FAILURES = 10  # workers that may die with a part: jobs end at their walltime, nodes are taken away
PATIENCE_S = 2.0  # between looks at how many workers there are


class Dask:
    """An ``Executor`` on the cluster of a ``distributed.Client``; work is a ``Job``, its folders those of all nodes."""

    def __init__(self, client: Any, say: Callable[[str], None] = lambda _: None) -> None:
        self.client, self.say = client, say

    def run(self, work: Work, parts: Iterable[int]) -> Generator[Done]:
        from distributed import wait
        from distributed.client import Future

        if not isinstance(work, Job):
            raise TypeError("a cluster does what it can open for itself: a Job")
        queue, running, waited = iter(parts), dict[Future, int](), 0
        ended = False
        try:
            while True:
                # one more than can be done at once, so that a worker has the next part when it has finished one
                room = self._threads() + 1 - len(running)
                while room > 0 and not ended:
                    part = next(queue, None)
                    ended = part is None
                    if part is not None:
                        running[self.client.submit(_outcome, work, part, pure=False)] = part
                        room -= 1
                if not running:
                    return
                try:
                    with self.client.as_current():
                        finished = wait(list(running), PATIENCE_S, "FIRST_COMPLETED").done
                except TimeoutError:
                    waited = self._complain(waited)
                    continue
                for future in finished:
                    yield self._result(future, running.pop(future))
        finally:
            if running:
                self.client.cancel(list(running))

    def _threads(self) -> int:
        self._alive()
        found: Mapping[str, int] = self.client.nthreads()
        return sum(found.values())

    def _alive(self) -> None:
        if self.client.status != "running":
            raise ExecutionError(
                "the connection to the Dask scheduler is lost. What is finished is safe: see to the cluster and run "
                "the same command again"
            )

    def _complain(self, waited: int) -> int:
        """Say, once, that nobody works; how often it was so in a row."""
        if self._threads():
            return 0
        if waited == 15:
            self.say(
                "no Dask worker has come yet: the jobs may be queued (squeue), or the cluster has no workers"
            )
        return waited + 1

    def _result(self, future: Any, part: int) -> Done:
        self._alive()
        if future.status == "finished":
            return done(future.result())
        reason = future.exception() if future.status == "error" else future.status
        raise ExecutionError(
            f"part {part} ended its workers on the Dask cluster, or cannot be done there ({reason}): most often no "
            "memory is left: use workers with more memory, fewer threads, or smaller parts. What is finished is safe"
        )


def _outcome(work: Job, part: int) -> str:
    return outcome(work, part)


@contextmanager
def connect(scheduler: str, timeout_s: float = 10.0) -> Iterator[Any]:
    """A client of the cluster at an address."""
    distributed = _distributed()
    try:
        client = distributed.Client(scheduler, timeout=timeout_s, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ExecutionError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        yield client


@contextmanager
def local_cluster(workers: int, threads: int, memory: str) -> Iterator[Any]:
    """A client of a cluster of this machine's own, which ends with the context."""
    distributed = _distributed()
    with (
        _settings(),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=memory,
            processes=True,
            dashboard_address=None,
            env=environment(threads),
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def slurm_cluster(jobs: int, options: Mapping[str, Any], threads: int) -> Iterator[Any]:
    """A client of a cluster of ``jobs`` SLURM jobs, cancelled with the context; a job that ends early is replaced.

    ``options`` are those of ``dask_jobqueue.SLURMCluster``.
    """
    distributed = _distributed()
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise ImportError(INSTALL) from error
    exports = [f"export {name}={value}" for name, value in environment(threads).items()]
    settings = {"python": sys.executable, "scheduler_options": {"dashboard_address": ":0"}, **options}
    settings["job_script_prologue"] = [*exports, *settings.get("job_script_prologue", [])]
    with ExitStack() as stack:
        stack.enter_context(_settings())
        try:
            cluster = stack.enter_context(SLURMCluster(**settings))
        except (TypeError, ValueError) as error:
            raise ValueError(f"slurm: {error}") from error
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
        yield stack.enter_context(distributed.Client(cluster, set_as_default=False))


def _settings() -> Any:
    import dask

    return dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_FAILURES})


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return distributed
