"""A study from the sets to the figures, on a made-up galaxy."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.table import Table
from typer.testing import CliRunner

from starling.cli import app
from starling.emulators.pipeline import Hooks, simulate_sets
from starling.emulators.training import EpochReport
from starling.plotting.study import study_figures
from starling.simulation import StoppedError
from starling.validation import study_report
from starling.validation.cost import Cost
from starling.validation.study import joint_errors, open_sets, train_all
from starling.validation.study_config import StudyConfig
from starling.validation.study_report import read_study, study_results, study_table, write_study
from tests.emulators.conftest import BANDS, DESCRIPTION, NETWORKS, jax_simulator, toy_simulator, toy_totals

TINY: dict[str, Any] = {
    "name": "tiny",
    "base": {
        "name": "toy",
        "bands": BANDS,
        "sets": {"n_train": 1024, "n_validation": 256, "n_test": 512, "chunk": 256},
        "network": {"kind": "direct", "width": 8, "depth": 2},
        "training": {"stages": [{"epochs": 3, "batch_size": 64}], "checkpoint_minutes": 0},
    },
    "sets": {"n_train": 768},
    "vary": {"width": [4, 8], "n_train": [384]},
    "cost": {"batch": 20, "rounds": 2, "widths": [16]},
    "fit": {"time": [1, 100]},
}
NAMES = ["direct-2x4", "direct-2x8", "direct-2x8-n384"]


@pytest.fixture(scope="module")
def study() -> StudyConfig:
    return StudyConfig.model_validate(TINY)


@pytest.fixture(scope="module")
def sets_folder(study: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets of the base, which are larger than the study's."""
    folder = tmp_path_factory.mktemp("sets")
    simulate_sets(study.base, jax_simulator(toy_totals), DESCRIPTION, folder)
    return folder


@pytest.fixture(scope="module")
def trained(study: StudyConfig, sets_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    train_all(study, *open_sets(study.whole, sets_folder), folder)
    return folder


@pytest.fixture(scope="module")
def results(study: StudyConfig, trained: Path) -> dict[str, Any]:
    return study_results(study, trained)


def measured(files: dict[str, Path], batch: int, rounds: int) -> dict[str, Cost]:
    """Stands in for the measurement of costs: the size of the file."""
    return {name: Cost(*[path.stat().st_size / 1e4] * 4) for name, path in files.items()}


def accuracies(folder: Path) -> dict[str, Any]:
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("networks/*/result.json")}
    return {name: (r["accuracy"], r["joint"], r["n_weights"]) for name, r in found.items()}


def test_sets_are_the_first_rows_of_those_that_are_there(study: StudyConfig, sets_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sets_folder.rglob("*")}
    whole, _ = open_sets(study.base, sets_folder)
    fewer, description = open_sets(study.whole, sets_folder)
    assert description == DESCRIPTION
    for name, n in (("train", 576), ("train_prior", 192), ("validation", 256), ("test_prior", 512)):
        assert len(fewer[name].theta) == n
        np.testing.assert_array_equal(fewer[name].theta, whole[name].theta[:n])
        for key, array in fewer[name].outputs.items():
            np.testing.assert_array_equal(array, whole[name].outputs[key][:n])
    assert before == {path: path.stat().st_mtime_ns for path in sets_folder.rglob("*")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sets": {"n_train": 2048}}, "fewer than the 1536 draws"),
        ({"base": TINY["base"] | {"seed": 5}}, "draws of another seed than the base"),
        ({"base": TINY["base"] | {"space": {"zred": [0.5, 2.0]}}}, "draws of another space"),
    ],
)
def test_sets_that_do_not_fit_are_refused(sets_folder: Path, changes: dict[str, Any], message: str) -> None:
    other = StudyConfig.model_validate(TINY | {"vary": {"width": [4]}} | changes)
    with pytest.raises(ValueError, match=message):
        open_sets(other.whole, sets_folder)


