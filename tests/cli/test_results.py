"""What a run leaves in its folder, and how two results are opened; of galaxies whose draws cost nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import xarray as xr
from astropy.table import Table
from rich.console import Console
from toy_runs import is_held, summary_of, toy_fit, toy_tree

from starling.catalogues import Catalogue, FitConfig, parse_config
from starling.cli import compare_steps, judge_steps, pipeline, run_report
from starling.cli.compare_steps import open_pair
from starling.cli.inputs import Inputs
from starling.cli.judge_steps import How, judge_catalogue
from starling.cli.opened import Emulator
from starling.cli.pipeline import fit_catalogue, say_results
from starling.cli.results import Results, write_large, write_results
from starling.inference.nested import preset
from starling.runs import complete, merged

N = 4


def config_of(**output: Any) -> FitConfig:
    band = {"flux": "f", "error": "e"}
    photometry = {"unit": "uJy", "bands": {"u": band}}
    return parse_config({"table": {"id": "id"}, "redshift": "z", "photometry": photometry, "output": output})


def catalogue_of(ids: tuple[str, ...]) -> Catalogue:
    nothing = cast("Any", None)
    n = len(ids)
    return Catalogue(ids, ("u",), nothing, None, {}, np.arange(1, n + 1), n, [], ids, np.zeros(n, np.int16))


def leave(folder: Path, n: int = N, *, large: bool, **output: Any) -> Results:
    """The results of a run of toy galaxies."""
    fit, config = toy_fit(n, 2), config_of(**output)
    complete(fit, folder)
    catalogue, rows = catalogue_of(fit.ids), summary_of(fit, folder)
    if large:
        return write_large(config, catalogue, rows, folder, "toy")
    return write_results(config, catalogue, rows, merged(fit, folder), folder, "toy")


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_report(_: xr.DataTree, path: Path, **__: Any) -> Path:
        path.write_text("")
        return path

    monkeypatch.setattr(run_report, "write_report", write_report)


def test_no_result_of_an_earlier_run_is_left(tmp_path: Path) -> None:
    (tmp_path / "summary.txt").write_text("mine")
    leave(tmp_path, large=False)
    always = {"run.json", "parts", "findings.ecsv", "summary.txt"}
    small = {"summary.ecsv", "summary.fits", "summary.parquet", "rows.ecsv", "posterior.nc", "report.html"}
    assert {path.name for path in tmp_path.iterdir()} == always | small
    leave(tmp_path, large=True, whole=2, report=False)
    assert {path.name for path in tmp_path.iterdir()} == always | {
        "summary.fits",
        "summary.parquet",
        "rows.fits",
    }
    leave(tmp_path, large=False, format="zarr", summary=["parquet"])
    assert {path.name for path in tmp_path.iterdir()} == always | {
        "summary.parquet",
        "rows.parquet",
        "posterior.zarr",
        "report.html",
    }


def test_the_posterior_says_when_it_was_made(tmp_path: Path) -> None:
    tree = leave(tmp_path, large=False).tree
    assert tree is not None
    assert tree.attrs["created"].startswith("20")


@pytest.mark.parametrize("large", [False, True])
def test_a_report_that_cannot_be_made_is_named(large: bool, tmp_path: Path) -> None:
    console = Console(record=True, width=120)
    say_results(console, leave(tmp_path, large=large, leave_out=["sfh", "predicted"]))
    assert "no report: its figures need what output.leave_out leaves out (sfh, predicted)" in (
        console.export_text()
    )
    assert not (tmp_path / "report.html").exists()
    assert not leave(tmp_path, large=large).note


def test_a_large_run_is_opened_for_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large, small, other = (tmp_path / name for name in ("large", "small", "other"))
    leave(large, large=True, report=False)
    leave(small, 3, large=False, report=False)
    pair = open_pair(large, small)
    first, second = pair[:2]
    with first, second:
        assert list(first["posterior"]["galaxy"].values) == list(second["posterior"]["galaxy"].values)
        np.testing.assert_array_equal(first["posterior"]["logmass"], second["posterior"]["logmass"])
    matched = pair.match()
    assert matched.only_a == tuple(str(one) for one in pair.only_first)
    assert len(matched.only_a) == N - 3
    assert matched.only_b == ()
    files = compare_steps.write_comparison(matched, tmp_path / "out", "large", "small")
    table = Table.read(files["in one only"])
    assert list(table["id"]) == list(matched.only_a)
    assert set(table["result"]) == {"a"}
    leave(other, large=True, report=False)
    assert [tree["posterior"].sizes["galaxy"] for tree in open_pair(large, other)[:2]] == [N, N]
    monkeypatch.setattr(compare_steps, "MOST_IN_MEMORY", N - 1)
    with pytest.raises(ValueError, match=f"keeps its draws in parts, and {N} galaxies .* at most {N - 1}"):
        open_pair(large, other)
    for path in large.glob("summary.*"):
        path.unlink()
    with pytest.raises(ValueError, match="has the run finished"):
        open_pair(large, small)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the folder was held, of every report that is written."""
    held = []

    def write_report(_: xr.DataTree, path: Path, **__: Any) -> Path:
        held.append(is_held(path.parent))
        return path

    monkeypatch.setattr(run_report, "write_report", write_report)
    return held


def emulator_of_nothing() -> Emulator:
    model = SimpleNamespace(select=lambda _: SimpleNamespace(space=(), bands=()))
    return Emulator(cast("Any", model), "nothing", {})


@pytest.mark.parametrize("whole", [2, N])
def test_a_fit_holds_its_folder_until_its_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: list[bool], whole: int
) -> None:
    fit = toy_fit(N, 2)
    monkeypatch.setattr(pipeline, "fit_of", lambda *_: (fit, np.arange(N), "none", ""))
    config, console = config_of(whole=whole), Console(quiet=True)
    fit_catalogue(console, config, catalogue_of(fit.ids), emulator_of_nothing(), tmp_path)
    assert reports == [True]
    assert not is_held(tmp_path)


def test_a_judge_holds_its_folder_until_its_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: list[bool]
) -> None:
    toy = SimpleNamespace(part=lambda _, start, stop, __: toy_tree(start, stop))
    monkeypatch.setattr(judge_steps, "_Judge", lambda *_: toy)
    monkeypatch.setattr(judge_steps, "hash_arrays", lambda _: "abc")
    inputs = Inputs(config_of(), emulator_of_nothing(), catalogue_of(toy_fit(N, 1).ids), cast("Any", None))
    how = How(preset("quick"), 1, 1, {})
    judge_catalogue(Console(quiet=True), inputs, how, tmp_path, fresh=False, title="toy")
    assert reports == [True]
    assert not is_held(tmp_path)
