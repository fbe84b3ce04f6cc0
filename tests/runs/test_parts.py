"""Parts on disk: damaged, killed while they are written, on a disk that fills up; what is kept of the draws."""

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import toy_runs
import xarray as xr
from toy_runs import CHAINS, DRAWS, summary_of, toy_fit, toy_tree

from starling.catalogues.config import OutputConfig
from starling.runs import RunError, Storage, complete, merged, open_run, run, storage_of
from starling.runs.lock import LOCK
from starling.runs.parts import load_part, load_rows, passed_of_part, save_part
from starling.runs.storage import round_bits

MAKER = Path(toy_runs.__file__)


def part(folder: Path, number: int, kind: str = "nc") -> Path:
    return folder / "parts" / f"part-{number:05d}.{kind}"


def test_processes_that_are_killed_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    paths = os.pathsep.join([str(MAKER.parent), str(MAKER.parents[1] / "src")])
    made = subprocess.run(
        [sys.executable, "-W", "ignore", MAKER, there, "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert made.returncode == 0, made.stderr
    killed = json.loads(made.stdout)
    assert killed >= 1
    begun = Counter(int(line) for line in (there / "calls").read_text().split())
    assert set(begun) == set(range(6))
    assert sum(begun.values()) <= 6 + killed  # every kill costs the part at work, and no other
    fit = toy_fit(12, 2, tmp_path / "again")
    whole = run(toy_fit(12, 2), here)
    xr.testing.assert_identical(run(fit, there), whole)
    assert not (tmp_path / "again").exists()
    assert summary_of(fit, there).pformat() == summary_of(fit, here).pformat()
    assert {path.suffix for path in there.glob("parts/.*") if path.name != LOCK} <= {".partial"}


@pytest.mark.parametrize("kind", ["nc", "parquet"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone", "exchanged"])
def test_a_damaged_part_is_made_anew(kind: str, how: str, tmp_path: Path) -> None:
    calls, fit = tmp_path / "calls", toy_fit(6, 2)
    whole = run(fit, tmp_path / "run")
    before = summary_of(fit, tmp_path / "run").pformat()
    path = part(tmp_path / "run", 1, kind)
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "changed":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(part(tmp_path / "run", 0, kind).read_bytes())
    assert passed_of_part(part(tmp_path / "run", 1), ("g002", "g003")) is None
    xr.testing.assert_identical(run(toy_fit(6, 2, calls), tmp_path / "run"), whole)
    assert calls.read_text() == "1\n"
    assert summary_of(fit, tmp_path / "run").pformat() == before


@pytest.mark.parametrize("kind", ["nc", "parquet"])
def test_every_changed_byte_is_noticed(kind: str, tmp_path: Path) -> None:
    fit = toy_fit(2, 2)
    complete(fit, tmp_path)
    path = part(tmp_path, 0, kind)
    whole = path.read_bytes()
    assert passed_of_part(part(tmp_path, 0), fit.ids) == 1
    missed = []
    for position in {*range(0, len(whole), max(1, len(whole) // 500)), *range(len(whole) - 200, len(whole))}:
        path.write_bytes(
            whole[:position] + bytes([whole[position] ^ (1 << position % 8)]) + whole[position + 1 :]
        )
        if passed_of_part(part(tmp_path, 0), fit.ids) is not None:
            missed.append(position)
    assert not missed


def test_damaged_rows_are_named(tmp_path: Path) -> None:
    fit = toy_fit(4, 2)
    complete(fit, tmp_path)
    opened = open_run(tmp_path)
    path = part(tmp_path, 1, "parquet")
    path.write_bytes(path.read_bytes()[:-1])
    for read in (lambda: summary_of(fit, tmp_path), opened.summary, lambda: open_run(tmp_path)):
        with pytest.raises(RunError, match=r"part-00001\.parquet .* makes it anew"):
            read()


def test_a_disk_that_fills_up_ends_with_a_message(tmp_path: Path) -> None:
    """A limit to the size of files does what a full disk does: writing fails, and not at once."""
    fit = toy_fit(6, 2)
    run(fit, tmp_path / "whole")
    size = part(tmp_path / "whole", 0).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        with pytest.raises(RunError, match=r"part-00000\.nc: File too large; earlier parts are safe"):
            complete(fit, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "run" / "parts").iterdir()] == [LOCK]
    xr.testing.assert_identical(run(fit, tmp_path / "run"), merged(fit, tmp_path / "whole"))


def test_a_part_that_is_made_twice_has_the_same_bytes(tmp_path: Path) -> None:
    for folder, when in (("one", "now"), ("other", "later")):
        tree = toy_tree(0, 2)
        tree.attrs["created"] = when
        (tmp_path / folder / "parts").mkdir(parents=True)
        save_part(tree, part(tmp_path / folder, 0))
        assert tree.attrs["created"] == when
    for kind in ("nc", "parquet"):
        one, other = (part(tmp_path / folder, 0, kind).read_bytes() for folder in ("one", "other"))
        assert one == other


def test_other_storage_is_another_run(tmp_path: Path) -> None:
    complete(toy_fit(4, 2), tmp_path)
    with pytest.raises(RunError, match="changed: storage"):
        complete(toy_fit(4, 2, storage=Storage(draws=10)), tmp_path)


def test_fewer_draws_are_kept_and_the_rows_are_of_all(tmp_path: Path) -> None:
    fit = toy_fit(5, 3, storage=Storage(draws=20, leave_out=("sfh",), significant_digits=4))
    kept, whole = run(fit, tmp_path), toy_tree(0, 5)
    assert kept["posterior"]["logmass"].shape == (CHAINS, 10, 5)
    np.testing.assert_array_equal(kept["posterior"]["draw"], np.arange(0, DRAWS, 4))
    np.testing.assert_allclose(kept["posterior"]["logmass"], whole["posterior"]["logmass"][:, ::4], rtol=5e-5)
    assert kept["posterior"]["logmass"].attrs == whole["posterior"]["logmass"].attrs
    assert set(kept["derived"].data_vars) == {"mwa"}
    np.testing.assert_array_equal(kept["posterior_predictive"]["draw"], [0, 20])  # predicted and kept
    assert json.loads(kept.attrs["storage"])["draws"] == 20
    rows = summary_of(fit, tmp_path)
    expected = np.percentile(whole["posterior"]["logmass"].values, 84, axis=(0, 1))
    np.testing.assert_allclose(rows["logmass_84"], expected, rtol=1e-6)
    assert "sfh_2_16" in rows.colnames


def test_quantities_that_can_be_computed_are_left_out() -> None:
    kept = Storage(leave_out=("derived", "predicted")).reduce(toy_tree(0, 2))
    assert {"derived", "posterior_predictive"}.isdisjoint(kept.children)
    assert kept["posterior"].sizes["draw"] == DRAWS


@pytest.mark.parametrize("digits", [2, 3, 5, 6, 7])
def test_rounding_is_as_good_as_it_says(digits: int) -> None:
    values = np.random.default_rng(0).lognormal(0, 10, 10_000).astype(np.float32)
    rounded = round_bits(values, digits)
    error = np.abs(rounded.astype(float) / values - 1).max()
    assert error <= 0.5 * 10.0**-digits
    assert error > 0 or digits == 7
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(round_bits(special, digits), special)


def test_what_a_configuration_keeps() -> None:
    assert storage_of(OutputConfig(), 2000) == Storage()
    assert storage_of(OutputConfig(), 2001) == Storage(draws=500, significant_digits=5)
    assert storage_of(OutputConfig(draws="all", significant_digits=7), 2001) == Storage(significant_digits=7)
    assert storage_of(OutputConfig(draws=100, leave_out=("sfh",), compression=9), 3) == Storage(
        100, ("sfh",), None, 9
    )


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"significant_digits": 1}, {"compression": 10}])
def test_storage_that_makes_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Storage(**wrong)  # type: ignore[arg-type]


def test_a_run_is_opened_part_by_part(tmp_path: Path) -> None:
    fit = toy_fit(7, 3)
    whole = run(fit, tmp_path)
    opened = open_run(tmp_path)
    assert opened.ids == fit.ids
    assert [tree["posterior"].sizes["galaxy"] for tree in opened.trees()] == [3, 3, 1]
    one = opened.galaxy("g004")
    xr.testing.assert_identical(
        one["posterior"].to_dataset(), whole["posterior"].to_dataset().isel(galaxy=[4])
    )
    some = opened.select(["g006", "g000", "g005"])
    assert list(some["posterior"]["galaxy"].values) == ["g006", "g000", "g005"]
    np.testing.assert_array_equal(some["posterior"]["logmass"], whole["posterior"]["logmass"][..., [6, 0, 5]])
    np.testing.assert_array_equal(some["constant_data"]["zred"], whole["constant_data"]["zred"][[6, 0, 5]])
    assert list(opened.summary()["id"]) == list(fit.ids)
    with pytest.raises(KeyError, match="no galaxy 'g04'; did you mean 'g004'"):
        opened.galaxy("g04")


def test_a_run_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run: it has no run\.json"):
        open_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match=r"run\.json cannot be read as the record of a run"):
        open_run(tmp_path)
    (tmp_path / "run.json").write_text('{"inputs": {}}')
    with pytest.raises(RunError, match="no finished part yet"):
        open_run(tmp_path)
    complete(toy_fit(2, 2), tmp_path, fresh=True)
    opened = open_run(tmp_path)
    part(tmp_path, 0).write_bytes(b"")
    with pytest.raises(RunError, match=r"part-00000\.nc is damaged"):
        next(opened.trees())


def test_parts_of_other_galaxies_are_not_taken(tmp_path: Path) -> None:
    complete(toy_fit(2, 2), tmp_path)
    assert load_part(part(tmp_path, 0), ("g000", "g001")) is not None
    assert load_part(part(tmp_path, 0), ("g000", "g002")) is None
    assert load_rows(part(tmp_path, 0), ("g000", "g002")) is None
    assert load_rows(part(tmp_path, 1)) is None
