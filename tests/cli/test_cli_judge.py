"""``starling judge`` and ``starling compare`` on galaxies of a toy model."""

import json
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import xarray as xr
import yaml
from astropy.table import Table
from toy_emulators import toy_emulator
from toy_tables import make_toy_tables

from starling.cli import judge_steps
from starling.cli.judged import describe_judged, open_judged
from starling.emulators import save_emulator
from starling.execution.work import Done, Job
from starling.sps import Tables
from tests.cli.conftest import BANDS
from tests.cli.test_cli import call


class Here:
    """In the place of processes: this one. A process that dies at a galaxy leaves its mark and comes back to it."""

    begun: list[int] = []  # noqa: RUF012  rows, over all runs of a test
    deadly: int | None = None

    def __init__(self, workers: int) -> None:
        assert workers == 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, job: Job, parts: Iterable[int]) -> Generator[Done]:
        folder = Path(json.loads(job.settings)["folder"])
        for part in parts:
            self.begun.append(part)
            if part == self.deadly:
                (folder / f".galaxy-{part:05d}.begun.partial").write_text("xx")
            yield Done(part, job(part))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    monkeypatch.setattr(judge_steps, "Processes", Here)
    monkeypatch.setattr(Here, "begun", [])
    monkeypatch.setattr(Here, "deadly", None)
    return Here


def judge(inputs: Path, *words: object) -> tuple[int, str]:
    quick = ("--preset", "quick", "--live-points", 60, "--workers", 1)
    return call("judge", inputs / "config.yaml", *quick, *words)


def test_two_judges_agree_with_each_other_and_the_truth(inputs: Path, toy: Any, here: type[Here]) -> None:
    ids = ["sim-1", "sim-3"]
    code, text = judge(inputs, "--galaxies", ",".join(ids), "--out", inputs / "judge")
    assert code == 0, text
    assert "2 galaxies of 5 rows" in text
    assert here.begun == [0, 1]
    with xr.open_datatree(inputs / "judge" / "posterior.nc", engine="h5netcdf") as tree:
        assert list(tree["posterior"]["galaxy"].values) == ids
        assert np.isfinite(tree["nested"]["log_evidence"].values).all()
        assert json.loads(tree.attrs["sampler"])["n_live"] == 60
        assert list(tree["catalogue"]["row"].values) == [2, 4]
    summary = Table.read(inputs / "judge" / "summary.ecsv")
    np.testing.assert_allclose(summary["logmass_50"], summary["theirs"], atol=0.4)

    code, text = judge(inputs, "-n", 4, "--seed", 1, "--out", inputs / "again")
    assert code == 0, text
    code, text = call("compare", inputs / "again", inputs / "judge", "--out", inputs / "compared")
    assert code == 0, text
    for said in ("2 galaxies in both", "only in A: galaxies sim-0, sim-2", "all parameters", "ln Z, A - B"):
        assert said in text
    table = Table.read(inputs / "compared" / "discrepancies.ecsv")
    assert set(table["name"][table["sampled"]]) == {"logmass", "dust2"}
    assert 0.0 < table["discrepancy"][table["sampled"]].max() < 0.5  # ten times the noise of so few points
    assert np.abs(Table.read(inputs / "compared" / "evidence.ecsv")["difference_sigma"]).max() < 4.0
    assert (inputs / "compared" / "discrepancies.png").stat().st_size > 10_000


def test_finished_galaxies_are_kept_and_failed_ones_flagged(inputs: Path, toy: Any, here: type[Here]) -> None:
    here.deadly = 1
    out = ("--out", inputs / "judge", "-n", 3)
    code, text = judge(inputs, *out)
    assert code == 0, text
    assert "2 of 3 galaxies converged" in text or "1 of 3" in text or "0 of 3" in text
    with xr.open_datatree(inputs / "judge" / "posterior.nc", engine="h5netcdf") as tree:
        flags = [str(flag) for flag in tree["diagnostics"]["flag"].values]
        evidence = tree["nested"]["log_evidence"].values
    assert flags[1].startswith("its process ended 2 times")
    assert np.isfinite(evidence).tolist() == [True, False, True]
    # a part that is lost is made from the record, without sampling; one that failed stays flagged
    (inputs / "judge" / "parts" / "part-00002.nc").unlink()
    assert judge(inputs, *out)[0] == 0
    assert here.begun == [0, 1, 2]
    with xr.open_datatree(inputs / "judge" / "posterior.nc", engine="h5netcdf") as tree:
        np.testing.assert_array_equal(tree["nested"]["log_evidence"].values, evidence)
    # another seed is another run
    code, text = judge(inputs, *out, "--seed", 5)
    assert code == 1
    assert "changed: seed (0 -> 5)" in text
    here.deadly = None
    assert judge(inputs, *out, "--seed", 5, "--fresh")[0] == 0
    assert here.begun == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("folder", ["here", "config", "absolute"])
