from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from starling.catalogues import Catalogue, CatalogueError, load_catalogue, parse_config
from starling.catalogues.read import identifiers, read_table, to_numbers

BANDS = ("sdss_g0", "sdss_r0", "wfc3_ir_f160w")
BOUNDS = {"zred": (0.5, 3.0)}
MakeTable = Callable[..., Table]
MakeConfig = Callable[..., dict[str, Any]]
FORMATS = {"t.fits": "fits", "t.ecsv": "ascii.ecsv", "t.csv": "ascii.csv", "t.parquet": "parquet"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_galaxies(
    name: str, tmp_path: Path, make_table: MakeTable, make_config: MakeConfig
) -> None:
    table = make_table()
    table.write(tmp_path / name, format=FORMATS[name])
    catalogue = load_catalogue(
        parse_config(make_config()), available_bands=BANDS, bounds=BOUNDS, table=tmp_path / name
    )
    assert catalogue.ids == tuple(str(i) for i in table["id"])
    assert catalogue.bands == BANDS
    np.testing.assert_allclose(catalogue.observations.flux[:, 1], np.array(table["f_r"]) / 3.631e9, rtol=1e-6)
    np.testing.assert_allclose(
        catalogue.observations.flux_err[:, 2], np.array(table["e_h"]) / 3.631e9, rtol=1e-6
    )
    np.testing.assert_allclose(catalogue.redshift, np.array(table["z"]))
    np.testing.assert_allclose(catalogue.observations.fixed["zred"], np.array(table["z"]), rtol=1e-6)
    assert catalogue.observations.mask.all()
    assert not catalogue.findings


def test_a_commented_header(tmp_path: Path) -> None:
    path = tmp_path / "t.cat"
    path.write_text("# id f\n# a further comment\n1 2.5\n2 -99\n")
    table = read_table(path)
    assert table.colnames == ["id", "f"]
    assert list(table["f"]) == [2.5, -99.0]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.xyz", "a b\n", "suffix '.xyz' tells no format"),
        ("t.cat", "# a b\n1 2 3\n", "cannot be read as ascii.commented_header"),
        ("t.csv", "a,b\n", "has no rows"),
        ("t.fits", "no fits", "cannot be read as fits"),
    ],
)
def test_files_that_cannot_be_read(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CatalogueError, match=said):
        read_table(tmp_path / name)
    with pytest.raises(CatalogueError, match="there is no table"):
        read_table(tmp_path / "none.csv")


def test_columns_of_any_kind_become_numbers() -> None:
    table = Table(
        {"a": np.array(["1.5", "x", "", "nan"]), "b": MaskedColumn([1, 2, 3, 4], mask=[0, 1, 0, 0])}
    )
    text, masked = to_numbers(table["a"]), to_numbers(table["b"])
    np.testing.assert_array_equal(text.values, [1.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(text.unreadable, [False, True, False, False])
    np.testing.assert_array_equal(text.empty, [False, False, True, False])
    np.testing.assert_array_equal(masked.values, [1.0, np.nan, 3.0, 4.0])
    np.testing.assert_array_equal(masked.empty, [False, True, False, False])


def test_ids_of_any_kind_are_text() -> None:
    table = Table({"a": [12.0, np.nan], "b": np.array([b"x ", b"y"]), "c": [1, 2]})
    assert identifiers(table["a"]) == ("12", "")
    assert identifiers(table["b"]) == ("x", "y")
    assert identifiers(table["c"]) == ("1", "2")


def test_missing_columns_come_with_near_misses(read: Callable[..., Catalogue], make_table: MakeTable) -> None:
    table = make_table()
    table.rename_column("f_g", "F_g")
    with pytest.raises(
        CatalogueError, match=r"sdss_g0\.flux: the table has no column 'f_g'; did you mean 'F_g'"
    ):
        read(table)
    with pytest.raises(CatalogueError, match=r"table\.id: the table has no column 'ID'; did you mean 'id'"):
        read(make_table(), table__id="ID")
    with pytest.raises(CatalogueError, match=r"redshift\.column: the table has no column 'zz'"):
        read(make_table(), redshift="zz")
    with pytest.raises(CatalogueError, match=r"there is no join 'dat'"):
        read(make_table(), redshift="dat.z")


def test_a_column_with_many_values_per_row(read: Callable[..., Catalogue], make_table: MakeTable) -> None:
    table = make_table()
    table["f_g"] = np.ones((len(table), 2))
    with pytest.raises(CatalogueError, match=r"column 'f_g' has \(2,\) values per row"):
        read(table)


def test_joined_tables_are_matched_by_id(
    read: Callable[..., Catalogue], tmp_path: Path, make_table: MakeTable
) -> None:
    table = make_table(5)
    Table(
        {"name": [104, 102, 101, 100, 777], "z_best": [0.9, 0.8, 0.7, 0.6, 2.0], "m": [4, 2, 1, -99, 7]}
    ).write(tmp_path / "other.csv", format="ascii.csv")
    catalogue = read(
        table,
        joins={"other": {"path": "other.csv", "id": "name"}},
        redshift="other.z_best",
        comparison={"mass": {"column": "other.m", "missing": [-99]}},
    )
    assert catalogue.ids == ("100", "101", "102", "104")
    np.testing.assert_allclose(catalogue.redshift, [0.6, 0.7, 0.8, 0.9])
    np.testing.assert_array_equal(catalogue.extra["mass"], [np.nan, 1, 2, 4])
    (lost,) = catalogue.findings
    assert (lost.row, lost.id, lost.column, lost.reason) == (4, "103", "other.z_best", "no redshift")


def test_rows_are_selected(read: Callable[..., Catalogue], make_table: MakeTable) -> None:
    table = make_table(20)
    table["use"] = np.arange(20) % 2
    cuts = {"use": {"min": 1}}
    assert len(read(table, table__select={"cuts": cuts}).ids) == 10
    assert read(table, table__select={"cuts": cuts, "max_rows": 3}).ids == ("101", "103", "105")
    random = read(table, table__select={"max_rows": 5, "seed": 1})
    assert random.ids == read(table, table__select={"max_rows": 5, "seed": 1}).ids
    assert list(random.rows) == sorted(random.rows)
    assert read(table, table__select={"ids": [103, "110"]}).ids == ("103", "110")
    some = read(table, table__select={"ids": [103, "1100"]})
    assert "did you mean '110'" in some.findings[0].reason
    with pytest.raises(CatalogueError, match="leaves none of the 20 rows"):
        read(table, table__select={"cuts": {"use": {"min": 2}}})
