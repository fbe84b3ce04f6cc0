"""Simulated sets: reproducible points, resume with the identical result, failures kept, foreign folders refused."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import zarr
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from starling.execution import Threads
from starling.parameters import Parameter, ParameterSpace
from starling.priors import Uniform
from starling.simulation import (
    FAILURE,
    DrawPlan,
    Progress,
    StoppedError,
    StorageError,
    draw_chunk,
    failures,
    points_plan,
    read_set,
    simulate_set,
)
from starling.simulation.draws import shuffled
from starling.simulation.shards import RECORDS, batches, missing_shards, read_record, write_atomically
from starling.simulation.store import FAILED, MANIFEST, read_manifest
from starling.spaces import prospector_alpha, training_space

SPACE = prospector_alpha(agn=False)


def simulator(theta: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "rest_flux": theta[:, :3] ** 2,
        "properties": theta[:, 3:5],
        "lines": theta[:, :0],
        "infrared_share": theta[:, 2],
    }


def make(folder: Path, n: int = 200, seed: int = 1, **options: Any) -> int:
    return simulate_set(
        simulator, DrawPlan(SPACE, n, seed, chunk=64), folder, description={"bands": ["a"]}, **options
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def shard(folder: Path, index: int) -> Path:
    return folder / "data.zarr" / "rest_flux" / "c" / str(index) / "0"


@pytest.mark.parametrize("method", ["sobol", "uniform", "latin_hypercube"])
def test_draws_follow_the_prior(method: Any) -> None:
    plan = DrawPlan(training_space(SPACE), 4096, 5, method, 2048)
    theta = np.concatenate([draw_chunk(plan, i) for i in range(plan.n_chunks)])
    expected = np.asarray(plan.space.sample(jax.random.key(0), (20000,)))
    low, high = plan.space.bounds
    assert np.all((theta >= low - 1e-4) & (theta <= high + 1e-4))
    # 5 standard errors of a quantile, in units of the distance between the quartiles
    for q in (0.25, 0.5, 0.75):
        width = np.quantile(expected, 0.75, axis=0) - np.quantile(expected, 0.25, axis=0)
        offset = (np.quantile(theta, q, axis=0) - np.quantile(expected, q, axis=0)) / width
        assert np.all(np.abs(offset) < 0.06), q


def test_a_latin_hypercube_has_one_draw_in_every_part_of_every_parameter() -> None:
    unit = ParameterSpace("unit", tuple(Parameter(name, Uniform(0.0, 1.0)) for name in "abc"))
    plan = DrawPlan(unit, 100, 3, "latin_hypercube", 32)
    theta = np.concatenate([draw_chunk(plan, i)[: plan.rows(i)] for i in range(plan.n_chunks)])
    parts = np.floor(100 * theta.astype(float) + 1e-5).astype(int)
    np.testing.assert_array_equal(np.sort(parts, axis=0), np.tile(np.arange(100), (3, 1)).T)
    correlation = np.corrcoef(parts, rowvar=False) - np.eye(3)
    assert np.max(np.abs(correlation)) < 0.4  # four standard errors of 1/10


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 3000), seed=st.integers(0, 2**31))
def test_a_permutation_that_is_never_whole(n: int, seed: int) -> None:
    found = shuffled(np.arange(n), n, (seed, 0))
    np.testing.assert_array_equal(np.sort(found), np.arange(n))
    np.testing.assert_array_equal(shuffled(np.arange(n // 2, n), n, (seed, 0)), found[n // 2 :])


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.sampled_from([16, 64, 128]),
    method=st.sampled_from(["sobol", "uniform"]),
)
def test_a_longer_plan_continues_a_shorter_one(seed: int, size: int, method: Any) -> None:
    short, long = (DrawPlan(SPACE, n, seed, method, size) for n in (size + 1, 3 * size))
    np.testing.assert_array_equal(draw_chunk(short, 1), draw_chunk(long, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n": 0}, "at least one"), ({"chunk": 48}, "power of two")],
)
def test_bad_plans(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DrawPlan(**({"space": SPACE, "n": 10, "seed": 1} | options))


def given_points(n: int) -> dict[str, np.ndarray]:
    theta = np.asarray(SPACE.sample(jax.random.key(1), (n,)), float)
    return {name: theta[:, column] for column, name in enumerate(SPACE.names)}


def test_points_that_are_given(tmp_path: Path) -> None:
    columns = given_points(70) | {"id": np.arange(70)}
    plan = points_plan(SPACE, columns, 32)
    assert simulate_set(simulator, plan, tmp_path / "set", description={}, executor=Threads(2)) == 0
    result = read_set(tmp_path / "set")
    np.testing.assert_array_equal(result.theta[:, 0], columns["logmass"].astype(np.float32))
    other = points_plan(SPACE, columns | {"zred": np.full(70, 1.0)}, 32)
    with pytest.raises(ValueError, match=r"another draws\.sha256"):
        simulate_set(simulator, other, tmp_path / "set", description={})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zred": None}, r"points\.csv has no column 'zred'; did you mean 'zreds'"),
        ({"dust2": np.nan}, "dust2 is empty or no number in row 3 and 1 more"),
        ({"zred": 7.0}, r"zred = 7 is outside the space .* from 0.5 to 3, in row 3 and 1 more"),
    ],
)
def test_points_that_are_no_points(changes: dict[str, Any], message: str) -> None:
    columns = given_points(5)
    for name, value in changes.items():
        if value is None:
            columns["zreds"] = columns.pop(name)
        else:
            columns[name] = np.where(np.arange(5) % 2 == 0, columns[name], value)
            columns[name][[1, 3]], columns[name][[2, 4]] = columns[name][[0, 2]], value
    with pytest.raises(ValueError, match=message):
        points_plan(SPACE, columns, 32, "points.csv")


def test_the_set_holds_what_the_simulator_says(tmp_path: Path) -> None:
    seen: list[Progress] = []
    assert make(tmp_path / "set", progress=seen.append) == 0
    result = read_set(tmp_path / "set")
    assert result.theta.shape == (200, len(SPACE))
    for name, expected in simulator(result.theta).items():
        np.testing.assert_array_equal(result.outputs[name], expected)
    assert [p.done for p in seen] == [64, 128, 192, 200]
    assert "200/200 rows" in str(seen[-1])
    first = read_set(tmp_path / "set", 70)
    np.testing.assert_array_equal(first.theta, result.theta[:70])
    streamed = list(batches(tmp_path / "set", 200, 90))
    assert [len(batch["theta"]) for batch in streamed] == [90, 90, 20]
    np.testing.assert_array_equal(np.concatenate([batch["theta"] for batch in streamed]), result.theta)


def test_any_reader_of_zarr_opens_it(tmp_path: Path) -> None:
    make(tmp_path)
    group = zarr.open_group(tmp_path / "data.zarr", mode="r")
    expected = ["infrared_share", "lines", "properties", "rest_flux", "theta"]
    assert sorted(name for name, _ in group.arrays()) == expected
    array = group["rest_flux"]
    assert (array.shape, array.shards, array.dtype) == ((200, 3), (64, 3), np.float32)
    assert array.metadata.dimension_names == ("row", "band")
    manifest = read_manifest(tmp_path)
    assert manifest["identity"]["draws"] | {"space": 0} == {
        "space": 0,
        "seed": 1,
        "method": "sobol",
        "chunk": 64,
    }
    assert manifest["versions"][0]["zarr"] == zarr.__version__


def test_shards_are_the_bytes_that_zarr_writes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((1500, 3), np.float32)

    def simulate(theta: np.ndarray) -> dict[str, np.ndarray]:
        return {"rest_flux": values[: len(theta)] + theta[:, :1]}

    plan = DrawPlan(SPACE, 1500, 1, chunk=1024)
    simulate_set(simulate, plan, tmp_path / "set", description={})
    array = zarr.open_group(tmp_path / "set" / "data.zarr", mode="r")["rest_flux"]
    again = zarr.create_array(
        tmp_path / "again",
        shape=array.shape,
        chunks=array.chunks,
        shards=array.shards,
        dtype="<f4",
        compressors=array.compressors,
        fill_value=float("nan"),
    )
    again[:] = array[:]
    for index in ("0", "1"):
        ours, theirs = shard(tmp_path / "set", int(index)), tmp_path / "again" / "c" / index / "0"
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_stopped_and_resumed_set_is_identical_whatever_the_workers(tmp_path: Path) -> None:
    make(tmp_path / "whole")
    asked = iter([False, True])
    with pytest.raises(StoppedError, match="64 of 200 rows"):
        make(tmp_path / "parts", should_stop=lambda: next(asked))
    with pytest.raises(ValueError, match="has 64 of 200 rows: run the `starling simulate`"):
        read_set(tmp_path / "parts")
    seen: list[Progress] = []
    make(tmp_path / "parts", executor=Threads(3), progress=seen.append)
    assert seen[-1].done == 200
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from starling.execution import Threads
from starling.simulation import DrawPlan, simulate_set
from starling.spaces import prospector_alpha

def simulator(theta):
    time.sleep(0.1)
    return {
        "rest_flux": theta[:, :3] ** 2,
        "properties": theta[:, 3:5],
        "lines": theta[:, :0],
        "infrared_share": theta[:, 2],
    }

plan = DrawPlan(prospector_alpha(agn=False), 1600, 1, chunk=64)
simulate_set(simulator, plan, Path(sys.argv[1]), description={"bands": ["a"]}, executor=Threads(int(sys.argv[2])))
"""


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    make(tmp_path / "whole", n=1600)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "parts"), "3"])
    try:
        while len(list((tmp_path / "parts" / RECORDS).glob("*.json"))) < 7:
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    # what a process leaves that dies while it writes
    (tmp_path / "parts" / ".manifest.json.1.1.part").write_bytes(b"{")
    (tmp_path / "parts" / RECORDS / ".000001.json.1.1.part").write_bytes(b"{")
    (tmp_path / "parts" / "data.zarr" / "theta" / "zarr.1a.partial").write_bytes(b"{")
    (shard(tmp_path / "parts", 24).parent).mkdir(parents=True, exist_ok=True)
    (shard(tmp_path / "parts", 24).parent / ".0.1.1.part").write_bytes(b"half")
    (tmp_path / "parts" / "data.zarr" / "infrared_share" / "c" / ".24.1.1.part").write_bytes(b"half")
    assert len(missing_shards(tmp_path / "parts", [64] * 25)) <= 18
    make(tmp_path / "parts", n=1600, executor=Threads(2))
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_a_damaged_shard_is_made_again(tmp_path: Path) -> None:
    make(tmp_path / "set")
    before = contents(tmp_path / "set")
    content = bytearray(shard(tmp_path / "set", 0).read_bytes())
    content[100] ^= 1
    shard(tmp_path / "set", 0).write_bytes(bytes(content))
    shard(tmp_path / "set", 1).write_bytes(b"half a file")
    shard(tmp_path / "set", 2).write_bytes(shard(tmp_path / "set", 1).read_bytes())
    (tmp_path / "set" / RECORDS / "000003.json").write_text("{")
    with pytest.raises(ValueError, match="has 192 of 200 rows"):
        read_set(tmp_path / "set")
    with pytest.raises(ValueError, match=r"rows 0 to 64 of .* are damaged .*checksum"):
        read_set(tmp_path / "set", 64)
    assert missing_shards(tmp_path / "set", [64, 64, 64, 8]) == [0, 1, 2, 3]
    make(tmp_path / "set")
    assert contents(tmp_path / "set") == before


