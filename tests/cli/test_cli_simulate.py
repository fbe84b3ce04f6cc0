"""`starling simulate` and `starling train --sets` with a made-up simulator in the place of the exact model."""

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import commands
import jax
import numpy as np
import pytest
from astropy.table import Table
from commands import write

from starling.cli import shards as of_shards
from starling.cli import spectra as of_spectra
from starling.cli import training_sets as of_training_sets
from starling.cli.source import Source
from starling.emulators.config import TrainingConfig
from starling.emulators.files import read_header
from starling.emulators.pipeline import draw_plans
from starling.emulators.spectra.files import read_quantiles
from starling.emulators.stored import ASKED, asked_of
from starling.photometry import load_bands
from starling.simulation import FAILURE, read_set
from starling.simulation.store import read_manifest
from tests.emulators.conftest import BANDS, DESCRIPTION, NETWORKS, SPACE, jax_simulator, toy_simulator
from tests.emulators.spectra import test_spectrum_emulator as toy_spectra

TRAINING: dict[str, Any] = {
    "name": "toy",
    "bands": list(BANDS),
    "sets": {"n_train": 512, "n_validation": 128, "n_test": 256, "chunk": 128},
    "network": NETWORKS["mixture"],
    "training": {"stages": [{"epochs": 2, "batch_size": 64}]},
}


def call(*words: object) -> tuple[int, str]:
    if words[0] == "simulate" and not {"--workers", "-x"} & {str(word) for word in words}:
        words = (*words, "--workers", 1)  # the made-up simulator is in this process only
    return commands.call(*words)


@contextmanager
def photometry(
    config: Any, _space: Any, bands: Any, _home: Any, *, workers: int = 1, **_: Any
) -> Iterator[Source]:
    compute = jax_simulator(toy_simulator)

    def simulate(theta: np.ndarray) -> dict[str, Any]:
        outputs: dict[str, Any] = dict(compute(theta))
        bad = theta[:, SPACE.index("dust2")] > 3.9
        return outputs | {FAILURE: np.where(bad, "too much dust", "")}

    curves = [band.sha256 for band in load_bands(bands)]
    description = DESCRIPTION | {ASKED: asked_of(config), "bands": list(bands), "curve_sha256": curves}
    yield Source(simulate, description, None, {}, workers)


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (of_shards, of_training_sets):
        monkeypatch.setattr(module, "open_source", photometry)


def test_a_training_s_configuration_makes_its_sets(tmp_path: Path) -> None:
    config = write(tmp_path / "train.yaml", TRAINING)
    where = write(tmp_path / "where.yaml", {"kind": "threads", "workers": 2})
    code, text = call("simulate", config, "--out", tmp_path / "sets", "-x", where)
    assert code == 0, text
    assert "SURROGATE" in text
    assert f"wrote {tmp_path / 'sets' / 'train'}: 384 galaxies" in text
    assert "256/256 rows" in text
    names = {"train", "train_prior", "validation", "test_training", "test_prior"}
    assert {path.name for path in (tmp_path / "sets").iterdir()} == names
    for name in names:  # as `starling train` makes them
        identity = read_manifest(tmp_path / "sets" / name)["identity"]
        plan = draw_plans(TrainingConfig.model_validate(TRAINING))[name]
        assert identity["draws"] == json.loads(json.dumps(plan.to_dict()))


@pytest.mark.slow
def test_an_emulator_is_trained_on_some_bands_of_a_set(tmp_path: Path) -> None:
    call("simulate", write(tmp_path / "train.yaml", TRAINING), "--out", tmp_path / "sets")
    few = TRAINING | {"bands": [BANDS[3], BANDS[0]], "seed": 5}
    other = write(tmp_path / "few.yaml", few | {"sets": TRAINING["sets"] | {"n_train": 256}})
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "sets").rglob("*")}
    words = ("train", other, "--sets", tmp_path / "sets", "--workdir", tmp_path / "work", "--gradients", 0)
    code, text = call(*words)
    assert code == 0, text
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "sets").rglob("*")}
    header = read_header(tmp_path / "work" / "toy.safetensors")
    assert header["bands"] == few["bands"]
    assert header["simulator"]["bands"] == few["bands"]
    assert header["surrogate"]
    failed = sum(header["n_failed"][name] for name in ("train", "train_prior"))
    assert sum(header["training_set"]["rows"].values()) == 256 - failed


def test_sets_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    config = write(tmp_path / "train.yaml", TRAINING)
    call("simulate", config, "--out", tmp_path / "sets")

    def refused(**changes: Any) -> str:
        other = write(tmp_path / "other.yaml", TRAINING | changes)
        words = ("train", other, "--sets", tmp_path / "sets", "--workdir", tmp_path / "work")
        code, text = call(*words, "--gradients", 0)
        assert code == 1
        assert "Traceback" not in text
        return text

    assert "draws of another space than" in refused(space={"zred": [0.5, 2.0]})
    assert "configuration: zred" in refused(space={"zred": [0.5, 2.0]})
    assert "do not have the bands sdss_u0" in refused(bands=["sdss_u0"])
    assert "fewer than the 768 draws" in refused(sets=TRAINING["sets"] | {"n_train": 1024})
    assert "made with another simulator.tables" in refused(simulator={"tables": "others"})
    (tmp_path / "sets" / "train" / "shards" / "000001.json").unlink()
    assert "has 256 of 384 rows" in refused()


