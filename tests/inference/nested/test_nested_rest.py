"""Nested sampling as the last resort of a fit that is stopped half-way."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from starling.inference import Observation, SamplerSettings, diagnose, take
from starling.inference.fit import Draws
from starling.inference.nested import Record, nested_for_the_rest, rest
from tests.inference.conftest import LinearModel

SETTINGS = SamplerSettings(n_chains=2, n_draws=50, nested="quick", error_floor=0.0)
KEY = jax.random.key(0)


def unsettled(model: LinearModel, n: int) -> Draws:
    """Chains that never moved."""
    shape = (n, 2, 50)
    still = np.zeros(shape, np.float32)
    free = model.space.names[:3]
    theta = np.zeros((*shape, len(model.space)), np.float32)
    zeros = np.zeros(n)
    return Draws(
        model.space.names, free, theta, np.full(shape, np.nan), {}, still, still, still > 0, still, zeros,
        zeros.astype(int), ("",) * n,
    )  # fmt: skip


def record_of(observation: Observation, model: LinearModel, seed: int, n: int = 4000) -> Record:
    """In the place of dynesty's: independent draws about zero, all of one weight."""
    del observation
    theta = np.random.default_rng(seed).normal(size=(n, len(model.space))).astype(np.float32)
    return Record(
        model.space.names, model.space.names[:3], theta, np.full(n, np.nan, np.float32), {},
        np.full(n, -np.log(n), np.float32), np.zeros(n, np.float32), np.arange(n, dtype=np.int32) % 250,
        -3.0, 0.1, 2.0, 1000, n, True, 0.1, 0.1,
    )  # fmt: skip


def test_a_galaxy_that_was_finished_before_a_stop_is_not_made_again(
    linear_model: LinearModel, linear_data: Observation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observations, draws = take(linear_data, [0, 1, 4]), unsettled(linear_model, 3)
    made: list[int] = []
    killed_at: int | None = 2

    def sample(observation: Observation, model: Any, settings: Any, seed: int) -> Record:
        if len(made) == killed_at:
            raise KeyboardInterrupt
        made.append(seed)
        return record_of(observation, model, seed)

    def run(folder: Path | None, key: jax.Array = KEY) -> Any:
        path = None if folder is None else lambda row: folder / f"galaxy-{row:05d}.safetensors"
        given = observations, linear_model, SETTINGS, draws, diagnose(draws)
        return nested_for_the_rest(key, *given, record_of=path)

    monkeypatch.setattr(rest, "require_dynesty", lambda: None)
    monkeypatch.setattr(rest, "sample_galaxy", sample)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    killed_at = None
    kept, found = run(tmp_path)
    assert len(made) == len(set(made)) == 3
    assert found.passed.all(), found.flag
    assert found.weights.stage == ("nested",) * 3
    # as if it had never been stopped
    whole, diagnostics = run(None)
    assert len(made) == 6
    np.testing.assert_array_equal(kept.theta, whole.theta)
    np.testing.assert_array_equal(kept.log_density, whole.log_density)
    np.testing.assert_array_equal(found.ess_bulk, diagnostics.ess_bulk)
    # a record of another seed, and one that is broken, are made again
    (tmp_path / "galaxy-00001.safetensors").write_bytes(b"broken")
    run(tmp_path)
    assert made[6:] == [made[1]]
    run(tmp_path, jax.random.key(1))
    assert len(made) == 10
