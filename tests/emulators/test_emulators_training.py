"""Training: resume is exact, stops are clean, schedules are what the configuration says."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from starling.emulators.config import OptimizerConfig
from starling.emulators.direct import DirectRows, direct_task
from starling.emulators.networks import Architecture, Network, weights_of
from starling.emulators.schedule import batch_size, learning_rates, n_epochs, shuffled_batches
from starling.emulators.stopping import Course, advance
from starling.emulators.training import CHECKPOINT, EpochReport, train_model
from starling.simulation import StoppedError

STAGES = [{"epochs": 3, "batch_size": 64}, {"epochs": 3, "batch_size": 128}]
DEFAULTS = {"optimizer": "nadam", "learning_rate": 1e-2, "stages": STAGES}
SHAPE = Architecture(3, 2, width=16, depth=2)
KILLED = {"stages": [{"epochs": 24, "batch_size": 64}], "checkpoint_minutes": 0.0, "weight_decay": 1e-4}


def data(seed: int, n: int = 512) -> DirectRows:
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    y = np.stack([5.0 + 3.0 * np.sin(x[:, 0]) * x[:, 1], np.exp(-(x[:, 2] ** 2))], axis=1)
    return DirectRows(jnp.asarray(x), jnp.asarray(y, jnp.float32))


def run(
    folder: Path,
    epochs: list[EpochReport] | None = None,
    *,
    shape: Architecture = SHAPE,
    train: DirectRows | None = None,
    run_hash: str = "one",
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Network:
    """Six epochs, or as many as ``should_stop`` lets it do."""
    rows = train or data(0)
    task = direct_task(shape, rows)
    network: Network = train_model(
        task,
        rows,
        data(1, 128),
        OptimizerConfig.model_validate(
            {"optimizer": "nadam", "learning_rate": 1e-2, "stages": STAGES} | (settings or {})
        ),
        seed=3,
        workdir=folder,
        run_hash=run_hash,
        output_names=("one", "two"),
        report=(epochs if epochs is not None else []).append,
        **options,
    )
    return task.finish(network)


@pytest.mark.parametrize("optimizer", ["muon", "nadam"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, optimizer: str) -> None:
    settings = {"optimizer": optimizer, "weight_decay": 1e-4}
    whole = run(tmp_path / "whole", settings=settings)
    epochs: list[EpochReport] = []
    for done in (2, 4):
        with pytest.raises(StoppedError, match="continues the run"):
            run(
                tmp_path / "parts",
                epochs,
                settings=settings,
                should_stop=lambda done=done: len(epochs) == done,
            )
    parts = run(tmp_path / "parts", epochs, settings=settings)
    assert [report.epoch for report in epochs] == [1, 2, 3, 4, 5, 6]
    assert [report.batch_size for report in epochs] == [64] * 3 + [128] * 3
    assert "min left" in str(epochs[-1])
    for name, weight in weights_of(whole).items():
        np.testing.assert_array_equal(weight, weights_of(parts)[name], err_msg=name)


def test_a_finished_run_is_not_trained_again_unless_asked(tmp_path: Path) -> None:
    epochs: list[EpochReport] = []
    first = run(tmp_path, epochs)
    second = run(tmp_path, epochs)
    assert len(epochs) == 6
    np.testing.assert_array_equal(weights_of(first)["head.kernel"], weights_of(second)["head.kernel"])
    run(tmp_path, epochs, resume=False)
    assert len(epochs) == 12


def test_checkpoints_of_other_runs_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ValueError, match=r"another configuration.*--fresh"):
        run(tmp_path, run_hash="two")
    with pytest.raises(ValueError, match=r"another network or optimizer.*--fresh"):
        run(tmp_path, shape=Architecture(3, 2, width=8, depth=2))
    checkpoint = tmp_path / CHECKPOINT
    content = checkpoint.read_bytes()
    middle = len(content) // 2
    for damaged in (
        content[:middle],
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    ):
        checkpoint.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"not a readable checkpoint.*--fresh"):
            run(tmp_path)
    run(tmp_path, run_hash="two", resume=False)


def test_checkpoints_leave_no_threads_warnings_or_log_handlers(tmp_path: Path) -> None:
    code = f"""
import logging, sys, threading, warnings
warnings.simplefilter("error")
import jax.numpy as jnp
from pathlib import Path
from starling.cli import app
from starling.emulators.checkpoints import load_checkpoint, save_checkpoint
state = {{"weights": jnp.arange(4.0)}}
for epoch in (1, 2, 3):
    save_checkpoint(Path({str(tmp_path / "here")!r}), state, {{"epoch": epoch}})
