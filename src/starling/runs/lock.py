"""One process at a time makes a run and its results: a lock that goes with the process, however that ends."""

import os
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from starling.runs.folder import PARTS
from starling.runs.manifest import RunError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"

# Process, thread and file of each lock that is held: a forked process has a copy, and holds none of them.
_held: set[tuple[int, int, Path]] = set()


def locked_beside(folder: Path) -> AbstractContextManager[None]:
    """As ``locked``, with the lock beside the folder: for one whose format has no place for files of ours."""
    absolute = folder.absolute()
    return _locked(folder, absolute.with_name(f".{absolute.name}{LOCK}"))


def locked(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder of a run; RunError, with who has it, where another process or thread does.

    Who holds it may ask again: it is held until the first has ended. The lock is advisory (flock) and the file stays.
    Where a system or a file system has no locks it is a warning; where the file cannot be made nothing is said: the
    run will find that it cannot write.
    """
    return _locked(folder, folder / PARTS / LOCK)


@contextmanager
def _locked(folder: Path, path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield
        return
    try:
        this = (os.getpid(), threading.get_ident(), path.resolve())
        if this in _held:
            yield
            return
        _take(descriptor, folder)
        _held.add(this)
        try:
            yield
        finally:
            _held.discard(this)
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    if fcntl is None:
        _warn(folder, "this system has no flock")
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(
            f"{folder} is being written to by {_holder(descriptor)}: wait until it has ended, or choose another folder "
            "with --out"
        ) from error
    except OSError as error:
        _warn(folder, error.strerror)
        return
    with suppress(OSError):  # of a full disk the run itself will tell
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _warn(folder: Path, reason: str | None) -> None:
    warnings.warn(
        f"cannot lock {folder} ({reason}): start no second run into it while this one lasts", stacklevel=4
    )


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