@pytest.mark.parametrize("path", ["zarr.json", "theta/zarr.json"])
def test_damaged_metadata_are_made_again(tmp_path: Path, path: str) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "data.zarr" / path).write_text("{")
    make(tmp_path)
    assert contents(tmp_path) == before


def flaky(theta: np.ndarray) -> dict[str, Any]:
    outputs: dict[str, Any] = {name: array.copy() for name, array in simulator(theta).items()}
    outputs["rest_flux"][3, 1], outputs["properties"][5, 0] = np.nan, np.inf
    if len(theta) > 7:
        outputs[FAILURE] = ["the tables end" if row == 7 else "" for row in range(len(theta))]
    return outputs


def test_failed_galaxies_are_kept_with_their_reasons_and_left_out(tmp_path: Path) -> None:
    seen: list[Progress] = []
    plan = DrawPlan(SPACE, 128, 1, chunk=64)
    failed = simulate_set(flaky, plan, tmp_path / "set", description={}, progress=seen.append)
    assert failed == 6
    assert "6 failed" in str(seen[-1])
    expected = {3: "not finite: rest_flux", 5: "not finite: properties", 7: "the tables end"}
    expected |= {row + 64: reason for row, reason in expected.items()}
    assert failures(tmp_path / "set") == expected
    record = read_record(tmp_path / "set", 1)
    assert record is not None
    assert list(record.failed) == [67, 69, 71]
    result = read_set(tmp_path / "set")
    assert (result.n_failed, len(result.theta)) == (6, 122)
    assert np.all(np.isfinite(result.outputs["rest_flux"]))
    table = Table.read(tmp_path / "set" / FAILED)
    assert dict(zip(table["row"], table["reason"], strict=True)) == expected
    again = points_plan(SPACE, {name: np.asarray(table[name]) for name in table.colnames[2:]}, 64)
    np.testing.assert_array_equal(again.theta[3:], draw_chunk(plan, 1)[[3, 5, 7]])
    assert simulate_set(flaky, plan, tmp_path / "set", description={}) == 6


