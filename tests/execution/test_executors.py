"""Parts in threads, processes and on Dask clusters: every part once, dead workers replaced, errors told."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import gone
from toy_work import SHARDS, WORK, open_work, toy_plan, toy_simulator

from starling.execution import (
    ExecutionConfig,
    ExecutionError,
    Executor,
    Job,
    Processes,
    Threads,
    open_executor,
    read_execution,
)
from starling.execution.dask import Dask, connect, local_cluster
from starling.simulation import simulate_set

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed")


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    """A worker that never comes is waited for; a test that waits for one fails."""

    def give_up(*_: object) -> None:
        raise TimeoutError("nobody did the work")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Dask]:
    pytest.importorskip("distributed")
    with local_cluster(2, 1, "0") as client:
        yield Dask(client)


@contextmanager
def executor(kind: str, request: pytest.FixtureRequest) -> Iterator[Executor]:
    if kind == "dask":
        yield request.getfixturevalue("cluster")
    elif kind == "processes":
        with Processes(2) as found:
            yield found
    else:
        yield Threads(2)


EVERY = pytest.mark.parametrize("kind", ["threads", "processes", "dask"])
REMOTE = pytest.mark.parametrize("kind", ["processes", "dask"])


def job(folder: Path, **settings: Any) -> Job:
    return Job.of(WORK, {"folder": str(folder), **settings})


def files(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


@EVERY
def test_every_part_is_done_once(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    with executor(kind, request) as found:
        results = list(found.run(job(tmp_path).named("train"), range(7)))
        assert sorted(done.part for done in results) == list(range(7))
        assert all(done.result["square"] == done.part**2 for done in results)
        assert results[0].result["which"] == ["train"]
        processes = {done.result["process"] for done in results}
        assert (os.getpid() in processes) == (kind == "threads")
        assert kind == "threads" or {done.result["threads"] for done in results} == {"1"}
        # the same workers have it open for parts of another name
        assert len(list(found.run(job(tmp_path).named("test"), range(3)))) == 3
        opened = len(files(tmp_path, "opened-*"))
        assert opened <= 2
        # other settings: what was open is closed
        assert len(list(found.run(job(tmp_path, seconds=0.01), range(3)))) == 3
        assert len(files(tmp_path, "closed-*")) >= 1
    assert files(tmp_path, "part-*") == [f"part-{part}" for part in range(7)]


@EVERY
def test_when_the_parts_end_what_is_at_work_is_finished(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    seen: list[int] = []

    def until_two_are_done() -> Iterator[int]:
        for part in range(50):
            if len(seen) >= 2:
                return
            yield part

    with executor(kind, request) as found:
        results = found.run(job(tmp_path, seconds=0.05), until_two_are_done())
        seen.extend(done.part for done in results)
    assert 2 <= len(seen) <= 8
    assert files(tmp_path, "part-*") == sorted(f"part-{part}" for part in seen)


@REMOTE
def test_parts_of_a_worker_that_died_are_done_again(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    with executor(kind, request) as found:
        results = list(found.run(job(tmp_path, kill=[1, 4], seconds=0.02), range(8)))
    assert sorted(done.part for done in results) == list(range(8))
    assert files(tmp_path, "killed-*") == ["killed-1", "killed-4"]


def test_a_part_that_always_ends_its_worker_is_given_up(tmp_path: Path) -> None:
    with Processes(2) as found, pytest.raises(ExecutionError, match=r"3 worker .*signal 9: .*memory.*part 1"):
        list(found.run(job(tmp_path, kill=[1], always=True), range(8)))


@EVERY
@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        ("value", ValueError, "(?m)^part 2 is wrong$"),
        ("ours", ExecutionError, "(?m)^part 2 is wrong$"),
        ("other", Exception, "part 2 "),
    ],
)
def test_what_the_work_raises_ends_the_run(
    tmp_path: Path,
    kind: str,
    error: str,
    expected: type[Exception],
    message: str,
    request: pytest.FixtureRequest,
) -> None:
    with executor(kind, request) as found:
        with pytest.raises(expected, match=message) as caught:
            list(found.run(job(tmp_path, fail=[2], kind=error), range(8)))
        assert kind == "threads" or "in work" in caught.value.__notes__[0]
        # and the executor can be used again
        assert len(list(found.run(job(tmp_path), range(2)))) == 2


def test_another_version_is_refused(tmp_path: Path) -> None:
    other = Job(WORK, "{}", version="0.0.1")
    with Processes(1) as found, pytest.raises(ExecutionError, match=r"where the work is done, and 0\.0\.1"):
        list(found.run(other, [0]))


@pytest.mark.parametrize("found", [Processes(1), Dask(None)])
def test_only_jobs_can_be_sent(found: Executor) -> None:
    with pytest.raises(TypeError, match="a Job"):
        list(found.run(lambda part: part, [0]))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@REMOTE
def test_a_set_whose_workers_are_killed_is_the_same(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """Workers are killed from outside at moments of nobody's choice; nothing is lost, nothing is there twice."""
    n = 64 * 24
    simulate_set(toy_simulator, toy_plan(n), tmp_path / "whole", description={})
    settings = {"n": n, "folder": str(tmp_path / "set"), "seconds": 0.05}
    killed: list[int] = []
    rows: list[int] = []

    with executor(kind, request) as found:

        def kill(progress: Any) -> None:
            rows.append(progress.done)
            if len(rows) in (4, 9):
                pid = _pids(found)[0]
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        simulate_set(
            toy_simulator,
            toy_plan(n),
            tmp_path / "set",
            description={},
            executor=found,
            job=Job.of(SHARDS, settings),
            progress=kill,
        )
    assert len(killed) == 2
    assert rows == [64 * (1 + i) for i in range(24)]
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def _pids(found: Executor) -> list[int]:
    """The processes of an executor's workers that are alive."""
    if isinstance(found, Processes):
        return [worker.process.pid for worker in found.workers if worker.process.is_alive()]  # type: ignore[misc]
    assert isinstance(found, Dask)
    for _ in range(200):
        pids = list(found.client.run(os.getpid).values())
        if pids:
            return pids
        time.sleep(0.05)
    raise AssertionError("no workers")


