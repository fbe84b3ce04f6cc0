"""Processes that work off jobs: started afresh, spoken to in lines of JSON, replaced when they end.

A worker is a module that is run (``python -m``). It reads its set-up from the first line of its input and a job from
each further one, and answers in lines: ``{"state": TEXT}`` as often as it likes, then ``{"done": true}`` or
``{"failed": REASON}``. What is large goes through files that the job names. A process that ends while it has a job
costs that job a second attempt in a new process; then the job has failed.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

_ATTEMPTS = 2
_LAST_WORDS = 400  # characters


class Workers:
    """Jobs over processes, in the background: they are begun in order, ``result`` waits for one.

    ``with`` ends the processes. ``set_up`` and the jobs are JSON-able; ``environment`` joins that of the processes.
    """

    def __init__(
        self,
        module: str,
        set_up: Mapping[str, Any],
        jobs: Sequence[Mapping[str, Any]],
        n_workers: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._module, self._set_up, self._jobs = module, dict(set_up), [dict(job) for job in jobs]
        self._environment = os.environ | dict(environment or {})
        self._waiting = deque(range(len(jobs)))
        self._attempts = [0] * len(jobs)
        self._reasons: list[str | None] = [None] * len(jobs)  # empty where a job is done
        self._states = [""] * len(jobs)
        self._changed = threading.Condition()
        self._closed = False
        self._processes: list[subprocess.Popen[str]] = []
        self._threads = [
            threading.Thread(target=self._serve, daemon=True) for _ in range(min(n_workers, len(jobs)))
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        with self._changed:
            self._closed = True
            for process in self._processes:
                process.kill()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def result(self, job: int, timeout_s: float) -> str | None:
        """Why a job failed (empty: it is done), or None where it is still going on after the time."""
        with self._changed:
            self._changed.wait_for(lambda: self._reasons[job] is not None, timeout_s)
            return self._reasons[job]

    def state(self) -> tuple[int, dict[int, str]]:
        """How many jobs have ended, and what those that are being worked on say."""
        with self._changed:
            ended = sum(reason is not None for reason in self._reasons)
            at_work = {
                job: state for job, state in enumerate(self._states) if state and self._reasons[job] is None
            }
            return ended, at_work

    def _serve(self) -> None:
        """What one thread does: jobs, one after the other, each time in a process that lives."""
        process: subprocess.Popen[str] | None = None
        with tempfile.TemporaryFile("w+") as said:
            while (job := self._next()) is not None:
                try:
                    if process is None or process.poll() is not None:
                        process = self._start(said)
                    reason = self._work(process, job)
                except OSError as error:
                    reason = None if process is not None else f"no worker could be started: {error.strerror}"
                if reason is None:
                    reason = self._ended(process, job, said)
                    process = None
                self._settle(job, reason)
        if process is not None:
            _part_with(process)

    def _next(self) -> int | None:
        with self._changed:
            if self._closed or not self._waiting:
                return None
            job = self._waiting.popleft()
            self._attempts[job] += 1
            self._states[job] = "starting"
            return job

    def _start(self, said: IO[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for the caller, who ends its processes
        )
        with self._changed:
            self._processes.append(process)
            if self._closed:
                process.kill()
        self._say(process, self._set_up)
        return process

    def _work(self, process: subprocess.Popen[str], job: int) -> str | None:
        """Why a job failed, empty where it is done; None where the process ended."""
        self._say(process, self._jobs[job])
        assert process.stdout is not None
        for line in process.stdout:
            answer = _answer(line)
            if "state" in answer:
                with self._changed:
                    self._states[job] = str(answer["state"])
            elif "done" in answer:
                return ""
            elif "failed" in answer:
                return str(answer["failed"]) or "it failed without a reason"
        return None

    def _say(self, process: subprocess.Popen[str], words: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()

    def _ended(self, process: subprocess.Popen[str] | None, job: int, said: IO[str]) -> str | None:
        """Why a job is given up after its process ended; None where it gets another attempt."""
        if process is None:
            return "no worker could be started"
        code = _part_with(process)
        with self._changed:
            if self._closed:
                return "stopped"
            if self._attempts[job] < _ATTEMPTS:
                self._waiting.appendleft(job)
                return None
        said.seek(0)
        words = " ".join(said.read().split())[-_LAST_WORDS:]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"its worker ended {_ATTEMPTS} times, at last with {how}" + (f": {words}" if words else "")

    def _settle(self, job: int, reason: str | None) -> None:
        if reason is None:
            return
        with self._changed:
            self._reasons[job] = reason
            self._changed.notify_all()


def _part_with(process: subprocess.Popen[str]) -> int:
    """Close its input, which ends a process that lives; its exit code."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):  # what it has not read is lost with it
        process.stdin.close()
    process.stdout.close()
    return process.wait()


def _answer(line: str) -> dict[str, Any]:
    """An answer of a worker; nothing where the line is something that a library printed."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
