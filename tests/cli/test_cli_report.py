"""``starling report``: of runs that are whole, unfinished, damaged, or none; of galaxies whose draws cost nothing."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.table import Table
from commands import call

from starling.catalogues import Finding, findings_table
from starling.inference.summary import summary_table
from starling.runs import Fit, Storage, complete, open_run, summary
from starling.runs.folder import part_path
from tests.plotting.conftest import make_tree

N, EACH = 12, 4


def fit_of(tree: xr.DataTree, storage: Storage | None = None) -> Fit:
    """A run that finds what is in a tree."""
    tree.attrs["config"] = json.dumps(
        {"comparison": {"fast": {"column": "x", "with": "logmass", "label": "FAST"}}}
    )
    ids = tuple(str(name) for name in tree["observed_data"]["galaxy"].values)
    inputs = {"galaxies": "da7a", "emulator": "e41a", "flow": "f10e"}
    return Fit(
        ids,
        lambda _, start, stop, __: tree.isel(galaxy=slice(start, stop)),
        inputs,
        EACH,
        summary_table,
        storage or Storage(),
    )


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return make_tree(N, 6, n_chains=2, n_draws=60, passed=0.8, truth=False)


@pytest.fixture
def folder(tree: xr.DataTree, tmp_path: Path) -> Path:
    """A whole run with its tables."""
    fit, out = fit_of(tree), tmp_path / "run"
    complete(fit, out, command="starling fit config.yaml")
    rows = summary(fit, out)
    rows["fast"] = np.where(np.arange(N) < N // 2, np.asarray(rows["logmass_50"]) - 0.25, np.nan)
    rows.write(out / "summary.parquet")
    findings = [
        Finding("masked", 3, "a", "f_U", "u", "error is not positive"),
        Finding("warning", 0, "", "z", "", "odd"),
    ]
    findings_table(findings).write(out / "findings.ecsv")
    counts = Table({"row": np.arange(N + 2) + 1, "status": [0] * N + [13] * 2})
    counts.meta["STATUS13"], counts.meta["STATUS0"] = "not fitted: no redshift", "fitted, and passed"
    counts.write(out / "rows.ecsv")
    return out


def words(page: Path) -> str:
    """What the page says, without its drawings."""
    text = re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_a_whole_run(folder: Path, tree: xr.DataTree) -> None:
    code, text = call("report", folder, "--galaxies", 1)
    assert code == 0, text
    page = folder / "report.html"
    assert str(page) in text
    said = words(page)
    assert "not finished" not in said
    for expected in (
        "starling fit config.yaml",
        f"galaxies fitted {N} of {N}",
        "data da7a, emulator e41a, flow f10e",
        f"{int(tree['diagnostics']['passed'].sum())} of {N} galaxies passed",
        "not fitted: no redshift: 2",
        "error is not positive",
        "against FAST: median offset +0.250",
        *tree["observed_data"]["galaxy"].values,
    ):
        assert expected in said
    links = re.findall(r'<li><a href="([^"#]*)"', page.read_text(encoding="utf-8"))
    assert set(links) == {"parts", "summary.parquet", "rows.ecsv", "findings.ecsv", "run.json"}


def test_written_elsewhere_it_links_back(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pages of runs").mkdir()
    page = tmp_path / "pages of runs" / "one.html"
    assert call("report", folder, "--out", page, "--galaxies", 0)[0] == 0
    links = re.findall(r'<li><a href="([^"#]*)"', page.read_text(encoding="utf-8"))
    assert "../run/summary.parquet" in links
    assert not (folder / "report.html").exists()
    code, text = call("report", folder, "--out", tmp_path / "nowhere" / "one.html", "--galaxies", 0)
    assert code == 1
    assert "choose another file with --out" in text


def test_the_sample_is_the_same_in_parts_and_in_one_piece(tmp_path: Path) -> None:
    from starling.plotting.bands import band_fluxes
    from starling.plotting.recovery import recovery
    from starling.plotting.sample import UNUSED, gather

    tree = make_tree(N, 6, n_chains=2, n_draws=60, passed=0.8)
    complete(fit_of(tree), tmp_path / "run")
    found = gather(open_run(tmp_path / "run").trees(leave_out=UNUSED), ("logmass",))
    whole = band_fluxes(tree)
    np.testing.assert_allclose(found.fluxes.predicted, whole.predicted, rtol=1e-6)
    np.testing.assert_allclose(found.fluxes.chi2, whole.chi2, rtol=1e-5)
    assert found.fluxes.galaxies == whole.galaxies
    for one, other in zip(recovery(found.tree, "logmass"), recovery(tree, "logmass"), strict=True):
        assert one == pytest.approx(other, rel=1e-4) if isinstance(one, float) else one == other


def test_an_unfinished_run(folder: Path) -> None:
    for path in (folder / "parts").glob("part-00001.*"):
        path.unlink()
    code, text = call("report", folder, "--galaxies", 0)
    assert code == 0
    assert f"not finished: this page is about {N - EACH} of {N} galaxies" in text
    assert f"not finished: this page is about {N - EACH} of {N} galaxies" in words(folder / "report.html")
    for path in (folder / "parts").glob("part-*"):
        path.unlink()
    code, text = call("report", folder)
    assert code == 1
    assert f"holds no finished part yet: 0 of {N} galaxies are fitted" in text


@pytest.mark.parametrize("kind", [".nc", ".parquet"])
def test_a_damaged_part_is_left_out_and_named(folder: Path, kind: str) -> None:
    path = part_path(folder, 2).with_suffix(kind)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    code, text = call("report", folder, "--galaxies", 0)
    assert code == 0
    assert "1 damaged part left out (part-00002.nc)" in text
    assert f"{N - EACH} of {N} galaxies" in words(folder / "report.html")


def test_what_is_no_run(folder: Path, tmp_path: Path) -> None:
    code, text = call("report", tmp_path / "nothing")
    assert (code, "is no folder of a run" in text) == (1, True)
    code, text = call("report", tmp_path)
    assert (code, "holds no run" in text) == (1, True)
    (folder / "run.json").write_text("{")
    code, text = call("report", folder)
    assert (code, "cannot be read as the record of a run" in text) == (1, True)


def test_what_was_left_out_is_named(tree: xr.DataTree, tmp_path: Path) -> None:
    complete(fit_of(tree, Storage(leave_out=("predicted",))), tmp_path / "run")
    code, text = call("report", tmp_path / "run")
    assert code == 1
    assert "output.leave_out left out the predicted fluxes" in text
