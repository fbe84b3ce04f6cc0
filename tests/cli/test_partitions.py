"""A piece of a catalogue from rows to rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.table import Table

from starling.catalogues import CatalogueError
from starling.cli import fits, partitions
from starling.cli.partitions import fit_partition
from tests.cli.test_large import SETTINGS, draws_of


def test_every_row_of_a_partition_has_a_row(inputs: Path, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "sample_galaxies", draws_of)
    config = yaml.safe_load((inputs / "config.yaml").read_text()) | {"sampler": SETTINGS}
    table = Table.read(inputs / "table.ecsv")
    table["zred"][1] = 9.0
    frame = table.to_pandas(index=False).set_index(pd.Index([7, 3, 5, 1, 2], name="_healpix_29"))
    found = fit_partition(frame, config, str(inputs))
    assert list(found.index) == [7, 3, 5, 1, 2]
    assert found.index.name == "_healpix_29"
    assert found["status"].iloc[1] == 14
    assert set(found["status"].drop(index=3)) <= {0, 1}
    zred = frame["zred"].drop(index=3)
    np.testing.assert_allclose(found["logmass_50"].drop(index=3), 9.0 + zred, atol=0.02)
    assert np.isnan(found["logmass_50"].loc[3])
    assert not found["passed"].loc[3]
    assert list(found["id"]) == ["sim-0", "", "sim-2", "sim-3", "sim-4"]
    nothing = fit_partition(frame.iloc[1:2], config, str(inputs), like=found)
    assert list(nothing["status"]) == [14]
    assert nothing.dtypes.to_dict() == found.dtypes.to_dict()
    with pytest.raises(CatalogueError, match="the table: no galaxy can be fitted"):
        fit_partition(frame.iloc[1:2], config, str(inputs))


@pytest.fixture
def frame(inputs: Path, toy: Any) -> pd.DataFrame:
    return Table.read(inputs / "table.ecsv").to_pandas(index=False)


def settings_of(inputs: Path, **select: Any) -> dict[str, Any]:
    config = yaml.safe_load((inputs / "config.yaml").read_text())
    config["table"]["select"] = select
    return config


LIKE = pd.DataFrame(
    {"id": ["a"], "logmass_50": [1.0], "passed": [True], "status": np.zeros(1, np.int16)}, index=[5]
)


def test_a_partition_without_rows(inputs: Path, frame: pd.DataFrame) -> None:
    found = fit_partition(frame.iloc[:0], settings_of(inputs), str(inputs), like=LIKE)
    assert len(found) == 0
    assert found.dtypes.to_dict() == LIKE.dtypes.to_dict()
    with pytest.raises(CatalogueError, match="no rows: give `like`"):
        fit_partition(frame.iloc[:0], settings_of(inputs), str(inputs))


def test_a_partition_of_which_cuts_leave_nothing(inputs: Path, frame: pd.DataFrame) -> None:
    config = settings_of(inputs, cuts={"zred": {"max": 0.01}})
    found = fit_partition(frame, config, str(inputs), like=LIKE)
    assert list(found["status"]) == [10] * 5
    assert found.dtypes.to_dict() == LIKE.dtypes.to_dict()


@pytest.mark.parametrize("select", [{"max_rows": 2}, {"ids": ["sim-1"]}])
def test_a_selection_of_a_whole_table_is_refused(
    select: dict[str, Any], inputs: Path, frame: pd.DataFrame
) -> None:
    with pytest.raises(CatalogueError, match=rf"table\.select\.{next(iter(select))} is of a whole table"):
        fit_partition(frame, settings_of(inputs, **select), str(inputs), like=LIKE)


def test_a_few_rows_may_have_any_brightness(
    inputs: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[tuple[str, ...]] = []

    def fit_of(_: Any, catalogue: Any, *__: Any, **___: Any) -> Any:
        reached.append(catalogue.ids)
        raise InterruptedError

    monkeypatch.setattr(partitions, "fit_of", fit_of)
    one = frame.iloc[:1].copy()
    one[[name for name in frame.columns if name.startswith(("flux_", "error_"))]] *= 1e-6
    with pytest.raises(InterruptedError):
        fit_partition(one, settings_of(inputs), str(inputs))
    assert reached == [("sim-0",)]