ORPHANS = """
import sys
from toy_work import WORK
from starling.execution import Job, Processes

def main():
    with Processes(2) as executor:
        for _ in executor.run(Job.of(WORK, {"folder": sys.argv[1], "seconds": 0.1}), range(400)):
            print([worker.process.pid for worker in executor.workers], flush=True)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "main.py"
    script.write_text(ORPHANS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().strip(" []\n").split(",")]
        # Ctrl-C goes to the whole group of processes of a terminal
        (os.kill if how == signal.SIGKILL else os.killpg)(process.pid, how)
    assert process.returncode != 0
    assert gone(pids)
    assert len(files(tmp_path, "part-*")) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: proceses", r"kind: .*'threads', 'processes' or 'dask'"),
        ("kind: dask", "one of `scheduler`, `local` and `slurm`"),
        ("{kind: dask, scheduler: 'tcp://a:1', local: {workers: 2}}", "give one of them"),
        ("{kind: dask, local: {}, workers: 3}", "leave `workers` out"),
        ("{kind: dask, scheduler: 'tcp://a:1', threads_per_worker: 2}", "leave `threads_per_worker` out"),
        ("{kind: threads, threads_per_worker: 2}", "leave `threads_per_worker` out"),
        ("{kind: processes, scheduler: 'tcp://a:1'}", "`scheduler` is for `kind: dask`"),
        ("{kind: dask, slurm: {jobs: 2, option: {}}}", "did you mean 'options'"),
        ("{kind: processes, workers: 0}", "greater than 0"),
    ],
)
def test_configurations_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "execution.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_execution(path)


def test_no_scheduler_answers() -> None:
    pytest.importorskip("distributed")
    with (
        pytest.raises(ExecutionError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        connect("tcp://127.0.0.1:9", timeout_s=0.5),
    ):
        pass


SBATCH = """#!/bin/sh
cp "$1" {folder}/job-$$.sh
setsid sh {folder}/job-$$.sh > {folder}/log-$$ 2>&1 < /dev/null &
echo $! > {folder}/pid-$$
echo "Submitted batch job $$"
"""
SCANCEL = """#!/bin/sh
kill -- -$(cat {folder}/pid-$1) 2>/dev/null || true
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """Commands of SLURM's names that run a job here, at once; gives the groups of processes of the jobs so far."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        path = folder / name
        path.write_text(text.format(folder=folder))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda: [int(path.read_text()) for path in sorted(folder.glob("pid-*"))]


@pytest.mark.slow
def test_jobs_of_slurm(
    tmp_path: Path, slurm: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a batch system does with jobs, one of them killed as at its walltime, with stand-ins for its commands."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    options = {"cores": 1, "memory": "2GB", "walltime": "00:10:00", "account": "stars", "interface": "lo"}
    config = ExecutionConfig.model_validate({"kind": "dask", "slurm": {"jobs": 2, "options": options}})
    work = tmp_path / "work"
    work.mkdir()
    killed = False
    results = []
    with open_executor(config) as found:
        for done in found.run(job(work, seconds=0.1), range(40)):
            results.append(done)
            if len(results) == 5 and not killed:
                killed = True
                os.killpg(slurm()[0], signal.SIGKILL)
    assert sorted(done.part for done in results) == list(range(40))
    script = next((tmp_path / "slurm").glob("job-*.sh")).read_text()
    assert "#SBATCH -A stars" in script
    assert "export PJRT_NPROC=1" in script
    assert sys.executable in script
    assert {done.result["threads"] for done in results} == {"1"}
    assert all(gone([pid]) for pid in slurm())


def test_work_can_be_opened_without_an_executor(tmp_path: Path) -> None:
    with open_work({"folder": str(tmp_path)}) as work:
        assert work("a", 3)["square"] == 9