def test_absent_sets_are_told(study: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no simulated set"):
        open_sets(study.whole, tmp_path)


def test_a_study_that_was_cut_ends_like_one_that_was_not(
    study: StudyConfig, sets_folder: Path, trained: Path, tmp_path: Path
) -> None:
    sets, description = open_sets(study.whole, sets_folder)
    epochs: list[EpochReport] = []
    said: list[str] = []
    for done in (2, 4):
        hooks = Hooks(said.append, epoch=epochs.append, should_stop=lambda done=done: len(epochs) >= done)
        with pytest.raises(StoppedError):
            train_all(study, sets, description, tmp_path, hooks=hooks)
    train_all(study, sets, description, tmp_path, hooks=Hooks(said.append, epoch=epochs.append))
    assert [report.epoch for report in epochs] == [1, 2, 3] * 3
    assert "1/3 direct-2x4: finished before" in said
    assert accuracies(tmp_path) == accuracies(trained)


def test_what_is_finished_is_kept_unless_asked(
    study: StudyConfig, sets_folder: Path, trained: Path, tmp_path: Path
) -> None:
    sets, description = open_sets(study.whole, sets_folder)
    epochs: list[EpochReport] = []
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    train_all(study, sets, description, tmp_path, hooks=Hooks(epoch=epochs.append))
    assert not epochs
    only = study.model_copy(update={"vary": study.vary.model_copy(update={"width": (), "n_train": ()})})
    train_all(only, sets, description, tmp_path, resume=False, hooks=Hooks(epoch=epochs.append))
    assert [report.epoch for report in epochs] == [1, 2, 3]
    longer = TINY | {"training": {"stages": [{"epochs": 4, "batch_size": 64}]}}
    with pytest.raises(ValueError, match=r"another configuration: .*--fresh"):
        train_all(StudyConfig.model_validate(longer), sets, description, trained)
    with pytest.raises(ValueError, match=r"another simulator: .*--fresh"):
        train_all(study, sets, dict(description) | {"tables": "others"}, trained)


def test_the_results_have_everything(results: dict[str, Any], trained: Path, tmp_path: Path) -> None:
    assert [n["name"] for n in results["networks"]] == NAMES
    assert results["missing"] == []
    # 2 layers: inputs (17 parameters without mass), hidden, outputs (bands and 4 properties), each with biases
    assert [n["n_weights"] for n in results["networks"]] == [
        17 * w + w + w * w + w + w * 9 + 9 for w in (4, 8, 8)
    ]
    header = json.loads((trained / "networks" / "direct-2x8" / "emulator.json").read_text())
    sigma = header["accuracy"]["prior"]["std"][: len(BANDS)]
    network = results["networks"][1]
    assert network["sigma_worst_mag"] == pytest.approx(max(sigma))
    assert network["worst_band"] == BANDS[int(np.argmax(sigma))]
    assert min(n[key] for n in results["networks"] for key in Cost._fields) > 0
    assert [row["width"] for row in results["untrained"]] == [16]
    assert {key: law["n"] for key, law in results["laws"].items()} == {
        "sigma_median_mag": 2,
        "sigma_worst_mag": 2,
        "value_us": 3,
        "gradient_us": 3,
    }
    errors = [n["sigma_worst_mag"] for n in results["networks"]]
    assert results["chosen"] == NAMES[int(np.argmin(errors))]
    assert results["chosen"] in results["front"]
    assert not results["bar_met"]
    files = write_study(results, tmp_path)
    assert read_study(files["results"]) == json.loads(json.dumps(results))
    table = Table.read(files["table"], format="ascii.csv")
    assert list(table["name"]) == NAMES
    assert table["chosen"].tolist() == [str(name == results["chosen"]) for name in NAMES]
    whole = study_table(results)
    assert list(table.colnames) == list(whole.colnames)
    np.testing.assert_allclose(whole["sigma_worst_mag"], errors, rtol=1e-3)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="no result of `starling study`"):
        read_study(tmp_path / "other.json")


