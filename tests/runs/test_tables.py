"""Rows of summaries and tables on disk."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy import units
from astropy.table import Table
from toy_runs import toy_tree

from starling.inference import summary_table
from starling.runs import RunError, write_table
from starling.runs.rows import decode_rows, encode_rows, join_rows


@pytest.fixture(scope="module")
def table() -> Table:
    return summary_table(toy_tree(0, 4))


def test_no_text_of_a_summary_reads_as_missing(tmp_path: Path) -> None:
    tree = toy_tree(0, 4)
    unlike = {"unlike_training": ("galaxy", ["", "u is deeper", "", ""])}
    tree["diagnostics"] = xr.DataTree(tree["diagnostics"].to_dataset(inherit=False).assign(unlike))
    table = summary_table(tree)
    assert list(table["unlike_training"]) == ["no", "u is deeper", "no", "no"]
    assert list(table["flag"]) == ["δ is wrong with g000", "ok", "ok", "δ is wrong with g003"]
    for kind in ("ecsv", "fits"):
        same = Table.read(write_table(table, tmp_path / f"summary.{kind}", kind))
        assert list(same["unlike_training"]) == list(table["unlike_training"])


def test_a_summary_says_what_its_columns_are(table: Table) -> None:
    tree = toy_tree(0, 4)
    assert table["mwa_50"].unit == units.Gyr
    assert table["logmass_84"].unit is None
    assert table["logmass_84"].description == "mass (log10 Msun)"
    assert table["stage"].description == "what settled it"
    best = tree["sample_stats"]["lp"].values.reshape(-1, 4).argmax(axis=0)
    expected = tree["posterior"]["dust2"].values.reshape(-1, 4)[best, range(4)]
    np.testing.assert_array_equal(table["dust2_best"], expected)
    diagnostics = ["rhat_max", "ess_bulk_min", "stage", "k_hat", "outside_domain", "passed", "flag"]
    assert table.colnames[-7:] == diagnostics
    assert table["flag"][1] == "ok"


def test_no_density_no_best_fit() -> None:
    tree = toy_tree(0, 2)
    del tree["sample_stats"]
    assert not [name for name in summary_table(tree).colnames if name.endswith("_best")]


@pytest.mark.parametrize("kind", ["ecsv", "fits", "parquet"])
def test_tables_come_back(table: Table, kind: str, tmp_path: Path) -> None:
    write_table(table, tmp_path / f"t.{kind}", kind)  # type: ignore[arg-type]
    write_table(table, tmp_path / f"t.{kind}", kind)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == [f"t.{kind}"]
    again = Table.read(tmp_path / f"t.{kind}")
    assert again.colnames == table.colnames
    for name in table.colnames:
        if name == "flag" and kind == "fits":
            assert again["flag"][0] == r"\u03b4 is wrong with g000"
            continue
        assert list(again[name]) == list(table[name]), name
        assert again[name].unit == table[name].unit
        assert (again[name].description or "") == (table[name].description or "")


def test_a_full_disk_is_told(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Table, "write", full)
    with pytest.raises(RunError, match=r"t\.fits: No space left on device; earlier parts are safe"):
        write_table(table, tmp_path / "t.fits", "fits")


def test_rows_of_parts_are_joined(table: Table) -> None:
    one, two = summary_table(toy_tree(0, 1)), summary_table(toy_tree(1, 4))
    del two["k_hat"], two["stage"]
    joined = join_rows([decode_rows(encode_rows(rows, {"passed": 1})).table for rows in (one, two)])
    assert joined.colnames == table.colnames
    np.testing.assert_array_equal(joined["k_hat"], [0.2, np.nan, np.nan, np.nan])
    assert joined["stage"][0] == table["stage"][0]
    for name in set(table.colnames) - {"k_hat", "stage"}:
        assert list(joined[name]) == list(table[name])
        assert joined[name].unit == table[name].unit


def test_rows_without_a_record_are_none() -> None:
    with pytest.raises(ValueError, match="no rows of a run"):
        decode_rows(b"PAR1")
