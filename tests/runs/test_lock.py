"""Two runs into one folder: the second is refused, until the first has ended in whatever way."""

import fcntl
import importlib
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from toy_runs import is_held, toy_fit

from starling.runs import RunError, complete, lock, merged, run
from starling.runs.lock import locked, locked_beside

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


def test_a_lock_beside_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "catalogue"
    with locked_beside(folder):
        held = subprocess.run(
            [sys.executable, "-c", _HOLD.replace("locked", "locked_beside"), folder],
            check=False,
            input="",
            capture_output=True,
            text=True,
        )
    assert f"{folder} is being written to by process" in held.stderr
    assert not folder.exists()
    with locked_beside(folder):
        pass


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


def test_a_system_without_flock_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows: it cannot be imported
    spec = importlib.util.spec_from_file_location("lock_elsewhere", lock.__file__)
    assert spec is not None
    assert spec.loader is not None
    elsewhere = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(elsewhere)
    with (
        pytest.warns(UserWarning, match=r"cannot lock .*no flock.*start no second run") as said,
        elsewhere.locked(tmp_path),
        elsewhere.locked(tmp_path),
    ):
        pass
    assert len(said) == 1


def test_who_holds_a_folder_may_ask_again_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with locked(tmp_path / "a"):
        with locked(Path("a")), locked(tmp_path / "b"):
            pass
        assert is_held(tmp_path / "a")  # what was asked for within has not let go
        assert not is_held(tmp_path / "b")
    assert not is_held(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "a"):
        raise KeyboardInterrupt
    assert not is_held(tmp_path / "a")


def test_a_run_holds_its_folder_until_it_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def watched(fit: Any, folder: Path) -> xr.DataTree:
        held.append(is_held(folder))
        return merged(fit, folder)

    monkeypatch.setattr(importlib.import_module("starling.runs.run"), "merged", watched)
    run(toy_fit(2, 2), tmp_path)
    assert held == [True]
    assert not is_held(tmp_path)
