"""One process at a time makes the parts of a run: a lock that goes with the process, however that ends."""

import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from starling.runs.folder import PARTS
from starling.runs.manifest import RunError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder of a run; RunError, with who has it, where another process does.

    The lock is advisory (flock) and the file stays. Where a file system has no locks it is a warning; where the file
    cannot be made nothing is said: the run will find that it cannot write.
    """
    path = folder / PARTS / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield
        return
    try:
        _take(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(
            f"{folder} is being written to by {_holder(descriptor)}: wait until it has ended, or choose another folder "
            "with --out"
        ) from error
    except OSError as error:
        warnings.warn(
            f"cannot lock {folder} ({error.strerror}): start no second run into it while this one lasts",
            stacklevel=3,
        )
        return
    with suppress(OSError):  # of a full disk the run itself will tell
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
