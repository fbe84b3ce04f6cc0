"""One FSPS process as its owner sees it: started, set up, given galaxies, ended; every end explained.

A process is started afresh (never forked: JAX runs threads), with the data directory in its environment, which FSPS
reads once. What FSPS prints goes to a file: where it stops without an exception, its last words are all there is.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np

from starling.sps.fsps.home import FspsError

SCRIPT = Path(__file__).with_name("worker.py")
_LAST_WORDS = 600  # characters


class Process:
    """A process that computes galaxies; ``in_hand`` are the indices of those it was given and has not answered."""

    def __init__(self, home: Path, script: Path = SCRIPT) -> None:
        ours, theirs = socket.socketpair()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed when it has ended
        environment = os.environ | {
            "SPS_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "GFORTRAN_UNBUFFERED_ALL": "1",
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(script), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the caller, who ends its processes
            )
        self.connection = Connection(ours.detach())
        self.in_hand: deque[int] = deque()
        self.since = time.monotonic()  # when it began what it is doing

    @property
    def pid(self) -> int:
        return self._process.pid

    def receive(self) -> tuple[bytes, bytes]:
        """Tag and content of the next frame; FspsError says why there is none."""
        try:
            frame = self.connection.recv_bytes()
        except (EOFError, OSError):
            raise FspsError(self._end()) from None
        return frame[:1], frame[1:]

    def expect(self, tag: bytes, timeout_s: float, doing: str) -> dict[str, Any]:
        """The content (JSON) of the next frame; see ``expect_bytes``."""
        return dict(json.loads(self.expect_bytes(tag, timeout_s, doing)))

    def expect_bytes(self, tag: bytes, timeout_s: float, doing: str) -> bytes:
        """The content of the next frame, which has to come in time and be of this kind; ends the process otherwise."""
        if not self.connection.poll(timeout_s):
            said = self.kill()
            raise FspsError(f"FSPS took more than {timeout_s:g} s while {doing}, and was ended{said}")
        try:
            found, content = self.receive()
        except FspsError as error:
            raise FspsError(f"while {doing}: {error}") from None
        if found != tag:
            raise FspsError(f"while {doing}: FSPS's process answered {found!r}, not {tag!r}{self.kill()}")
        return content

    def set_up(self, settings: Mapping[str, Any]) -> None:
        """Let it read its tables."""
        self._send(b"S" + json.dumps(settings).encode())

    def give(self, index: int, parameters: np.ndarray, history: np.ndarray) -> None:
        """Hand it one galaxy."""
        if not self.in_hand:
            self.since = time.monotonic()
        self.in_hand.append(index)
        self._send(b"G" + np.concatenate([[index, history.shape[1]], parameters, history.ravel()]).tobytes())

    def ask_tables(self, timeout_s: float) -> np.ndarray:
        """The numbers of its SSP tables; it must have no galaxy in hand."""
        self._send(b"T")
        return np.frombuffer(self.expect_bytes(b"T", timeout_s, "FSPS built its SSPs"))

    def took(self) -> int:
        """Note that it has answered the first of the galaxies in hand; its index."""
        self.since = time.monotonic()
        return self.in_hand.popleft()

    def kill(self) -> str:
        """End it at once; the last words of FSPS, to be added to a message."""
        self._process.kill()
        self._process.wait()
        self.connection.close()
        return self._last_words()

    def _send(self, frame: bytes) -> None:
        with suppress(OSError):  # where it has ended, the next `receive` says how
            self.connection.send_bytes(frame)

    def _end(self) -> str:
        """How it ended."""
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return f"FSPS's process closed its connection and went on{self.kill()}"
        self.connection.close()
        if code == 0:
            return f"FSPS stopped its process (a Fortran STOP){self._last_words()}"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return f"FSPS's process was ended by {name}{self._last_words()}"
        return f"FSPS's process failed with exit code {code}{self._last_words()}"

    def _last_words(self) -> str:
        if self._said.closed:
            return ""
        self._said.seek(0)
        words = " ".join(self._said.read().decode(errors="replace").split())
        self._said.close()
        return f"; it said: {words[-_LAST_WORDS:]}" if words else ""


def explain(reasons: Sequence[str]) -> str:
    """Several reasons, each once."""
    return "; ".join(dict.fromkeys(reasons))
