import json
import os
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from starling.runs import Fit, RunError, RunProgress, hash_arrays, progress_bar, run
from starling.runs.run import parts

IDS = tuple(f"g{i}" for i in range(10))
INPUTS = {"table": "abc", "sampler": {"n_draws": 5}}


class Sampler:
    """Draws that depend on the part only; counts its calls and stops like a killed process where it is told to."""

    def __init__(self, stop_at: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.calls: list[int] = []
        self.stop_at = stop_at
        self.error = error

    def __call__(self, part: int, start: int, stop: int, report: Callable[[float, str], None]) -> xr.DataTree:
        self.calls.append(part)
        report(0.5, "sampling")
        if part == self.stop_at:
            raise self.error
        return make_tree(part, start, stop)


def make_tree(part: int, start: int, stop: int) -> xr.DataTree:
    rng = np.random.default_rng(part)
    galaxies = {"galaxy": list(IDS[start:stop])}
    draws = (("chain", "draw", "galaxy"), rng.normal(size=(2, 3, stop - start)))
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"created": "now", "versions": "1"}),
            "posterior": xr.Dataset({"logmass": draws}, coords=galaxies),
            "diagnostics": xr.Dataset(
                {
                    "passed": ("galaxy", np.arange(start, stop) % 2 == 0),
                    "flag": ("galaxy", ["long" * i for i in range(start, stop)]),
                },
                coords=galaxies,
            ),
            "constant_data": xr.Dataset(
                {"wave_effective_aa": ("band", [1.0, 2.0]), "zred": ("galaxy", np.arange(start, stop) * 0.1)},
                coords={"band": ["u", "v"], **galaxies},
            ),
        }
    )


def do(folder: Path, sample: Sampler, **options: object) -> xr.DataTree:
    fit = {name: options.pop(name) for name in ("inputs", "batch_size") if name in options}
    return run(Fit(IDS, sample, **{"inputs": INPUTS, "batch_size": 4, **fit}), folder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [
        (10, 4, [(0, 4), (4, 8), (8, 10)]),
        (65, 64, [(0, 33), (33, 65)]),
        (64, 64, [(0, 64)]),
        (3, 64, [(0, 3)]),
        (1, 1, [(0, 1)]),
    ],
)
def test_parts_cover_all_galaxies(n: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert parts(n, size) == expected


def test_parts_are_joined_in_order(tmp_path: Path) -> None:
    tree = do(tmp_path, Sampler())
    assert tuple(tree["posterior"]["galaxy"].values) == IDS
    assert tree["posterior"]["logmass"].dims == ("chain", "draw", "galaxy")
    np.testing.assert_array_equal(
        tree["posterior"]["logmass"][..., 4:8], make_tree(1, 4, 8)["posterior"]["logmass"]
    )
    assert tree["constant_data"]["wave_effective_aa"].dims == ("band",)
    np.testing.assert_allclose(tree["constant_data"]["zred"], np.arange(10) * 0.1)
    assert list(tree["diagnostics"]["flag"].values) == ["long" * i for i in range(10)]
    assert tree.attrs == {"versions": "1"}, "parts do not say when they were made"


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_a_stopped_run_goes_on_with_identical_results(stop_at: int, tmp_path: Path) -> None:
    whole = do(tmp_path / "whole", Sampler())
    with pytest.raises(KeyboardInterrupt):
        do(tmp_path / "stopped", Sampler(stop_at))
    later = Sampler()
    tree = do(tmp_path / "stopped", later)
    assert later.calls == list(range(stop_at, 3))
    xr.testing.assert_identical(tree, whole)
    again = Sampler()
    xr.testing.assert_identical(do(tmp_path / "stopped", again), whole)
    assert not again.calls


def test_texts_of_a_resumed_run_are_whole_when_written(tmp_path: Path) -> None:
    do(tmp_path, Sampler())
    do(tmp_path, Sampler()).to_netcdf(tmp_path / "merged.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "merged.nc", engine="h5netcdf") as tree:
        assert list(tree["diagnostics"]["flag"].values) == ["long" * i for i in range(10)]


def test_a_part_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    whole = do(tmp_path, Sampler())
    path = tmp_path / "parts" / "part-00001.nc"
    path.write_bytes(path.read_bytes()[:2000])
    (tmp_path / "parts" / ".part-00002.nc.partial").write_bytes(b"half")
    sample = Sampler()
    xr.testing.assert_identical(do(tmp_path, sample), whole)
    assert sample.calls == [1]


def test_changed_inputs_are_an_error_with_the_mend(tmp_path: Path) -> None:
    do(tmp_path, Sampler())
    with pytest.raises(RunError, match=r"changed: table \(abc -> other\)\. Use --fresh"):
        do(tmp_path, Sampler(), inputs={**INPUTS, "table": "other"})
    with pytest.raises(RunError, match="changed: batch size"):
        do(tmp_path, Sampler(), batch_size=5)
    sample = Sampler()
    do(tmp_path, sample, inputs={**INPUTS, "table": "other"}, fresh=True)
    assert sample.calls == [0, 1, 2]


def test_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read as the record of a run; use --fresh"):
        do(tmp_path, Sampler())
    do(tmp_path, Sampler(), fresh=True)
    assert json.loads((tmp_path / "run.json").read_text())["inputs"]["table"] == "abc"


def test_fresh_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "mine.txt").write_text("mine")
    do(tmp_path, Sampler(), fresh=True)
    assert (tmp_path / "parts" / "mine.txt").exists()


def test_a_folder_that_cannot_be_written_stops_before_sampling(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sample = Sampler()
    with pytest.raises(RunError, match=r"cannot write to .*; choose another folder with --out"):
        do(tmp_path / "file" / "out", sample)
    assert not sample.calls


def test_a_full_disk_stops_before_sampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 5000, 5000))
    sample = Sampler()
    with pytest.raises(RunError, match=r"has 0\.0 MB left, the results need about 2\.5 GB"):
        do(tmp_path, sample, needed_bytes=2_500_000_000)
    assert not sample.calls