def test_tables_of_the_exact_model_count_from_the_configuration(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of `starling train` and `simulate` do; in the processes that sample, too."""
    place = {"here": tmp_path / "run", "config": tmp_path / "configs", "absolute": tmp_path / "else"}[folder]
    for path in (tmp_path / "run", tmp_path / "configs", place / "tables"):
        path.mkdir(parents=True, exist_ok=True)
    (place / "tables" / "their.safetensors").touch()
    asked: list[Path] = []

    def toy_tables(tables: str, *_: Any) -> Tables:
        asked.append(Path(tables).resolve())
        return make_toy_tables()

    monkeypatch.setattr("starling.cli.opened.named_tables", toy_tables)
    monkeypatch.chdir(tmp_path / "run")
    named = str(place / "tables/their.safetensors") if folder == "absolute" else "tables/their.safetensors"
    toy_file(tmp_path / "configs", config={"simulator": {"tables": named}})
    what = describe_judged("toy.safetensors", Path("../configs"), BANDS, BANDS[:1], None, True)
    monkeypatch.chdir(place if folder == "here" else tmp_path)  # processes may be elsewhere
    assert open_judged(json.loads(json.dumps(what))).bands == BANDS[:1]
    assert asked == [(place / "tables" / "their.safetensors").resolve()]


def test_what_is_wrong_is_one_message(inputs: Path, toy: Any, here: type[Here]) -> None:
    for words, said in (
        (("--galaxies", "sim-1,sim-9"), "sim-9"),
        (("--preset", "papers"), "there is no preset 'papers'; choose one of quick, standard, paper"),
        (("--exact",), "does not say which simulator it imitates"),
    ):
        code, text = call("judge", inputs / "config.yaml", "--out", inputs / "judge", *words)
        assert code == 1
        assert said in text
        assert "Traceback" not in text
    assert not (inputs / "judge").exists()
    for words, said in (
        ((inputs / "nowhere", inputs), "there is no result"),
        ((inputs, inputs), "has no posterior.nc or posterior.zarr"),
        ((inputs / "table.ecsv", inputs), "ends in .zarr or .nc"),
    ):
        code, text = call("compare", *words)
        assert code == 1
        assert said in text


def test_without_dynesty_it_says_how_to_get_it(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starling.inference.nested.sample.find_spec", lambda _: None)
    code, text = judge(inputs)
    assert code == 1
    assert "pip install 'starling-sed[judge]'" in text


def toy_file(folder: Path, **header: Any) -> dict[str, Any]:
    """An emulator with random weights in a file, and the parts of a configuration that leave it two parameters."""
    emulator = toy_emulator("direct", BANDS)
    save_emulator(folder / "toy.safetensors", emulator, {"name": "toy", "surrogate": True} | header)
    known = {name: 0.0 for name in emulator.space.names if name.startswith("logsfr")}
    known |= {"logzsol": -0.5, "dust_index": -0.5, "dust1_fraction": 1.0, "log_fagn": -3.0, "gas_logz": -0.5}
    known |= {"log_agn_tau": 1.0, "duste_qpah": 3.0, "duste_umin": 1.0, "log_duste_gamma": -2.0}
    return {"model": {"emulator": "toy.safetensors", "fixed": known}, "output": {"report": False}}


@pytest.mark.slow
def test_processes_sample_galaxies(inputs: Path) -> None:
    """Two processes, and an emulator in a file."""
    config = yaml.safe_load((inputs / "config.yaml").read_text()) | toy_file(inputs)
    (inputs / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    words = ("--preset", "quick", "--live-points", 60, "--workers", 2, "-n", 2)
    code, text = call("judge", inputs / "config.yaml", *words, "--out", inputs / "judge")
    assert code == 0, text
    with xr.open_datatree(inputs / "judge" / "posterior.nc", engine="h5netcdf") as tree:
        assert np.isfinite(tree["nested"]["log_evidence"].values).all(), tree["diagnostics"]["flag"].values
        assert set(tree["diagnostics"]["parameter"].values) == {"logmass", "dust2"}
    assert not list((inputs / "judge" / "parts").glob(".galaxy-*"))


@pytest.mark.slow
def test_the_exact_model_judges(inputs: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch) -> None:
    """On the tables that the emulator's header names; here made-up ones."""
    asked: list[Any] = []

    def toy_tables(*what: Any) -> Tables:
        asked.append(what[0])
        return make_toy_tables()

    monkeypatch.setattr("starling.cli.opened.named_tables", toy_tables)
    imitates = {"config": {"simulator": {"tables": "their.safetensors"}}}
    config = yaml.safe_load((inputs / "config.yaml").read_text()) | toy_file(inputs, **imitates)
    (inputs / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    code, text = judge(inputs, "-n", 1, "--exact", "--live-points", 40, "--out", inputs / "judge")
    assert code == 0, text
    assert set(asked) == {"their.safetensors"}
    with xr.open_datatree(inputs / "judge" / "posterior.nc", engine="h5netcdf") as tree:
        assert np.isfinite(tree["nested"]["log_evidence"].values).all(), tree["diagnostics"]["flag"].values
        assert '"name": "exact model"' in tree.attrs["emulator"]
