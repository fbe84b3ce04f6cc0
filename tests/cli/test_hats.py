"""A catalogue in the HATS format through a fit, into another one."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.table import Table
from commands import call, write

from starling.catalogues import parse_config
from starling.cli import fits, hats
from starling.cli.hats import fit_hats
from starling.cli.hats_steps import columns_of, hats_run
from tests.cli.conftest import BANDS
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


def test_a_folder_that_is_a_hats_catalogue_is_known_by_its_properties(inputs: Path) -> None:
    sky = inputs / "sky"
    sky.mkdir()
    assert hats_run(inputs / "config.yaml", sky, None) is None
    (sky / "hats.properties").touch()
    config = yaml.safe_load((inputs / "config.yaml").read_text())
    config["joins"] = {"more": {"path": "more.csv", "id": "id"}}
    config["table"]["path"] = "sky"
    write(inputs / "config.yaml", config)
    run = hats_run(inputs / "config.yaml", None, None)
    assert run is not None
    assert run.catalogue == sky.resolve()
    assert run.base == inputs.resolve()
    assert run.config.joins["more"].path == str((inputs / "more.csv").resolve())
    elsewhere = hats_run(inputs / "config.yaml", sky, inputs / "data")
    assert elsewhere is not None
    assert elsewhere.config.joins["more"].path == str((inputs / "data" / "more.csv").resolve())
    assert hats_run(inputs / "config.yaml", None, inputs / "data") is None


def test_the_columns_that_a_configuration_names(inputs: Path) -> None:
    config = yaml.safe_load((inputs / "config.yaml").read_text())
    config["table"]["select"] = {"cuts": {"use": {"min": 1}}}
    config["photometry"]["upper_limit"] = {"column": "limit"}
    found = columns_of(parse_config(config))
    fluxes = [f"{kind}_{band}" for band in BANDS for kind in ("flux", "error")]
    assert found == ["id", "zred", "use", *fluxes, "limit", "true_logmass"]


def test_the_command_without_lsdb_says_what_to_install(
    inputs: Path, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starling.cli.hats.find_spec", lambda _: None)
    (inputs / "sky").mkdir()
    (inputs / "sky" / "hats.properties").touch()
    code, text = call("fit", inputs / "config.yaml", inputs / "sky", "--out", inputs / "out")
    assert code == 1
    assert "pip install 'starling-sed[hats]'" in text
    assert "Traceback" not in text
    assert not (inputs / "out").exists()
    code, text = call("fit", inputs / "config.yaml", inputs / "sky", "-n", 3)
    assert code == 1
    assert "--max-galaxies is for tables" in text


def test_the_command_fits_goes_on_and_starts_afresh(
    inputs: Path, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lsdb = pytest.importorskip("lsdb", reason="needs LSDB: pip install 'starling-sed[hats]'")
    monkeypatch.setattr(fits, "sample_galaxies", draws_of)
    config = yaml.safe_load((inputs / "config.yaml").read_text()) | {"sampler": SETTINGS}
    write(inputs / "config.yaml", config)
    table = Table.read(inputs / "table.ecsv")
    table["zred"][0] = 9.0  # outside the model
    table["ra"], table["dec"] = [10.0, 100.0, 10.1, 250.0, 250.1], [-20.0, 5.0, -20.1, 60.0, 60.1]
    table["useless"] = 1.0
    catalog = lsdb.from_dataframe(
        table.to_pandas(index=False), ra_column="ra", dec_column="dec", lowest_order=2
    )
    catalog.write_catalog(inputs / "sky", catalog_name="sky", as_collection=False, progress_bar=False)
    words = ("fit", inputs / "config.yaml", inputs / "sky", "--out", inputs / "out")

    code, text = call(*words, "--check")
    assert code == 0, text
    assert "4 galaxies of 5 rows, 5 bands" in text
    assert not (inputs / "out").exists()

    seen: list[int] = []
    whole, stop = hats.fit_partition, [True]

    def stopped(frame: Any, *given: Any) -> Any:
        if stop[0] and len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(len(frame))
        return whole(frame, *given)

    monkeypatch.setattr(hats, "fit_partition", stopped)
    code, text = call(*words)
    assert code == 130, text
    assert "finished partitions are in" in text
    assert len(seen) == 1
    stop[0] = False
    code, text = call(*words)
    assert code == 0, text
    assert sum(seen) == 5
    assert "of 4 galaxies converged" in text
    assert "1 rows were not fitted" in text
    found = lsdb.open_catalog(inputs / "out").compute().set_index("ra").loc[np.asarray(table["ra"])]
    assert {"ra", "dec", "id", "true_logmass", "status"} <= {*found.columns, "ra"}
    assert "useless" not in found.columns
    assert found["status"].iloc[0] == 14
    np.testing.assert_allclose(found["logmass_50"].iloc[1:], 9.0 + np.asarray(table["zred"])[1:], atol=0.02)

    code, text = call(*words)
    assert code == 0, text
    assert "is finished: --fresh fits it again" in text
    assert sum(seen) == 5
    write(inputs / "config.yaml", config | {"seed": 5})
    code, text = call(*words)
    assert code == 1
    assert "changed: config" in text
    code, text = call(*words, "--fresh")
    assert code == 0, text
    assert sum(seen) == 10
    code, text = call(*words[:-1], inputs, "--fresh")
    assert code == 1
    assert "holds something else than a fit of a HATS catalogue" in text
    assert (inputs / "table.ecsv").is_file()


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