def test_a_run_that_goes_on_needs_room_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        do(tmp_path, Sampler(stop_at=2))  # 2 of 10 galaxies are missing
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 0, 2100))
    with pytest.raises(RunError, match="need about"):
        do(tmp_path, Sampler(), needed_bytes=10_000, merged_bytes=101)
    do(tmp_path, Sampler(), needed_bytes=10_000, merged_bytes=100)
    with pytest.raises(RunError, match="need about"):
        do(tmp_path, Sampler(), needed_bytes=10_000, fresh=True)


def test_only_abandoned_files_are_removed(tmp_path: Path) -> None:
    do(tmp_path, Sampler())
    young, old = (tmp_path / "parts" / f".part-00001.nc.{name}.partial" for name in ("a", "b"))
    young.write_bytes(b"half")
    old.write_bytes(b"half")
    os.utime(old, (time.time() - 3600,) * 2)
    do(tmp_path, Sampler())
    assert young.exists()
    assert not old.exists()


def test_a_disk_that_fills_up_keeps_the_parts_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def fail(path: Path, content: bytes) -> int:
        if "00001" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(RunError, match="No space left on device; earlier parts are safe"):
            do(tmp_path, Sampler())
    sample = Sampler()
    do(tmp_path, sample)
    assert sample.calls == [1, 2]


def test_progress_counts_galaxies_and_what_passed(tmp_path: Path) -> None:
    seen: list[RunProgress] = []
    do(tmp_path, Sampler(), progress=seen.append)
    assert [(now.done, now.passed) for now in seen if now.stage == "starting"] == [(0, 0), (4, 2), (8, 4)]
    assert [now.completed for now in seen] == sorted(now.completed for now in seen)
    assert (seen[-1].done, seen[-1].passed, seen[-1].completed) == (10, 5, 10)
    assert seen[1].completed == 2.0


def test_the_bar_shows_galaxies_and_what_passed() -> None:
    console = Console(record=True, width=120, force_terminal=True)
    with progress_bar(console, 10) as show:
        show(RunProgress(4, 10, 3, 4, 0.5, "sampling"))
    text = console.export_text()
    assert "4/10 galaxies, 3 passed" in text
    assert "sampling" in text


def test_a_log_gets_a_line_per_part() -> None:
    console = Console(record=True, width=120, force_terminal=False)
    with progress_bar(console, 10) as show:
        for done, passed in ((0, 0), (4, 3), (4, 3), (10, 8)):
            show(RunProgress(done, 10, passed, 4, 0.5, "sampling"))
    assert console.export_text().splitlines() == ["4/10 galaxies, 3 passed", "10/10 galaxies, 8 passed"]


def test_hashes_tell_arrays_apart() -> None:
    one = {"a": np.arange(3.0), "b": (np.ones(2, bool), "x")}
    assert hash_arrays(one) == hash_arrays({"a": np.arange(3.0), "b": (np.ones(2, bool), "x")})
    for other in (
        {"a": np.arange(3), "b": (np.ones(2, bool), "x")},
        {"a": np.arange(3.0), "b": (np.ones(2, bool), "y")},
        {"c": np.arange(3.0), "b": (np.ones(2, bool), "x")},
    ):
        assert hash_arrays(other) != hash_arrays(one)
