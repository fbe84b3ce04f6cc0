"""Jobs over processes: all get done, whatever becomes of the processes."""

import os
from pathlib import Path

import pytest

from starling.execution import Workers

# Writes what it is asked to into the file of the job; does as it is told otherwise.
MODULE = """
import json, os, sys
set_up = json.loads(sys.stdin.readline())
for line in sys.stdin:
    job = json.loads(line)
    tries = job["file"] + ".tries"
    with open(tries, "a") as file:
        file.write(f"{os.getpid()} {os.environ.get('FLAG', '')}\\n")
    n = len(open(tries).readlines())
    print("something that a library prints", flush=True)
    print(json.dumps({"state": "working"}), flush=True)
    if job["do"] == "fail":
        print(json.dumps({"failed": "it was told to"}), flush=True)
        continue
    if job["do"] == "die" or (job["do"] == "die once" and n == 1):
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    if job["do"] == "hang":
        import time; time.sleep(1000)
    with open(job["file"], "w") as file:
        file.write(set_up["greeting"])
    print(json.dumps({"done": True}), flush=True)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "obedient_worker.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return "obedient_worker"


def jobs(folder: Path, *what: str) -> list[dict[str, str]]:
    return [{"do": do, "file": str(folder / f"{number}.out")} for number, do in enumerate(what)]


def test_every_job_is_done_or_says_why_not(module: str, tmp_path: Path) -> None:
    given = jobs(tmp_path, "work", "fail", "die once", "die", "work", "work")
    with Workers(module, {"greeting": "hello"}, given, 2, {"FLAG": "up"}) as workers:
        reasons = [workers.result(number, 30.0) for number in range(len(given))]
        assert workers.state() == (len(given), {})
    assert [reasons[number] for number in (0, 2, 4, 5)] == ["", "", "", ""]
    assert reasons[1] == "it was told to"
    assert reasons[3] is not None
    assert "ended 2 times, at last with signal 9" in reasons[3]
    assert "last words" in reasons[3]
    written = [Path(job["file"]).exists() for job in given]
    assert written == [True, False, True, False, True, True]
    assert Path(given[0]["file"]).read_text() == "hello"
    tries = Path(given[2]["file"] + ".tries").read_text().split("\n")[:2]
    assert len(set(tries)) == 2, "a job whose process ended goes to a new one"
    assert all(line.endswith(" up") for line in tries)


def test_closing_ends_what_hangs(module: str, tmp_path: Path) -> None:
    given = jobs(tmp_path, "hang", "work")
    workers = Workers(module, {"greeting": ""}, given, 1)
    assert workers.result(0, 0.2) is None
    while not (path := Path(given[0]["file"] + ".tries")).exists() or not path.read_text().endswith("\n"):
        assert workers.result(0, 0.1) is None
    pid = int(path.read_text().split()[0])
    workers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert workers.result(0, 0.0) == "stopped"
    assert workers.result(1, 0.0) is None


def test_no_job_starts_no_process() -> None:
    with Workers("no.such.module", {}, [], 4) as workers:
        assert workers.state() == (0, {})


def test_a_module_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    with Workers("no_such_module_at_all", {}, jobs(tmp_path, "work"), 1) as workers:
        reason = workers.result(0, 30.0)
    assert reason is not None
    assert "No module named" in reason