def test_the_figures_show_the_results(results: dict[str, Any], tmp_path: Path) -> None:
    figures = study_figures(results)
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
    precision = figures["precision"].axes[1]
    points = np.asarray(precision.collections[0].get_offsets())
    np.testing.assert_allclose(points, [(n["width"], n["sigma_median_mag"]) for n in results["networks"][:2]])
    assert "N^{" in precision.get_legend_handles_labels()[1][0]
    named = {text.get_text() for text in figures["front"].axes[2].texts}
    assert any("2 × 8, 384 draws" in name for name in named)
    assert sum("(chosen)" in name for name in named) == 1
    image = figures["correlations"].axes[0].images[0].get_array()
    np.testing.assert_allclose(np.diag(image), 1.0)


def test_errors_of_known_distribution() -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(size=(200_000, 1))
    error = 0.01 * (common + rng.normal(size=(200_000, 3)))
    error[:, 2] *= -1.0
    joint = joint_errors(error)
    expected = [[1.0, 0.5, -0.5], [0.5, 1.0, -0.5], [-0.5, -0.5, 1.0]]
    np.testing.assert_allclose(joint.correlation, expected, atol=0.01)
    # Gaussian errors follow a Gaussian's quantiles, to which at least five galaxies lie beyond
    assert joint.tails["gaussian"][-1] == 4.0
    np.testing.assert_allclose(joint.tails["median"][:6], joint.tails["gaussian"][:6], rtol=0.02)
    assert joint_errors(np.zeros((100, 2)) + error[:100, :2]).tails["gaussian"][-1] == 1.5
    one = joint_errors(np.array([[0.01], [-0.01], [0.03], [0.0]]))
    assert one.within == 0.75
    assert one.correlation == [[1.0]]


def test_the_command_reports_on_what_is_finished(
    sets_folder: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_report, "measure_files", measured)
    config, out = tmp_path / "study.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(json.loads(json.dumps(TINY))))
    words = ["study", str(config), "--workdir", str(out), "--sets", str(sets_folder)]
    empty = CliRunner().invoke(app, [*words, "--report-only"])
    assert empty.exit_code == 1
    assert "no network of the study is finished" in empty.output
    shutil.copytree(trained, out)
    for name in NAMES[1:]:  # as if the run had been killed between training and measurement
        (out / "networks" / name / "result.json").unlink()
    part = CliRunner().invoke(app, [*words, "--report-only"])
    assert part.exit_code == 0, part.output
    assert "not finished: direct-2x8, direct-2x8-n384" in part.output
    assert [n["name"] for n in read_study(out / "study.json")["networks"]] == NAMES[:1]
    whole = CliRunner().invoke(app, words)
    assert whole.exit_code == 0, whole.output
    assert "direct-2x4: finished before" in whole.output
    assert "epoch" not in whole.output
    assert "chosen:" in whole.output
    assert accuracies(out) == accuracies(trained)
    assert {path.name for path in out.glob("*.png")} == {
        f"{name}.png" for name in ("precision", "cost", "distributions", "correlations", "tails", "front")
    }


@pytest.mark.slow
def test_a_mixture_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_report, "measure_files", measured)
    base = TINY["base"] | {"network": NETWORKS["mixture"]}
    study = StudyConfig.model_validate(
        TINY
        | {
            "base": base,
            "reference": {"kind": "direct", "width": 8, "depth": 2},
            "vary": {"mixture": [{"stars": 8, "lines": 4, "dust": 4, "torus": 4}]},
        }
    )
    sets = simulate_sets(study.whole, jax_simulator(toy_simulator), DESCRIPTION, tmp_path / "sets")
    train_all(study, sets, DESCRIPTION, tmp_path)
    results = study_results(study, tmp_path)
    assert [n["name"] for n in results["networks"]] == ["direct-2x8", "mixture-8-4-4-4"]
    assert results["networks"][1]["widths"] == {"stars": 8, "lines": 4, "dust": 4, "torus": 4}
    assert results["laws"].keys() == {"value_us", "gradient_us"}
    study_figures(results)