def test_sets_of_one_s_own(tmp_path: Path) -> None:
    theta = np.asarray(SPACE.sample(jax.random.key(3), (20,)))
    table = Table({name: theta[:, column] for column, name in enumerate(SPACE.names)})
    table["dust2"][4] = 3.95
    for suffix in ("ecsv", "csv", "fits", "parquet"):
        table.write(tmp_path / f"points.{suffix}")
    draws = {
        suffix: {"points": f"points.{suffix}", "chunk": 16} for suffix in ("ecsv", "csv", "fits", "parquet")
    }
    draws |= {"even": {"n": 40, "method": "latin_hypercube", "chunk": 16}}
    config = {"name": "own", "bands": list(BANDS), "draws": draws}
    code, text = call("simulate", write(tmp_path / "own.yaml", config), "--out", tmp_path / "sets")
    assert code == 0, text
    assert "20 galaxies, 1 failed: see" in text
    found = [read_set(tmp_path / "sets" / name) for name in draws]
    for one in found[:-1]:
        assert (one.n_failed, len(one.theta)) == (1, 19)
        np.testing.assert_allclose(one.theta, found[0].theta, rtol=1e-6)
    assert len(found[-1].theta) + found[-1].n_failed == 40
    failed = Table.read(tmp_path / "sets" / "fits" / "failed.ecsv")
    assert list(failed["reason"]) == ["too much dust"]
    assert read_manifest(tmp_path / "sets" / "even")["identity"]["draws"]["n"] == 40
    table["dust2"][7] = 5.0
    table.write(tmp_path / "points.csv", overwrite=True)
    code, text = call("simulate", tmp_path / "own.yaml", "--out", tmp_path / "sets")
    assert code == 1
    assert "points.csv: dust2 = 5 is outside the space" in text
    assert "row 8" in text


def test_a_stopped_simulation_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def at_once() -> Iterator[Callable[[], bool]]:
        asked = iter([False])
        yield lambda: next(asked, True)

    monkeypatch.setattr(importlib.import_module("starling.cli.simulate"), "stop_on_signal", at_once)
    config = write(tmp_path / "train.yaml", TRAINING)
    code, text = call("simulate", config, "--out", tmp_path / "sets")
    assert code == 130
    assert "stopped with 128 of 384 rows" in text
    assert "the same command goes on from there" in text
    monkeypatch.undo()
    for module in (of_shards, of_training_sets):
        monkeypatch.setattr(module, "open_source", photometry)
    assert call("simulate", config, "--out", tmp_path / "sets")[0] == 0


def test_a_disk_that_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, text = call(
        "simulate", write(tmp_path / "train.yaml", TRAINING), "--out", tmp_path / "file" / "sets"
    )
    assert code == 1
    assert "cannot write to" in text
    assert "Not a directory" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_spectra_from_sets_are_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_spectra.make_config("mixture")
    content = config.model_dump(mode="json")
    content |= {"sets": content["sets"] | {"n_train": 1024}, "components": {"n_basis": 512, "most": 8}}
    content["training"] |= {"stages": [{"epochs": 4, "batch_size": 64}]}
    content["network"] = {"kind": "mixture"} | {
        role: {"width": 16, "depth": 1} for role in ("stars", "lines", "dust", "torus")
    }

    @contextmanager
    def made_up(settings: Any, _home: Any, workers: int) -> Iterator[Source]:
        asked = asked_of(settings.simulator, settings.spectra)
        coordinates = {name: np.asarray(array, float) for name, array in toy_spectra.GRID._asdict().items()}
        description = {"tables": "toy", "surrogate": False, ASKED: asked}
        yield Source(toy_spectra.simulate, description, None, coordinates, workers)

    for module in (of_shards, of_spectra):
        monkeypatch.setattr(module, "open_spectral_source", made_up)
    path = write(tmp_path / "spectra.yaml", content)
    code, text = call("simulate", path, "--out", tmp_path / "sets")
    assert code == 0, text
    words = ("train", path, "--workdir", tmp_path / "work", "--sets", tmp_path / "sets", "--gradients", 0)
    code, text = call(*words)
    assert code == 0, text
    header, _ = read_quantiles(tmp_path / "work" / "toy_mixture.safetensors")
    simulated = toy_spectra.train_spectrum_emulator(
        type(config).model_validate(content),
        toy_spectra.simulate,
        toy_spectra.GRID,
        {"tables": "toy"},
        workdir=tmp_path / "other",
        out=tmp_path / "other.safetensors",
    )
    assert simulated.space.names == toy_spectra.SPACE.names
    again, _ = read_quantiles(tmp_path / "other.safetensors")
    for name in ("prior", "training"):
        ours, theirs = header["accuracy"][name]["all"]["mean"], again["accuracy"][name]["all"]["mean"]
        np.testing.assert_allclose(ours[:2], theirs[:2], rtol=0.5)
    other = write(tmp_path / "other.yaml", content | {"spectra": content["spectra"] | {"low_aa": 2000.0}})
    code, text = call("train", other, *words[2:])
    assert code == 1
    assert "made with another spectra.low_aa" in text
