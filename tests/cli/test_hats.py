"""A catalogue in the HATS format through a fit, into another one."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.table import Table

from starling.cli import fits
from starling.cli.hats import fit_hats
from tests.cli.test_large import SETTINGS, draws_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.skipif(find_spec("lsdb") is not None, reason="LSDB is installed")
def test_without_lsdb_it_says_what_to_install(tmp_path: Path) -> None:
    catalog: Any = None
    with pytest.raises(ImportError, match=r"starling-sed\[hats\]"):
        fit_hats(catalog, {}, tmp_path)


def test_a_catalogue_is_fitted_into_another(
    inputs: Path, toy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lsdb = pytest.importorskip("lsdb", reason="needs LSDB: pip install 'starling-sed[hats]'")
    dask = pytest.importorskip("dask")
    monkeypatch.setattr(fits, "sample_galaxies", draws_of)
    config = yaml.safe_load((inputs / "config.yaml").read_text()) | {"sampler": SETTINGS}
    table = Table.read(inputs / "table.ecsv")
    table["zred"][1] = 9.0  # outside the model: a row of its own partition, which nothing can be fitted of
    table["ra"], table["dec"] = [10.0, 100.0, 10.1, 250.0, 250.1], [-20.0, 5.0, -20.1, 60.0, 60.1]
    frame = table.to_pandas(index=False)
    with dask.config.set(scheduler="synchronous"):
        catalog = lsdb.from_dataframe(frame, ra_column="ra", dec_column="dec", lowest_order=2)
        assert len(catalog.get_healpix_pixels()) >= 3
        with pytest.raises(ValueError, match="no column nothing"):
            fit_hats(catalog, config, tmp_path / "fitted", base=inputs, keep=["nothing"])
        fit_hats(catalog, config, tmp_path / "fitted", base=inputs, keep=["zred"])
        written = lsdb.open_catalog(tmp_path / "fitted")
        found = written.compute().set_index("ra").loc[frame["ra"]]
    assert written.get_healpix_pixels() == catalog.get_healpix_pixels()
    np.testing.assert_array_equal(found["dec"], frame["dec"])
    np.testing.assert_array_equal(found["zred"], frame["zred"])
    fitted = np.asarray([0, 2, 3, 4])
    assert list(found["id"].iloc[fitted]) == ["sim-0", "sim-2", "sim-3", "sim-4"]
    np.testing.assert_allclose(found["logmass_50"].iloc[fitted], 9.0 + frame["zred"].iloc[fitted], atol=0.02)
    assert found["status"].iloc[1] == 14
    assert set(found["status"].iloc[fitted]) <= {0, 1}
    assert found["logmass_50"].isna().iloc[1]  # LSDB reads NaN as missing
