"""`--execution`: training sets and fits that other processes make, opened there from what is on disk."""

import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr
import yaml
from astropy.table import Table
from commands import call, write
from toy_emulators import toy_emulator

from starling.catalogues import read_config
from starling.cli.fits import OPENER, Place, fit_job
from starling.cli.shards import shard_job
from starling.emulators.files import save_emulator
from starling.emulators.simulate_config import load_simulate_config
from starling.execution import ExecutionError, Job
from starling.photometry import load_bands
from tests.cli.conftest import BANDS, SHORT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed")
SETS: dict[str, Any] = {
    "name": "few",
    "space": {"agn": False},
    "simulator": {"batch": 4},
    "bands": ["sdss_g0", "sdss_r0"],
    "draws": {"given": {"points": "points.csv", "chunk": 4}, "even": {"n": 30, "chunk": 8}},  # not sorted
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A configuration of two sets, one of them of points in a table beside it."""
    config = write(tmp_path / "simulate.yaml", SETS)
    space = load_simulate_config(config).space.build()
    theta = np.asarray(space.sample(jax.random.key(0), (6,)), float)
    low, high = space.bounds
    columns = dict(zip(space.names, np.clip(theta, low, high).T, strict=True))
    Table(columns).write(tmp_path / "points.csv")
    return config


@pytest.mark.slow
def test_sets_from_a_dask_cluster_are_the_same(sets: Path, tmp_path: Path) -> None:
    pytest.importorskip("bagpipes")
    pytest.importorskip("distributed")
    where = write(tmp_path / "where.yaml", {"kind": "dask", "local": {"workers": 1, "memory": "0"}})
    code, text = call("simulate", sets, "--out", tmp_path / "there", "-x", where)
    assert code == 0, text
    assert "Dask scheduler: tcp://127.0.0.1" in text
    assert call("simulate", sets, "--out", tmp_path / "here", "--workers", 1)[0] == 0
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    # a worker that has other curves or tables than the command
    path = tmp_path / "there" / "even" / "manifest.json"
    path.write_text(path.read_text().replace('"curve_sha256": [', '"curve_sha256": ["0",'))
    job = shard_job(load_simulate_config(sets), tmp_path, tmp_path / "there", None)
    with pytest.raises(ExecutionError, match=r"not what is here: .*another simulator\.curve_sha256"):
        job.named("even")(0)


def test_where_is_said_once(sets: Path, tmp_path: Path) -> None:
    where = write(tmp_path / "where.yaml", {"kind": "processes"})
    code, text = call("simulate", sets, "--out", tmp_path / "sets", "-x", where, "--workers", 2)
    assert code == 1
    assert "leave it out where --execution says where" in text


@pytest.fixture
def galaxies(inputs: Path) -> Path:
    """The configuration of five galaxies, with an emulator in a file."""
    header = {"name": "toy", "surrogate": True, "curve_sha256": [band.sha256 for band in load_bands(BANDS)]}
    save_emulator(inputs / "toy.safetensors", toy_emulator("direct", BANDS), header)
    config = yaml.safe_load((inputs / "config.yaml").read_text())
    config |= {"model": {"emulator": "toy.safetensors"}, "output": {"report": False}, "sampler": SHORT}
    del config["comparison"]
    return write(inputs / "config.yaml", config)


@pytest.mark.slow
def test_a_fit_in_other_processes_is_the_same(galaxies: Path, tmp_path: Path) -> None:
    where = write(tmp_path / "where.yaml", {"kind": "processes", "workers": 1, "threads_per_worker": 2})
    code, text = call("fit", galaxies, "--out", tmp_path / "there", "-x", where)
    assert code == 0, text
    assert call("fit", galaxies, "--out", tmp_path / "here")[0] == 0
    here, there = (
        xr.open_datatree(tmp_path / name / "posterior.nc", engine="h5netcdf") for name in ("here", "there")
    )
    with here, there:
        for group in ("posterior", "derived", "sample_stats", "diagnostics"):
            xr.testing.assert_identical(here[group].to_dataset(), there[group].to_dataset())


def test_parts_of_another_run_are_refused(galaxies: Path, tmp_path: Path) -> None:
    place = Place(galaxies.parent, None, galaxies.parent)
    job = fit_job(read_config(galaxies), place, tmp_path / "empty")
    assert job.opener == OPENER
    with pytest.raises(ExecutionError, match="holds no run where the work is done"):
        job(0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"inputs": {"seed": 3}}')
    other = fit_job(read_config(galaxies), place, tmp_path / "run")
    with pytest.raises(ExecutionError, match=r"not what is here: .*changed: .*seed"):
        other(0)


def test_jobs_are_texts(galaxies: Path) -> None:
    """What is sent holds paths and settings: no array, no model."""
    job = fit_job(read_config(galaxies), Place(Path(), None, None), Path("out"))
    assert isinstance(job, Job)
    assert len(job.settings) < 5000
    assert os.sep in job.settings
    assert sys.executable not in job.settings
