"""Two runs into one folder: the second is refused, until the first has ended in whatever way."""

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_runs import toy_fit

from starling.runs import RunError, complete
from starling.runs.lock import locked

_HOLD = """
import sys
from pathlib import Path
from starling.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=rf"written to by process {holder.pid} on .*another folder"):
            complete(toy_fit(2, 2), tmp_path, fresh=True)
        assert not list(tmp_path.glob("run.json"))
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    complete(toy_fit(2, 2), tmp_path)
    complete(toy_fit(2, 2), tmp_path)  # what has ended has let go


def test_without_locks_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.warns(UserWarning, match=r"cannot lock .*No locks available.*start no second run"):
        complete(toy_fit(2, 2), tmp_path)


def test_a_folder_that_cannot_be_made_is_for_the_run_to_say(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write to"):
        complete(toy_fit(2, 2), tmp_path / "file")


def test_who_holds_a_folder_has_nothing_open_afterwards(tmp_path: Path) -> None:
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    with locked(tmp_path):
        pass
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before
