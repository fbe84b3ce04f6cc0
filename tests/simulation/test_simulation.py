"""Simulated sets: reproducible draws, resume with the identical result, failures counted, foreign folders refused."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling.simulation import DrawPlan, Progress, StoppedError, draw_chunk, read_set, simulate_set
from starling.simulation.store import chunk_path, write_atomically
from starling.spaces import prospector_alpha, training_space

SPACE = prospector_alpha(agn=False)


def simulator(theta: np.ndarray) -> dict[str, np.ndarray]:
    return {"rest_flux": theta[:, :3] ** 2, "properties": theta[:, 3:5]}


def make(folder: Path, n: int = 200, seed: int = 1, **options: Any) -> int:
    return simulate_set(
        simulator, DrawPlan(SPACE, n, seed, chunk=64), folder, description={"bands": ["a"]}, **options
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("method", ["sobol", "uniform"])
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


def test_the_set_holds_what_the_simulator_says(tmp_path: Path) -> None:
    seen: list[Progress] = []
    assert make(tmp_path / "set", progress=seen.append) == 0
    result = read_set(tmp_path / "set", 4)
    assert result.theta.shape == (200, len(SPACE))
    for name, expected in simulator(result.theta).items():
        np.testing.assert_array_equal(result.outputs[name], expected)
    assert [p.done for p in seen] == [64, 128, 192, 200]
    assert "200/200 rows" in str(seen[-1])


def test_a_stopped_and_resumed_set_is_identical_whatever_the_workers(tmp_path: Path) -> None:
    make(tmp_path / "whole")
    with pytest.raises(StoppedError, match="64 of 200 rows"):
        make(tmp_path / "parts", should_stop=lambda: True)
    seen: list[Progress] = []
    make(tmp_path / "parts", workers=3, progress=seen.append)
    assert seen[-1].done == 200
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_a_damaged_chunk_is_made_again(tmp_path: Path) -> None:
    make(tmp_path / "set")
    before = contents(tmp_path / "set")
    chunk_path(tmp_path / "set", 1).write_bytes(b"half a file")
    chunk_path(tmp_path / "set", 2).write_bytes(chunk_path(tmp_path / "set", 3).read_bytes())
    make(tmp_path / "set")
    assert contents(tmp_path / "set") == before


def test_failed_rows_are_counted_and_left_out(tmp_path: Path) -> None:
    def flaky(theta: np.ndarray) -> dict[str, np.ndarray]:
        outputs = {name: array.copy() for name, array in simulator(theta).items()}
        outputs["rest_flux"][3, 1], outputs["properties"][5, 0] = np.nan, np.inf
        return outputs

    seen: list[Progress] = []
    failed = simulate_set(
        flaky, DrawPlan(SPACE, 128, 1, chunk=64), tmp_path / "set", description={}, progress=seen.append
    )
    assert failed == 4
    assert "4 failed" in str(seen[-1])
    result = read_set(tmp_path / "set", 2)
    assert result.n_failed == 4
    assert result.theta.shape[0] == 124
    assert np.all(np.isfinite(result.outputs["rest_flux"]))


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "set")
    with pytest.raises(ValueError, match=r"made with another draws;.*remove this one"):
        make(tmp_path / "set", seed=2)
    with pytest.raises(ValueError, match="another simulator"):
        simulate_set(
            simulator, DrawPlan(SPACE, 200, 1, chunk=64), tmp_path / "set", description={"bands": ["b"]}
        )


def test_a_changed_simulator_is_noticed(tmp_path: Path) -> None:
    make(tmp_path)

    def changed(theta: np.ndarray) -> dict[str, np.ndarray]:
        return simulator(theta) | {"rest_flux": 1.01 * theta[:, :3] ** 2}

    with pytest.raises(ValueError, match="no longer gives the rest_flux"):
        simulate_set(changed, DrawPlan(SPACE, 200, 1, chunk=64), tmp_path, description={"bands": ["a"]})


def test_a_set_can_be_lengthened(tmp_path: Path) -> None:
    make(tmp_path / "short", n=100)
    make(tmp_path / "short", n=200)
    make(tmp_path / "long", n=200)
    assert contents(tmp_path / "short") == contents(tmp_path / "long")


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="not a simulated set"):
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
    assert [chunk_path(tmp_path, i).exists() for i in range(4)] == [True, True, False, False]


def test_wrong_shapes_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="for 64 galaxies"):
        simulate_set(
            lambda theta: {"rest_flux": theta[:5], "properties": theta},
            DrawPlan(SPACE, 10, 1, chunk=64),
            tmp_path,
            description={},
        )


def test_a_failed_write_leaves_no_part(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(target, b"text")
    assert list(tmp_path.iterdir()) == [target]
