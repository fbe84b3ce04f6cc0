"""Galaxies shared out over 2 and 8 devices: the answers of one, nothing compiled twice, nothing asked of Python."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

TESTS = Path(__file__).parents[1]
# what is tested is where arithmetic is done, not how fast: most of the time is compiling
_CHEAP = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
_COUNTS = (1, 2, 8)

pytestmark = pytest.mark.slow


class Ran(NamedTuple):
    """What a process on some devices found, what it compiled for further galaxies, and the programs that it ran."""

    found: dict[str, np.ndarray]
    compiled: dict[str, list[str]]
    programs: dict[str, str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Ran]:
    folder = tmp_path_factory.mktemp("devices")
    begun = {n: _begin(folder, n) for n in _COUNTS}
    return {n: _ran(folder, n, process) for n, process in begun.items()}


def _begin(folder: Path, n: int) -> "subprocess.Popen[str]":
    flags = f"--xla_force_host_platform_device_count={n} {_CHEAP}"
    if n == 2:
        flags += f" --xla_dump_to={folder / 'programs'} --xla_dump_hlo_as_text"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "PYTEST_"))}
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, TESTS / "toy_devices.py", folder / f"{n}.npz", str(n)],
        env=kept | {"XLA_FLAGS": flags, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def _ran(folder: Path, n: int, process: "subprocess.Popen[str]") -> Ran:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    with np.load(folder / f"{n}.npz") as file:
        found = dict(file)
    programs = {path.name: path.read_text() for path in (folder / "programs").glob("*optimizations.txt")}
    return Ran(found, json.loads(said), programs if n == 2 else {})


@pytest.mark.parametrize("n", [2, 8])
def test_the_answers_of_one_device(runs: dict[int, Ran], n: int) -> None:
    """As many galaxies on each device at once: programs differ in rounding only, which short chains leave small."""
    one, many = runs[1].found, runs[n].found
    for name, values in one.items():
        np.testing.assert_allclose(many[name], values, rtol=2e-3, atol=2e-3, err_msg=name)
    assert np.std(one["fit"], axis=(0, 1, 2)).min() > 0.1  # other galaxies have other draws


@pytest.mark.parametrize("n", _COUNTS)
def test_further_galaxies_compile_nothing(runs: dict[int, Ran], n: int) -> None:
    assert runs[n].compiled == {"by_fit": [], "by_flow": [], "settled": []}


def test_one_galaxy_on_eight_devices(runs: dict[int, Ran]) -> None:
    found = runs[8].found
    assert found["alone"].shape[0] == 1
    np.testing.assert_allclose(found["alone"][0], found["fit"][0], rtol=2e-3, atol=2e-3)


def test_no_program_asks_python_or_another_device(runs: dict[int, Ran]) -> None:
    programs = runs[2].programs
    asking = {
        name
        for name, text in programs.items()
        if re.search(r"callback|\b(in|out)feed\(|\b(send|recv)\(", text)
    }
    assert asking
    assert all("asks_python" in name for name in asking)
    shared = {name for name, text in programs.items() if "num_partitions=2" in text}
    assert len(shared) > 10
    together = re.compile(r"\b(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)")
    assert not {name for name in shared if together.search(programs[name])}