_, info = load_checkpoint(Path({str(tmp_path / "here")!r}), state)
assert info == {{"epoch": 3}}
assert logging.getLogger().handlers == []
assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_goes_on_exactly(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", settings=KILLED)
    parts = tmp_path / "parts"
    for moment in (0.0, 0.05):
        # a checkpoint after every epoch; each of them takes longer than the epoch
        child = subprocess.Popen([sys.executable, __file__, str(parts)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(4):
            assert child.stdout.readline().startswith("epoch"), "the run was over before it could be killed"
        time.sleep(moment)
        child.kill()
        child.communicate()
    epochs: list[EpochReport] = []
    resumed = run(parts, epochs, settings=KILLED)
    assert 7 <= epochs[0].epoch <= 24, "it began anew, or was not killed"
    for name, weight in weights_of(whole).items():
        np.testing.assert_array_equal(weight, weights_of(resumed)[name], err_msg=name)


def test_a_run_ends_when_the_accuracy_asked_for_is_reached(tmp_path: Path) -> None:
    settings = {"stages": [{"epochs": 40, "batch_size": 32}]}
    epochs: list[EpochReport] = []
    network = run(tmp_path / "wanted", epochs, settings=settings | {"stop_at": 0.5})
    assert len(epochs) < 40
    assert "accuracy asked for is reached" in epochs[-1].ended
    assert [report.ended for report in epochs[:-1]] == [""] * (len(epochs) - 1)
    held_out = data(1, 128)
    sigma = np.std(network(held_out.inputs) - held_out.targets, axis=0)
    assert sigma.max() <= 0.5 * 1.001
    again: list[EpochReport] = []
    run(tmp_path / "wanted", again, settings=settings | {"stop_at": 0.5})
    assert again == [], "a run that ended is not trained again"
    # the second output is easier than the first one
    first: list[EpochReport] = []
    run(tmp_path / "one", first, settings=settings | {"stop_at": 1e-9}, n_wanted=1)
    assert len(first) == 40
    assert "not reached" in first[-1].ended


def test_patience_ends_a_run_that_does_not_improve_also_when_it_is_resumed(tmp_path: Path) -> None:
    # a rate too low to learn anything with: the first epoch is the only improvement
    settings = {"learning_rate": 1e-9, "patience": 4, "min_improvement": 0.01}
    whole: list[EpochReport] = []
    run(tmp_path / "whole", whole, settings=settings | {"stages": [{"epochs": 9, "batch_size": 64}]})
    assert len(whole) == 5
    assert "no improvement by 0.01 in 4 epochs" in whole[-1].ended
    parts: list[EpochReport] = []
    with pytest.raises(StoppedError):
        run(tmp_path / "parts", parts, settings=settings, should_stop=lambda: len(parts) == 3)
    run(tmp_path / "parts", parts, settings=settings)
    assert [report.validation_loss for report in parts] == [report.validation_loss for report in whole]


@pytest.mark.parametrize(
    ("losses", "ended_after"),
    [([1.0, 0.9, 0.81, 0.729, 0.6561, 0.59], None), ([1.0, 0.995, 0.991, 0.9895, 0.7], 4)],
)
def test_patience_counts_from_the_last_loss_that_was_an_improvement(
    losses: list[float], ended_after: int | None
) -> None:
    config = OptimizerConfig.model_validate(
        {"stages": [{"epochs": 50, "batch_size": 1}], "patience": 3, "min_improvement": 0.02}
    )
    course, ended = Course(), None
    for epoch, loss in enumerate(losses, start=1):
        course = advance(course, config, loss, 1.0)
        if course.ended:
            ended = epoch
            break
    assert ended == ended_after
    assert course.best_loss == min(losses[: course.epoch])


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    spoilt = data(0)
    spoilt = spoilt._replace(inputs=spoilt.inputs.at[0, 0].set(jnp.nan))
    with pytest.raises(FloatingPointError, match="learning_rate"):
        run(tmp_path, train=spoilt)


@pytest.mark.parametrize("changes", [{}, {"activation": "speculator"}, {"residual": True}])
def test_every_architecture_learns_and_returns_the_units_of_the_targets(tmp_path: Path, changes: Any) -> None:
    epochs: list[EpochReport] = []
    shape = Architecture(3, 2, width=16, depth=3, **changes)
    network = run(tmp_path, epochs, shape=shape, settings={"stages": [{"epochs": 12, "batch_size": 32}]})
    held_out = data(1, 128)
    loss = float(jnp.sqrt(jnp.mean((network(held_out.inputs) - held_out.targets) ** 2)))
    assert loss == pytest.approx(min(report.validation_loss for report in epochs), rel=1e-4)
    assert loss < 0.3 * float(jnp.std(held_out.targets[:, 0]))


def test_the_schedule_warms_up_and_ends_at_its_final_rate() -> None:
    config = OptimizerConfig.model_validate(
        {
            "learning_rate": 1e-2,
            "final_learning_rate": 1e-5,
            "warmup_fraction": 0.1,
            "stages": [{"epochs": 10, "batch_size": 10}, {"epochs": 10, "batch_size": 50}],
        }
    )
    rates = np.concatenate([learning_rates(config, epoch, 7) for epoch in range(n_epochs(config))])
    peak = int(np.argmax(rates))
    assert peak / rates.size == pytest.approx(0.1, abs=0.01)
    assert np.all(np.diff(rates[: peak + 1]) > 0)
    assert np.all(np.diff(rates[peak:]) < 0)
    assert rates.max() == pytest.approx(1e-2, rel=1e-2)
    assert rates[-1] == pytest.approx(1e-5, rel=0.1)
    assert [batch_size(config, epoch, 40) for epoch in (0, 9, 10, 19)] == [10, 10, 40, 40]
    with pytest.raises(ValueError, match="ends before"):
        batch_size(config, 20, 40)


def test_batches_hold_every_row_once_and_change_with_the_epoch() -> None:
    (first, partners), (again, _), (second, _) = (shuffled_batches(1, epoch, 100, 25) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    for rows in (first, partners):
        assert sorted(rows.ravel()) == list(range(100))
    assert not np.array_equal(first, partners)
    assert not np.array_equal(first, second)
    assert [rows.shape for rows in shuffled_batches(1, 0, 100, 30)] == [(3, 30)] * 2


if __name__ == "__main__":
    lines: Any = type(
        "Lines", (list,), {"append": lambda _, report: sys.stdout.write(f"{report}\n") and sys.stdout.flush()}
    )()
    run(Path(sys.argv[1]), lines, settings=KILLED)
