"""A small table of galaxies and its configuration, to be spoiled by the tests."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from starling.catalogues import Catalogue, load_catalogue, parse_config

BANDS = ("sdss_g0", "sdss_r0", "wfc3_ir_f160w")
BOUNDS = {"logmass": (6.0, 12.5), "logzsol": (-1.98, 0.19), "zred": (0.5, 3.0)}


def _table(n: int = 24, seed: int = 3) -> Table:
    """Fluxes in microJy of galaxies of AB 20 to 26, one of them negative, with errors of a few per cent."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"id": np.arange(100, 100 + n), "z": rng.uniform(0.6, 2.9, n)}
    for name in ("g", "r", "h"):
        flux = 10 ** (-0.4 * (rng.uniform(20, 26, n) - 23.9))
        columns[f"f_{name}"], columns[f"e_{name}"] = flux, 0.05 * flux + 0.01
    columns["f_g"][1] = -0.003
    return Table(columns)


def _config(**changes: Any) -> dict[str, Any]:
    """The configuration of ``_table``; ``a__b=value`` sets the key ``b`` of the section ``a``, None removes it."""
    config: dict[str, Any] = {
        "table": {"id": "id"},
        "redshift": "z",
        "photometry": {
            "unit": "uJy",
            "missing": [-99],
            "pattern": {"flux": "f_{}", "error": "e_{}"},
            "bands": dict(zip(BANDS, ("g", "r", "h"), strict=True)),
        },
    }
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *sections, key = path.split("__")
        target = config
        for section in sections:
            target = target.setdefault(section, {})
        if value is None:
            target.pop(key)
        else:
            target[key] = value
    return config


@pytest.fixture(scope="session")
def make_table() -> Callable[..., Table]:
    return _table


@pytest.fixture(scope="session")
def make_config() -> Callable[..., dict[str, Any]]:
    return _config


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Catalogue]:
    """Write a table, read it as a catalogue."""

    def load(
        table: Table, available: tuple[str, ...] = BANDS, name: str = "table.ecsv", **changes: Any
    ) -> Catalogue:
        path = tmp_path / name
        table.write(path, overwrite=True)
        return load_catalogue(
            parse_config(_config(**changes)), available_bands=available, bounds=BOUNDS, table=path
        )

    return load
