"""A piece of a catalogue from rows to rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.table import Table

from starling.catalogues import CatalogueError
from starling.cli import fits
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
