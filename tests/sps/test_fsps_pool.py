"""What becomes of galaxies whose process hangs, stops or is ended: with a process that does so when it is told."""

import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from starling.spaces import prospector_alpha
from starling.sps.fsps import FspsError
from starling.sps.fsps.pool import Pool, Timeouts
from starling.sps.fsps.translate import Galaxies, settings_of

N_PARAMETERS = len(settings_of(prospector_alpha()).names)

# The protocol of `worker.py`; the first parameter of a galaxy says what happens to it, or to the setup.
WORKER = """
import json, os, signal, sys, time
from multiprocessing.connection import Connection
import numpy as np

socket = Connection(int(sys.argv[1]))
def send(tag, content):
    socket.send_bytes(tag + json.dumps(content).encode())

send(b"L", {"libraries": ["mist", "c3k_lr", "DL07"], "version": "fake"})
socket.recv_bytes()
SETUP
send(b"I", {"wave_aa": [1.0, 2.0], "line_wave_aa": [3.0], "log_age": [5.0], "metals": [0.01], "solar": 0.0185})
while True:
    try:
        numbers = np.frombuffer(socket.recv_bytes()[1:])
    except EOFError:
        break
    deed, index = numbers[2], int(numbers[0])
    if deed == 1:
        time.sleep(60)
    elif deed == 2:
        print(" SPS ERROR: a table that cannot be opened", flush=True)
        os._exit(0)
    elif deed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed == 4:
        send(b"E", {"index": index, "reason": "AssertionError: out of range"})
        continue
    value = np.nan if deed == 5 else numbers[3]
    socket.send_bytes(b"R" + np.array([index, 1.0, 2.0, 3.0, value, value, value]).tobytes())
"""

OpenPool = Callable[..., Pool]


@pytest.fixture
def open_pool(surrogate_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenPool]:
    """Pools of the made-up process, ended after the test; FSPS itself does not have to be there."""
    monkeypatch.setattr("starling.sps.fsps.pool.find_spec", lambda name: name)
    pools = []

    def make(workers: int = 1, setup: str = "", galaxy_s: float = 20.0, start_s: float = 20.0) -> Pool:
        script = tmp_path / "worker.py"
        script.write_text(textwrap.dedent(WORKER).replace("SETUP", setup))
        settings = settings_of(prospector_alpha())
        pools.append(Pool(surrogate_home, settings, workers, Timeouts(start_s, galaxy_s), script))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def test_without_python_fsps_the_message_says_how_to_get_it(
    surrogate_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starling.sps.fsps.pool.find_spec", {}.get)
    with pytest.raises(FspsError, match=r"pip install 'starling-sed\[fsps\]'"):
        Pool(surrogate_home, settings_of(prospector_alpha()))


def _galaxies(deeds: list[int]) -> Galaxies:
    """Galaxy i has the value i; they are wanted in the reverse order."""
    n = len(deeds)
    parameters = np.zeros((n, N_PARAMETERS))
    parameters[:, 0], parameters[:, 1] = deeds, np.arange(n)
    return Galaxies(parameters, np.ones((n, 2, 4)), -np.arange(n, dtype=float))


def _check(pool: Pool, deeds: list[int]) -> dict[int, str]:
    answers = pool.run(_galaxies(deeds))
    good = np.array(deeds) == 0
    np.testing.assert_array_equal(np.isnan(answers.numbers).all(axis=1), ~good)
    np.testing.assert_array_equal(answers.numbers[good, 3], np.flatnonzero(good))
    assert sorted(answers.failures) == np.flatnonzero(~good).tolist()
    return answers.failures


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_answers_come_in_the_order_of_the_galaxies(open_pool: OpenPool, workers: int) -> None:
    pool = open_pool(workers)
    assert not _check(pool, [0] * 20)
    assert not _check(pool, [0])


def test_a_galaxy_that_stops_its_process_is_recorded_and_the_others_go_on(open_pool: OpenPool) -> None:
    pool = open_pool(2)
    first = {process.pid for process in pool.processes}
    failures = _check(pool, [0, 0, 2, 0, 0, 3, 0, 4, 0, 5, 0])
    assert "Fortran STOP" in failures[2]
    assert "a table that cannot be opened" in failures[2]
    assert "SIGKILL" in failures[5]
    assert failures[7] == "AssertionError: out of range"
    assert "not finite" in failures[9]
    assert len({process.pid for process in pool.processes} - first) >= 1
    assert not _check(pool, [0] * 5)


def test_a_galaxy_that_hangs_is_recorded_though_another_process_is_busy(open_pool: OpenPool) -> None:
    failures = _check(open_pool(2, galaxy_s=1.0), [0] * 5 + [1] + [0] * 5)
    assert "more than 1 s" in failures[5]


def test_processes_that_end_one_after_the_other_end_the_run(open_pool: OpenPool) -> None:
    pool = open_pool()
    with pytest.raises(FspsError, match=r"3 FSPS processes ended one after the other: .*cannot be opened"):
        pool.run(_galaxies([2] * 10))
    with pytest.raises(FspsError, match="have been ended"):
        pool.run(_galaxies([0]))


def test_a_run_without_any_result_is_an_error(open_pool: OpenPool) -> None:
    with pytest.raises(FspsError, match=r"failed at all 5 galaxies: AssertionError: out of range$"):
        open_pool(2).run(_galaxies([4] * 5))


def test_a_stop_during_the_setup_says_what_fsps_said(open_pool: OpenPool) -> None:
    setup = "print(' SPS_SETUP ERROR: isochrone files cannot be opened', flush=True); os._exit(0)"
    with pytest.raises(
        FspsError, match=r"read its tables in .*Fortran STOP.*isochrone files cannot be opened"
    ):
        open_pool(setup=setup)


def test_a_setup_that_hangs_is_ended(open_pool: OpenPool) -> None:
    with pytest.raises(FspsError, match="more than 1 s while FSPS read its tables"):
        open_pool(setup="time.sleep(60)", start_s=1.0)


def test_threads_take_turns(open_pool: OpenPool) -> None:
    pool = open_pool(2)
    threads = [threading.Thread(target=_check, args=(pool, [0] * 10)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not _check(pool, [0] * 3)
