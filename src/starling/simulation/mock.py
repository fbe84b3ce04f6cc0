"""Mock catalogues: galaxies drawn from a prior, observed through a forward model with the noise of a survey."""

from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import Table
from pydantic import Field, model_validator

from starling.configuration import Section, read_yaml
from starling.forward import ForwardModel

MICROJANSKY = 3631e6  # per maggie
_MAX_DRAWS = 1_000_000
_BATCH = 256


class MockConfig(Section):
    """What a mock survey is; unknown keys are errors.

    ``depth_mag`` maps every band to its 5-sigma AB limit; errors are the depth and ``calibration`` (a fraction of the
    true flux) in quadrature. Galaxies are kept where the true flux in ``detection_band`` is ``detection_snr`` errors.
    """

    n: Annotated[int, Field(gt=0)]
    seed: Annotated[int, Field(ge=0)] = 0
    agn: bool = True
    zred: tuple[float, float] = (0.5, 3.0)
    calibration: Annotated[float, Field(ge=0)] = 0.05
    detection_band: str
    detection_snr: Annotated[float, Field(ge=0)] = 5.0
    depth_mag: dict[str, float]

    @model_validator(mode="after")
    def _detection_is_a_band(self) -> "MockConfig":
        if self.detection_band not in self.depth_mag:
            raise ValueError(f"detection_band {self.detection_band!r} is not one of the bands in depth_mag")
        return self


def read_mock_config(path: Path) -> MockConfig:
    """Read a YAML file; ValueError names the key and what is wrong with it."""
    return read_yaml(path, MockConfig)


def mock_catalogue(model: ForwardModel, config: MockConfig) -> Table:
    """A table of ``config.n`` galaxies from the prior of ``model.space`` whose detection band is bright enough.

    Columns: ``id``, ``zred``, ``flux_BAND`` and ``error_BAND`` (microJy, noise added), and the truth: ``true_NAME`` of
    every parameter and every scalar derived quantity. Raises ValueError where hardly any draw is bright enough.
    """
    model = model.select(list(config.depth_mag))
    sigma = 10.0 ** (-0.4 * np.array(list(config.depth_mag.values()))) / 5.0
    detection = model.bands.index(config.detection_band)
    compute = jax.jit(lambda m, thetas: jax.vmap(lambda t: (m(t), m.properties(t)))(thetas))
    kept: list[dict[str, Any]] = []
    key, noise_key = jax.random.split(jax.random.key(config.seed))
    for i in range(_MAX_DRAWS // _BATCH):
        theta = model.space.sample(jax.random.fold_in(key, i), (_BATCH,))
        flux, properties = compute(model, theta)
        flux = np.asarray(flux, float)
        error = np.hypot(sigma, config.calibration * flux)
        bright = np.flatnonzero(flux[:, detection] >= config.detection_snr * error[:, detection])
        truth = {name: np.asarray(value) for name, value in model.space.unpack(theta).items()}
        truth |= {name: np.asarray(value) for name, value in properties.items() if jnp.ndim(value) == 1}
        kept += [
            {"flux": flux[j], "error": error[j]} | {name: float(v[j]) for name, v in truth.items()}
            for j in bright
        ]
        if len(kept) >= config.n:
            return _table(kept[: config.n], model.bands, noise_key)
    raise ValueError(
        f"only {len(kept)} of {_MAX_DRAWS} draws from the prior reach S/N {config.detection_snr:g} in "
        f"{config.detection_band}: lower detection_snr or deepen depth_mag"
    )


def _table(galaxies: list[dict[str, Any]], bands: tuple[str, ...], noise_key: jax.Array) -> Table:
    flux = np.stack([galaxy.pop("flux") for galaxy in galaxies])
    error = np.stack([galaxy.pop("error") for galaxy in galaxies])
    observed = flux + error * np.asarray(jax.random.normal(noise_key, flux.shape), float)
    table = Table({"id": [f"mock-{i:04d}" for i in range(1, len(galaxies) + 1)]})
    table["zred"] = np.round([galaxy["zred"] for galaxy in galaxies], 6)
    for j, band in enumerate(bands):
        for name, values in (("flux", observed), ("error", error)):
            column = [float(f"{value:.6g}") for value in values[:, j] * MICROJANSKY]
            table[f"{name}_{band}"] = column
            table[f"{name}_{band}"].unit = "uJy"
    for name in galaxies[0]:
        table[f"true_{name}"] = [float(f"{galaxy[name]:.7g}") for galaxy in galaxies]
    return table
