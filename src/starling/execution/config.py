"""Where parts are done, from a configuration: one layer for laptops and clusters."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from starling.configuration import Section, read_yaml
from starling.execution.dask import Dask, connect, local_cluster, slurm_cluster
from starling.execution.processes import Processes
from starling.execution.threads import Threads
from starling.execution.work import Executor

Positive = Annotated[int, Field(gt=0)]


class LocalCluster(Section):
    """A Dask cluster on this machine: ``workers`` processes, each ended and replaced beyond ``memory``."""

    workers: Positive = 1
    memory: str = "auto"


class SlurmJobs(Section):
    """``jobs`` SLURM jobs; ``options`` are those of ``dask_jobqueue.SLURMCluster``, over those of your Dask settings.

    Each job runs ``processes`` workers (1) in ``cores`` and ``memory``.
    """

    jobs: Positive
    options: dict[str, Any] = Field({})


class ExecutionConfig(Section):
    """Where the parts of a long run are done.

    ``threads`` of this process, ``processes`` of this machine, or a ``dask`` cluster, of which one is given of
    ``scheduler`` (the address of one that runs), ``local`` and ``slurm``. ``threads_per_worker`` are JAX's.
    """

    kind: Literal["threads", "processes", "dask"] = "processes"
    workers: Positive | None = None
    threads_per_worker: Positive = 1
    scheduler: str | None = None
    local: LocalCluster | None = None
    slurm: SlurmJobs | None = None

    @model_validator(mode="after")
    def _one_cluster(self) -> Self:
        given = [name for name in ("scheduler", "local", "slurm") if getattr(self, name) is not None]
        if self.kind == "dask":
            if len(given) != 1:
                raise ValueError(
                    "a dask cluster is one of `scheduler`, `local` and `slurm`: give one of them"
                )
            if self.scheduler is not None and "threads_per_worker" in self.model_fields_set:
                raise ValueError(
                    "the threads of a cluster that runs already are set: leave `threads_per_worker` out"
                )
            if self.workers is not None:
                raise ValueError("the workers of a cluster are its own matter: leave `workers` out")
        elif given:
            raise ValueError(f"`{given[0]}` is for `kind: dask`")
        elif self.kind == "threads" and "threads_per_worker" in self.model_fields_set:
            raise ValueError("threads of this process share JAX's: leave `threads_per_worker` out")
        return self

    @property
    def n_workers(self) -> int:
        """Threads or processes of this machine."""
        return self.workers or cores()


def read_execution(path: Path) -> ExecutionConfig:
    """The configuration in a file; ValueError names the key and what is wrong."""
    return read_yaml(path, ExecutionConfig)


@contextmanager
def open_executor(config: ExecutionConfig, say: Callable[[str], None] = lambda _: None) -> Iterator[Executor]:
    """The executor of a configuration; its processes and jobs end with the context."""
    if config.kind == "threads":
        yield Threads(config.n_workers)
    elif config.kind == "processes":
        with Processes(config.n_workers, config.threads_per_worker) as processes:
            yield processes
    else:
        with open_client(config) as client:
            say(f"Dask scheduler: {client.scheduler.address}")
            yield Dask(client, say)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_client(config: ExecutionConfig) -> AbstractContextManager[Any]:
    """A client of the Dask cluster of a configuration; the cluster ends with the context, unless it ran before."""
    if config.kind != "dask":
        raise ValueError(
            f"`kind: {config.kind}` is no Dask cluster, and only Dask does this: give `kind: dask`"
        )
    if config.scheduler is not None:
        return connect(config.scheduler)
    if config.local is not None:
        return local_cluster(config.local.workers, config.threads_per_worker, config.local.memory)
    assert config.slurm is not None
    return slurm_cluster(config.slurm.jobs, config.slurm.options, config.threads_per_worker)
