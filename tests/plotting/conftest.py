"""Trees of the layout that a fit writes, made without a fit: draws around the truth of a toy galaxy model."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

RATIOS = 6
SCALARS = (
    "logmass",
    "logzsol",
    "dust2",
    "dust_index",
    "dust1_fraction",
    "log_fagn",
    "log_agn_tau",
    "gas_logz",
    "duste_qpah",
    "duste_umin",
    "log_duste_gamma",
)
LOW = np.array([9.0, -1.5, 0.0, -1.0, 0.2, -4.5, 0.8, -1.5, 0.5, 0.5, -3.5])
HIGH = np.array([11.8, 0.1, 2.0, 0.3, 1.8, -0.5, 2.0, 0.3, 6.0, 20.0, -0.5])
WIDTH = np.array([0.06, 0.3, 0.12, 0.15, 0.25, 0.6, 0.3, 0.4, 1.2, 4.0, 0.6])


def _fluxes(wave_um: np.ndarray, theta: np.ndarray, zred: np.ndarray) -> np.ndarray:
    """Maggies ``[..., band]`` of a broken power law with a break at 4000 Angstrom, reddened by dust2."""
    rest = wave_um / (1.0 + zred[..., None])
    colour = 0.4 + 0.5 * theta[..., 2, None]
    shape = np.where(rest < 0.4, -0.6 * colour, 0.0) - 0.5 * colour * np.maximum(0, np.log10(0.9 / rest))
    shape = shape - 0.8 * np.maximum(0, np.log10(rest / 1.8)) + 0.9 * np.maximum(0, np.log10(rest / 5.0))
    return 10 ** (theta[..., 0, None] - 10.3 - 9.0 + shape + 0.05 * theta[..., 1, None])


def make_tree(
    n_galaxies: int = 64,
    n_bands: int = 45,
    *,
    n_chains: int = 4,
    n_draws: int = 250,
    seed: int = 1,
    truth: bool = True,
    free_redshift: bool = False,
    passed: float = 0.9,
    band_off: int | None = None,
    ids: list[str] | None = None,
) -> xr.DataTree:
    """A tree as a fit writes it; the observed flux is a quarter too high in the band with index ``band_off``."""
    rng = np.random.default_rng(seed)
    sample = (n_chains, n_draws, n_galaxies)
    bands = [f"band_{index:02d}" for index in range(n_bands)]
    wave_um = np.sort(
        np.concatenate([np.geomspace(0.37, 0.95, max(n_bands - 12, 1)), np.geomspace(1.02, 24.0, 12)])
    )
    wave_um = wave_um[:n_bands]
    zred = rng.uniform(0.5, 2.8, n_galaxies)
    true_theta = rng.uniform(LOW, HIGH, (n_galaxies, len(SCALARS)))
    centre = true_theta + rng.normal(size=true_theta.shape) * WIDTH
    mixing = np.eye(len(SCALARS))
    mixing[2, 0], mixing[1, 2] = 0.6, -0.5
    theta = centre + (rng.normal(size=(*sample, len(SCALARS))) @ mixing.T) * WIDTH
    true_ratios = rng.standard_t(4, (n_galaxies, RATIOS)) * 0.3
    ratios = true_ratios + rng.normal(size=true_ratios.shape) * 0.2 + rng.normal(size=(*sample, RATIOS)) * 0.2

    true_flux = _fluxes(wave_um, true_theta, zred)
    flux_err = 0.03 * true_flux + np.median(true_flux) * 0.02 * rng.uniform(0.5, 3.0, n_bands)
    total = np.hypot(flux_err, 0.05 * true_flux)
    flux = true_flux + rng.normal(size=true_flux.shape) * total
    if band_off is not None:
        flux[:, band_off] += 0.25 * true_flux[:, band_off]
    mask = rng.uniform(size=flux.shape) > 0.08
    flux[~mask] = np.nan
    limit = mask & (rng.uniform(size=flux.shape) < 0.02)
    pulled = true_flux * (1 + 0.02 * rng.normal(size=(n_chains, 60, n_galaxies, 1)))
    predicted = pulled + 0.25 * total * rng.normal(size=(*pulled.shape[:3], n_bands))

    edges = np.concatenate([[0, 0.03], np.geomspace(0.1, 4.5, 5), [5.3]])
    edges = np.broadcast_to(edges, (*sample, 8)) * np.where(
        np.arange(8) > 2, 10.0 / (1 + zred[:, None]) / 4.0, 1.0
    )
    rate = 10 ** (
        theta[..., :1] - 9.3 - np.concatenate([np.zeros((*sample, 1)), np.cumsum(ratios, axis=-1)], axis=-1)
    )
    sfr = rate[..., 0] * 0.3 + rate[..., 1] * 0.7
    draw_dims = ("chain", "draw", "galaxy")
    identifiers = ids or [f"cosmos-{1000 + 37 * index}" for index in range(n_galaxies)]
    galaxy = {"galaxy": np.array(identifiers, dtype=object)}
    posterior = {name: (draw_dims, theta[..., index]) for index, name in enumerate(SCALARS)}
    posterior["logsfr_ratios"] = ((*draw_dims, "sfr_ratio"), ratios)
    if free_redshift:
        posterior["zred"] = (draw_dims, zred + rng.normal(size=sample) * 0.04)
        edges = edges * (1 + 0.05 * rng.normal(size=(*sample, 1)))
    names = (*SCALARS[:2], *(f"logsfr_ratios_{index}" for index in range(1, 7)), *SCALARS[2:])
    good = rng.uniform(size=n_galaxies) < passed
    rhat = 1 + rng.gamma(2.0, 0.0012, (n_galaxies, len(names))) + np.where(good, 0.0, 0.08)[:, None]
    ess = rng.uniform(500, 1600, rhat.shape) * np.where(good, 1.0, 0.05)[:, None]
    divergences = np.where(good, 0, rng.integers(0, 30, n_galaxies))
    sentences = "the chains disagree: R-hat not below 1.01 in dust2 ({:.3f}); 2% of the transitions diverged"
    flags = ["" if ok else sentences.format(worst) for ok, worst in zip(good, rhat.max(axis=1), strict=True)]
    log_mass = theta[..., 0] - 0.22
    groups = {
        "posterior": xr.Dataset(posterior, coords=galaxy | {"sfr_ratio": np.arange(1, 7)}),
        "derived": xr.Dataset(
            {
                "log_stellar_mass": (draw_dims, log_mass),
                "sfr_30": (draw_dims, rate[..., 0]),
                "sfr_100": (draw_dims, sfr),
                "log_ssfr_100": (draw_dims, np.log10(sfr) - log_mass),
                "mwa": (draw_dims, 1.5 + 0.3 * ratios[..., 2] + rng.normal(size=sample) * 0.1),
                "t50": (draw_dims, 1.4 + 0.3 * ratios[..., 3]),
                "sfh": ((*draw_dims, "sfh_bin"), rate),
                "sfh_edges_gyr": ((*draw_dims, "sfh_edge"), edges),
                "a_v": (draw_dims, 1.086 * theta[..., 2]),
            },
            coords=galaxy,
        ),
        "sample_stats": xr.Dataset({"diverging": (draw_dims, np.zeros(sample, dtype=bool))}, coords=galaxy),
        "posterior_predictive": xr.Dataset(
            {"flux": (("chain", "draw", "galaxy", "band"), predicted)}, coords=galaxy | {"band": bands}
        ),
        "observed_data": xr.Dataset(
            {
                "flux": (("galaxy", "band"), flux),
                "flux_err": (("galaxy", "band"), flux_err),
                "flux_err_total": (("galaxy", "band"), total),
                "mask": (("galaxy", "band"), mask),
                "upper_limit": (("galaxy", "band"), limit),
            },
            coords=galaxy | {"band": bands},
        ),
        "constant_data": xr.Dataset(
            {"wave_effective_aa": ("band", wave_um * 1e4)}, coords=galaxy | {"band": bands}
        ),
        "diagnostics": xr.Dataset(
            {
                "rhat": (("galaxy", "parameter"), rhat),
                "ess_bulk": (("galaxy", "parameter"), ess),
                "ess_tail": (("galaxy", "parameter"), ess * 0.9),
                "divergences": ("galaxy", divergences),
                "passed": ("galaxy", good),
                "flag": ("galaxy", np.array(flags, dtype=object)),
            },
            coords=galaxy | {"parameter": list(names)},
        ),
    }
    if not free_redshift:
        groups["constant_data"]["zred"] = ("galaxy", zred)
    if truth:
        groups["truth"] = xr.Dataset(
            {name: ("galaxy", true_theta[:, index]) for index, name in enumerate(SCALARS)}
            | {
                "logsfr_ratios": (("galaxy", "sfr_ratio"), true_ratios),
                "log_stellar_mass": ("galaxy", true_theta[:, 0] - 0.22),
            },
            coords=galaxy | {"sfr_ratio": np.arange(1, 7)},
        )
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "starling_version": "0.1.0",
        "created": "2026-11-21T22:00:00Z",
        "versions": '{"jax": "0.12.0", "numpyro": "0.22.0"}',
        "forward_model": '{"kind": "PhotometryEmulator", "sha256": "9f2c61", "surrogate": false}',
        "config": '{"sampler": {"warmup": 500, "draws": 250, "chains": 4}, "error_floor": 0.05}',
    }
    return tree


@pytest.fixture(scope="session")
def tree_maker() -> Callable[..., xr.DataTree]:
    """:func:`make_tree`, for tests that need a tree of their own."""
    return make_tree


@pytest.fixture(scope="session")
def tree() -> xr.DataTree:
    """Twenty-four simulated galaxies in twenty bands; tests must not change it."""
    return make_tree(24, 20, n_draws=60, passed=0.75, band_off=5)