def test_a_set_in_which_everything_failed(tmp_path: Path) -> None:
    def broken(theta: np.ndarray) -> dict[str, Any]:
        return {"rest_flux": theta[:, :3], FAILURE: np.full(len(theta), "no tables")}

    assert simulate_set(broken, DrawPlan(SPACE, 20, 1, chunk=16), tmp_path, description={}) == 20
    with pytest.raises(ValueError, match=r"all 20 galaxies .* failed, the first one: no tables"):
        read_set(tmp_path)


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "set")
    with pytest.raises(ValueError, match=r"made with another draws\.seed;.*remove this one"):
        make(tmp_path / "set", seed=2)
    with pytest.raises(ValueError, match=r"another simulator\.bands"):
        simulate_set(
            simulator, DrawPlan(SPACE, 200, 1, chunk=64), tmp_path / "set", description={"bands": ["b"]}
        )


def test_a_changed_simulator_is_noticed(tmp_path: Path) -> None:
    make(tmp_path)

    def changed(theta: np.ndarray) -> dict[str, np.ndarray]:
        return simulator(theta) | {"rest_flux": 1.01 * theta[:, :3] ** 2}

    with pytest.raises(ValueError, match="no longer gives the rest_flux"):
        simulate_set(changed, DrawPlan(SPACE, 200, 1, chunk=64), tmp_path, description={"bands": ["a"]})


