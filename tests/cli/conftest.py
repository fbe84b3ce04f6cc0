"""A cheap forward model in the place of the emulator that the package ships, and galaxies simulated with it."""

import importlib
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
import yaml
from astropy.table import Table
from jax import Array

from starling.cli import opened, run_report
from starling.forward import PROPERTIES
from starling.parameters import Parameter, ParameterSpace
from starling.priors import TruncatedNormal, Uniform

BANDS = ("cfht_megacam_us_9301", "subaru_suprimecam_V", "acs_wfc_f814w", "wfc3_ir_f160w", "spitzer_irac_ch1")
SHORT = {
    "n_warmup": 40,
    "n_draws": 40,
    "chunk": 20,
    "n_chains": 2,
    "batch_size": 2,
    "n_descents": 2,
    "descent_steps": 10,
}
SPACE = ParameterSpace(
    "toy",
    (
        Parameter("logmass", Uniform(6.0, 12.5)),
        Parameter("dust2", TruncatedNormal(0.3, 1.0, 0.0, 4.0)),
        Parameter("zred", Uniform(0.5, 3.0)),
    ),
)


@jax.tree_util.register_pytree_node_class
class ToyModel:
    """Mass scales the flux, dust reddens it, redshift dims it."""

    linear_in_mass = True

    def __init__(self, reddening: Array, bands: tuple[str, ...]) -> None:
        self.reddening, self.bands, self.space = reddening, bands, SPACE

    def tree_flatten(self) -> tuple[tuple[Array], tuple[str, ...]]:
        return (self.reddening,), self.bands

    @classmethod
    def tree_unflatten(cls, bands: tuple[str, ...], leaves: tuple[Array]) -> Self:
        return cls(*leaves, bands)

    @property
    def wave_effective_aa(self) -> Array:
        return 3800.0 / self.reddening

    def __call__(self, theta: Array) -> Array:
        return 10.0 ** (theta[0] - 19.0 - 0.3 * theta[1] * self.reddening) / (1.0 + theta[2]) ** 2

    def flux_error(self, flux: Array) -> Array:
        return 0.01 * jnp.abs(flux)

    def properties(self, theta: Array) -> dict[str, Array]:
        shapes = {"sfh": (7,), "sfh_edges_gyr": (8,)}
        values = {name: jnp.broadcast_to(theta[0], shapes.get(name, ())) for name in PROPERTIES}
        return values | {"sfr_100": 10.0 ** (theta[0] - 10.0), "sfh_edges_gyr": jnp.linspace(0.0, 5.0, 8)}

    def select(self, bands: tuple[str, ...]) -> Self:
        keep = np.array([self.bands.index(band) for band in bands])
        return type(self)(self.reddening[keep], tuple(bands))


def _simulate(n: int) -> Table:
    """A table as the package ships one: microJy, truths included."""
    model, rng = ToyModel(jnp.asarray([1.0, 0.7, 0.47, 0.25, 0.1]), BANDS), np.random.default_rng(1)
    theta = np.stack([rng.uniform(9.5, 11, n), rng.uniform(0.2, 1.5, n), rng.uniform(0.6, 2.5, n)], axis=1)
    flux = np.asarray(jax.vmap(model)(jnp.asarray(theta, jnp.float32)), float) * 3.631e9
    error = 0.05 * flux + 0.01
    columns: dict[str, Any] = {"id": [f"sim-{i}" for i in range(n)], "zred": theta[:, 2]}
    for i, band in enumerate(BANDS):
        columns |= {
            f"flux_{band}": flux[:, i] + error[:, i] * rng.normal(size=n),
            f"error_{band}": error[:, i],
        }
    columns |= {
        "true_logmass": theta[:, 0],
        "true_dust2": theta[:, 1],
        "true_sfr_100": 10 ** (theta[:, 0] - 10),
    }
    return Table(columns)


def _write_report(tree: xr.DataTree, path: Path, **what: Any) -> Path:
    """Stands in for the report, whose figures have tests of their own."""
    compared = [(item.name, item.source, len(item.values)) for item in what["comparisons"]]
    path.write_text(f"{what['title']} {compared} {len(what['findings'])}")
    return path


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ToyModel:
    """The forward model that every command takes for the emulator."""
    model = ToyModel(jnp.asarray([1.0, 0.7, 0.47, 0.25, 0.1]), BANDS)
    monkeypatch.setattr(opened, "load_emulator", lambda _: model)
    monkeypatch.setattr(opened, "read_header", lambda _: {"name": "toy", "surrogate": True})
    monkeypatch.setattr(opened, "find_emulator", lambda name, folder: folder / name)
    monkeypatch.setattr(run_report, "write_report", _write_report)
    return model


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and short chains where a command takes the settings of the package."""
    module = importlib.import_module("starling.cli.quickstart")  # the package has the command by that name
    whole = module.quickstart_config
    monkeypatch.setattr(module, "quickstart_config", lambda *given: whole(*given) | {"sampler": SHORT})


@pytest.fixture
def simulated() -> Table:
    """Four galaxies as the package ships its own."""
    return _simulate(4)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with a table of five galaxies and the configuration for it."""
    _simulate(5).write(tmp_path / "table.ecsv")
    config = {
        "table": {"path": "table.ecsv", "id": "id"},
        "redshift": "zred",
        "photometry": {
            "unit": "uJy",
            "pattern": {"flux": "flux_{}", "error": "error_{}"},
            "bands": {band: band for band in BANDS},
        },
        "comparison": {"theirs": {"column": "true_logmass", "with": "logmass"}},
        "sampler": {
            "n_warmup": 40,
            "n_draws": 40,
            "chunk": 20,
            "n_chains": 2,
            "batch_size": 2,
            "n_descents": 2,
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return tmp_path
