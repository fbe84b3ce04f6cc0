import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_emulators import toy_emulator
from toy_flows import toy_config
from typer.testing import CliRunner

from starling.amortised.config import read_amortise_config
from starling.amortised.files import load_proposal, weights_of
from starling.amortised.pipeline import amortise
from starling.amortised.training import train_proposal
from starling.cli import app
from starling.emulators import save_emulator
from starling.simulation import StoppedError
from tests.amortised.conftest import LinearModel

ABOUT = {"name": "toy", "sha256": "0" * 64}


def test_training_makes_the_true_parameters_likelier(plain: LinearModel, tmp_path: Path) -> None:
    config = toy_config(training={"steps": 300, "batch_size": 64, "report_every": 100, "warmup_steps": 20})
    losses = []
    train_proposal(
        config, plain, workdir=tmp_path, run_hash="a", report=lambda r: losses.append(r.validation_loss)
    )
    # the prior alone has ln(2 pi e) = 2.84 nats for two parameters
    assert losses[-1] < 2.4
    assert losses[-1] < losses[0]


def test_a_run_that_was_stopped_ends_with_the_same_weights(plain: LinearModel, tmp_path: Path) -> None:
    config = toy_config()
    whole, loss = train_proposal(config, plain, workdir=tmp_path / "whole", run_hash="a")
    with pytest.raises(StoppedError, match="continues the run"):
        train_proposal(config, plain, workdir=tmp_path / "cut", run_hash="a", should_stop=lambda: True)
    resumed, again = train_proposal(config, plain, workdir=tmp_path / "cut", run_hash="a")
    assert again == pytest.approx(loss, rel=1e-6)
    for name, array in weights_of(whole.flow).items():
        np.testing.assert_allclose(weights_of(resumed.flow)[name], array, rtol=1e-6, err_msg=name)
    with pytest.raises(ValueError, match="another configuration"):
        train_proposal(config, plain, workdir=tmp_path / "cut", run_hash="b")


def test_a_run_may_be_lengthened_before_its_rate_falls_only(plain: LinearModel, tmp_path: Path) -> None:
    short, long = (toy_config(training=toy_config().training.model_dump() | {"steps": n}) for n in (8, 12))
    assert short.run_hash("e") == long.run_hash("e")
    with pytest.raises(StoppedError):
        train_proposal(short, plain, workdir=tmp_path, run_hash="a", should_stop=lambda: True)
    steps = []
    train_proposal(long, plain, workdir=tmp_path, run_hash="a", report=lambda r: steps.append(r.step))
    assert steps == [4, 6, 8, 10, 12]
    with pytest.raises(ValueError, match=r"training.steps cannot become 8"):
        train_proposal(short, plain, workdir=tmp_path, run_hash="a")


def test_an_archive_gives_back_what_was_put_in(massive: LinearModel, tmp_path: Path) -> None:
    config = toy_config(training=toy_config().training.model_dump() | {"steps": 2})
    archive = amortise(config, massive, ABOUT, workdir=tmp_path, out=tmp_path / "toy.safetensors")
    again = load_proposal(tmp_path / "toy.safetensors")
    for a, b in zip(jax.tree.leaves(archive.proposal), jax.tree.leaves(again.proposal), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.proposal.coordinates.space == massive.space
    assert again.proposal.bands == config.bands
    header = json.loads((tmp_path / "toy.json").read_text())
    assert header["emulator"] == ABOUT
    assert len(header["curve_sha256"]) == len(config.bands)
    assert header["galaxies_seen"] == 16
    assert all(low <= high for low, high in zip(again.trained.low, again.trained.high, strict=True))


def test_files_that_are_not_archives_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="starling amortise CONFIG"):
        load_proposal(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        load_proposal(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nbands: [sdss_u0]\nflw: {}", "flw: unknown key; did you mean 'flow'"),
        ("name: x\nbands: [sdss_u0, sdss_u0]", "bands named twice: sdss_u0"),
        ("name: x\nbands: [sdss_u0]\nnoise: {depth: [2.0, 1.0]}", "noise.depth must ascend"),
        ("name: x\nbands: [sdss_u0]\ntraining: {steps: 10, report_every: 4}", "multiple of report_every"),
        ("name: x\nbands: [sdss_u0]\ntraining: {steps: 9, report_every: 9}", "must be a multiple of reuse"),
        ("name: x", "bands: this key is needed"),
    ],
)
def test_configurations_that_are_wrong_say_so(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_amortise_config(tmp_path / "c.yaml")


def test_command_trains_and_continues(tmp_path: Path) -> None:
    emulator = toy_emulator("direct", ("sdss_g0", "sdss_r0", "sdss_i0"))
    save_emulator(tmp_path / "toy.safetensors", emulator, {"name": "toy", "curve_sha256": [], "accuracy": {}})
    (tmp_path / "c.yaml").write_text(
        "name: toy\nemulator: toy.safetensors\nbands: [sdss_g0, sdss_i0]\n"
        "flow: {width: 8, depth: 2, couplings: 2, hidden: 8, bins: 4}\n"
        "training: {steps: 4, batch_size: 8, report_every: 2, warmup_steps: 1, n_validation: 16}\n"
    )
    arguments = ["amortise", str(tmp_path / "c.yaml"), "--workdir", str(tmp_path / "run")]
    for expected in ("step 4/4", "wrote"):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert expected in result.output
    archive = load_proposal(tmp_path / "run" / "toy.safetensors")
    assert archive.proposal.bands == ("sdss_g0", "sdss_i0")
    assert len(archive.proposal.coordinates.free) == 16
    assert bool(jnp.all(jnp.isfinite(archive.proposal.standard.scale)))
    (tmp_path / "c.yaml").write_text("name: toy\nbands: [nonsense]\n")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "the model has no band 'nonsense'" in result.output
