"""Work in parts: each can be done anywhere, in any order, and again; where it is done is an ``Executor``'s matter."""

import atexit
import importlib
import json
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from starling import __version__

# Does one part, whose number it takes, and leaves it on disk; what it returns is small and JSON-able. Done twice, at
# the same time even, it leaves the same.
Work = Callable[[int], Any]


class ExecutionError(RuntimeError):
    """A part cannot be done where it was to be; the message says why and what to do, and what is finished is safe."""


class Done(NamedTuple):
    """A part that is finished, and what its work returned."""

    part: int
    result: Any


@runtime_checkable
class Executor(Protocol):
    """Where parts are done: threads of this process, processes of this machine, or a cluster."""

    def run(self, work: Work, parts: Iterable[int]) -> Generator[Done]:
        """Do the parts and yield each as it is finished, in any order.

        ``parts`` is asked for the next one when there is room for it: when it ends, what is at work is waited for. A
        part whose worker died is done again elsewhere. What work raises ends the run, as does closing the iterator.
        """
        ...


@dataclass(frozen=True)
class Job:
    """Work that another process opens for itself.

    ``opener``, "module:function", takes ``settings`` (JSON) and gives a context manager of a function of ``names`` and
    the part's number. A process opens the same settings once, whatever the names, and keeps what it opened until it
    ends or another job comes.
    """

    opener: str
    settings: str
    names: tuple[str, ...] = ()
    version: str = __version__

    @classmethod
    def of(cls, opener: str, settings: Mapping[str, Any]) -> "Job":
        """A job from settings that are JSON-able."""
        return cls(opener, json.dumps(dict(settings)))

    def named(self, *names: str) -> "Job":
        """The same job with these names."""
        return Job(self.opener, self.settings, names, self.version)

    def __call__(self, part: int) -> Any:
        return _OPENED.get(self)(*self.names, part)


class _Opened:
    """What this process has open: one job's work."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stack = ExitStack()
        self.key: tuple[str, str] | None = None
        self.work: Callable[..., Any] | None = None

    def get(self, job: Job) -> Callable[..., Any]:
        with self.lock:
            if self.key != (job.opener, job.settings) or self.work is None:
                self.close()
                if job.version != __version__:
                    raise ExecutionError(
                        f"starling {__version__} is installed where the work is done, and {job.version} where it was "
                        "asked for: install the same on both"
                    )
                module, _, name = job.opener.partition(":")
                opener: Callable[..., AbstractContextManager[Callable[..., Any]]]
                opener = getattr(importlib.import_module(module), name)
                self.work = self.stack.enter_context(opener(json.loads(job.settings)))
                self.key = (job.opener, job.settings)
            return self.work

    def close(self) -> None:
        self.key, self.work = None, None
        self.stack.close()


_OPENED = _Opened()
atexit.register(_OPENED.close)


def environment(threads: int) -> dict[str, str]:
    """What gives a worker so many threads, of JAX as so many devices; to be set before it imports JAX."""
    names = (
        "PJRT_NPROC",
        "JAX_NUM_CPU_DEVICES",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
    )
    return dict.fromkeys(names, str(threads))


def outcome(work: Work, part: int) -> str:
    """What came of a part, as JSON, an exception too: what a worker sends back."""
    try:
        return json.dumps({"part": part, "result": work(part)})
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        kind = [type(error).__module__, type(error).__qualname__]
        return json.dumps({"part": part, "kind": kind, "message": str(error), "traceback": told})


def done(said: str) -> Done:
    """The part that an ``outcome`` tells of; raises what the worker raised, with its traceback as a note."""
    told = json.loads(said)
    if "result" in told:
        return Done(told["part"], told["result"])
    error = _rebuilt(told)
    error.add_note(f"Where it was done:\n{told['traceback']}")
    raise error


def _rebuilt(told: Mapping[str, Any]) -> Exception:
    """The exception that is told of, where it is of Python's or of this package; ExecutionError for any other."""
    module, name = told["kind"]
    if module == "builtins" or module.split(".")[0] == __name__.split(".")[0]:
        found = getattr(importlib.import_module(module), name, None)
        with suppress(TypeError):  # some take more than a message
            if isinstance(found, type) and issubclass(found, Exception):
                return found(told["message"])
    last = told["traceback"].strip().splitlines()[-1]
    return ExecutionError(f"part {told['part']} failed where it was done: {last}")