def test_a_set_can_be_lengthened_and_is_never_cut(tmp_path: Path) -> None:
    make(tmp_path / "short", n=100)
    make(tmp_path / "short", n=200)
    make(tmp_path / "short", n=100)
    make(tmp_path / "long", n=200)
    assert contents(tmp_path / "short") == contents(tmp_path / "long")


def test_other_libraries_are_noted(tmp_path: Path) -> None:
    make(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["versions"][0]["numpy"] = "1.0"
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    make(tmp_path)
    assert [found["numpy"] for found in read_manifest(tmp_path)["versions"]] == ["1.0", np.__version__]


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="not a simulated set of format version 3 but something else"):
        make(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "starling-simulated-set", "version": 2}')
    with pytest.raises(ValueError, match=r"but version 2; remove the folder, and simulate anew"):
        make(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="not a readable manifest"):
        make(tmp_path)


def test_an_error_of_the_simulator_ends_the_call_and_keeps_what_is_done(tmp_path: Path) -> None:
    calls = 0

    def broken(theta: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("no more")
        return simulator(theta)

    plan = DrawPlan(SPACE, 200, 1, chunk=64)
    with pytest.raises(RuntimeError, match="no more"):
        simulate_set(broken, plan, tmp_path, description={})
    assert missing_shards(tmp_path, [64, 64, 64, 8]) == [2, 3]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda theta: {"rest_flux": theta[:5], "properties": theta}, "for 64 galaxies"),
        (lambda _: {}, "nothing for 64"),
        (lambda theta: {"rest_flux": theta, FAILURE: [""]}, "1 reasons of failure for 64"),
    ],
)
def test_wrong_shapes_are_an_error(tmp_path: Path, outputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_set(outputs, DrawPlan(SPACE, 10, 1, chunk=64), tmp_path, description={})


def test_a_shape_that_changes_is_an_error(tmp_path: Path) -> None:
    widths = iter((3, 2))
    with pytest.raises(ValueError, match=r"gave rest_flux of shape \(2,\) per galaxy, and \(3,\) before"):
        simulate_set(
            lambda theta: {"rest_flux": theta[:, : next(widths)]},
            DrawPlan(SPACE, 200, 1, chunk=64),
            tmp_path,
            description={},
        )


def test_a_disk_that_fills_up_keeps_what_is_done(tmp_path: Path) -> None:
    make(tmp_path / "whole", n=4096)

    def wide(theta: np.ndarray) -> dict[str, np.ndarray]:
        return {"rest_flux": np.repeat(theta, 60, axis=1)}

    plan = DrawPlan(SPACE, 2048, 1, chunk=1024)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # a shard of rest_flux has 3.9 MB
    try:
        with pytest.raises(StorageError, match=r"File too large; what is finished is safe: make room"):
            simulate_set(wide, plan, tmp_path / "set", description={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert missing_shards(tmp_path / "set", [1024, 1024]) == [0, 1]
    simulate_set(wide, plan, tmp_path / "set", description={})
    simulate_set(wide, plan, tmp_path / "again", description={})
    assert contents(tmp_path / "set") == contents(tmp_path / "again")


def test_no_space_left_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        nonlocal written
        written += "rest_flux" in str(target)
        if written > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left on device; what is finished is safe"):
        make(tmp_path)
    monkeypatch.undo()
    assert missing_shards(tmp_path, [64, 64, 64, 8]) == [2, 3]


def test_a_disk_that_is_too_small_is_told_after_the_first_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match=r"has 1e-07 GB left, and the rest of the set needs"):
        make(tmp_path)
    assert missing_shards(tmp_path, [64, 64, 64, 8]) == [1, 2, 3]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write to .*: Not a directory.*another folder with --out"):
        make(tmp_path / "file" / "set")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        make(tmp_path / "set")


def test_a_failed_write_leaves_no_part(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(target, b"text")
    assert list(tmp_path.iterdir()) == [target]
