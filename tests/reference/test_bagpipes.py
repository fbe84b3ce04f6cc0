"""The exact model against Bagpipes' own on the same tables.

Bagpipes averages the SSPs over bins of 0.1 dex in age; the comparison does the same, with doubled nodes in the SSP
table. It samples spectra at points (R = 1000 here; its default is R = 100). What is left is 0.1% of the stars' light,
half of it Bagpipes' value of the solar luminosity, and up to 0.5% of the dust's emission: its Calzetti curve is another
one below 1200 A, so that dust absorbs another amount. Its cosmology is H0 = 70, Om = 0.3: fluxes are compared at
the same
distance. Bands are redward of Lyman alpha, since its IGM is that of Inoue et al. (2014).
"""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from starling.cosmology import luminosity_distance_mpc
from starling.photometry import load_bands
from starling.spaces import prospector_alpha
from starling.sps import SSPGrid, Tables, exact_model, load_tables
from starling.sps.pixels import Projection, project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("bagpipes") is None, reason="needs the bagpipes package"),
]

BANDS = (
    "cfht_megacam_us_9301",
    "subaru_suprimecam_B",
    "acs_wfc_f606w",
    "subaru_suprimecam_zp",
    "wfc3_ir_f125w",
    "wfc3_ir_f160w",
    "vista_vircam_Ks",
    "spitzer_irac_ch1",
    "spitzer_irac_ch2",
    "spitzer_irac_ch3",
    "spitzer_irac_ch4",
    "spitzer_mips_24",
)
LOG_U = -3.0


@pytest.fixture(scope="module")
def bagpipes() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in its sources
        import bagpipes
    bagpipes.config.R_phot = 1000.0
    return bagpipes


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("filters")
    paths = []
    for band in load_bands(BANDS):
        path: Path = folder / f"{band.name}.dat"
        np.savetxt(path, np.column_stack([band.wave_aa, band.transmission]))
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module")
def tables(bagpipes: Any) -> Tables:
    whole = load_tables(log_u=LOG_U)
    return whole._replace(ssp=binned(whole.ssp, bagpipes.config.age_bins / 1e9))


def binned(ssp: SSPGrid, edges_gyr: np.ndarray) -> SSPGrid:
    """Means over age bins, held constant within each by two nodes per bin."""
    middles = 0.5 * (ssp.age_gyr[1:] + ssp.age_gyr[:-1])
    raw = np.concatenate([[0.0], middles, [max(25.0, edges_gyr[-1])]])
    overlap = np.minimum(raw[1:], edges_gyr[1:, None]) - np.maximum(raw[:-1], edges_gyr[:-1, None])
    weights = np.clip(overlap, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    inner = 2e-3
    starts, ends = edges_gyr[:-1] * (1 + inner), edges_gyr[1:] * (1 - inner)
    starts[0] = 0.5 * edges_gyr[1]
    return ssp._replace(
        age_gyr=np.column_stack([starts, ends]).ravel(),
        l_lambda=np.repeat(np.einsum("ja,zaw->zjw", weights, ssp.l_lambda), 2, axis=1).astype(np.float32),
        mass_fraction=np.repeat(np.einsum("ja,za->zj", weights, ssp.mass_fraction), 2, axis=1),
    )


@pytest.mark.parametrize("zred", [0.05, 0.7, 2.0])
@pytest.mark.parametrize(
    ("history", "dust", "nebular"),
    [("burst", 0.0, False), ("constant", 0.0, False), ("constant", 1.0, False), ("constant", 1.0, True)],
)
def test_photometry_agrees(
    bagpipes: Any, curves: list[str], tables: Tables, zred: float, history: str, dust: float, nebular: bool
) -> None:
    edges = bagpipes.config.age_bins / 1e9
    components: dict[str, Any] = {"redshift": zred}
    if history == "burst":
        components["burst"] = {"age": 1.0, "massformed": 10.0, "metallicity": 1.0}
        last = int(np.searchsorted(edges, 1.0))
        spans, masses = np.array([0.0, edges[last - 1], edges[last]]), np.array([0.0, 1.0])
    else:
        components["constant"] = {"age_min": 0.0, "age_max": 1.0, "massformed": 10.0, "metallicity": 1.0}
        spans, masses = np.array([0.0, 1.0]), np.array([1.0])
    if dust:
        components["dust"] = {"type": "Calzetti", "Av": dust, "qpah": 2.5, "umin": 1.0, "gamma": 0.01}
    if nebular:
        components["nebular"] = {"logU": LOG_U}
    theirs = bagpipes.model_galaxy(components, filt_list=curves, phot_units="mujy").photometry * 1e-6 / 3631.0
    distance = bagpipes.utils.cosmo.luminosity_distance(zred).to("Mpc").value
    used = tables._replace(
        nebular=tables.nebular if nebular else None, dust_emission=tables.dust_emission if dust else None
    )
    model = exact_model(used, BANDS, prospector_alpha(agn=False, zred=(0.0, 3.0)), attenuation="calzetti")
    values = {
        "logzsol": 0.0,
        "gas_logz": 0.0,
        "dust2": dust / 1.0857362,
        "dust1_fraction": 0.0,
        "duste_qpah": 2.5,
        "duste_umin": 1.0,
        "log_duste_gamma": -2.0,
    }
    spectrum = model.spectrum_of(
        jnp.asarray(masses), jnp.asarray(spans), {name: jnp.asarray(value) for name, value in values.items()}
    )
    projection = Projection(model.projection_weights, model.offsets, model.reach)
    at_10_pc = project(spectrum.total, jnp.asarray(zred), projection, model.pixels)
    # the distance modulus of their cosmology; ours is checked against astropy elsewhere
    assert 0.9 < distance / float(luminosity_distance_mpc(zred)) < 1.1
    ours = np.asarray(at_10_pc) * 1e10 * (1e-5 / distance) ** 2
    blue_ends = np.array(
        [band.wave_aa[band.transmission > 1e-3 * band.transmission.max()][0] for band in load_bands(BANDS)]
    )
    redward = blue_ends / (1 + zred) > 1216.0
    assert np.count_nonzero(redward) >= len(BANDS) - 1
    assert np.max(np.abs(ours / theirs - 1)[redward]) < 0.006
