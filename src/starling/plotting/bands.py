"""Observed and predicted fluxes of a fit, band by band, and the residuals between them.

With f the observed flux, m the median of the posterior predictive flux and sigma the total error of the fit
(observed error, error floor and the forward model's own error in quadrature), the standardised residual is
(f - m) / sigma. The fractional residual in magnitudes is 2.5 log10(e) (f - m) / m: defined for a negative
flux too, and positive where the galaxy is brighter than the model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import xarray as xr

from starling.plotting.draws import QUANTILES, dataset, galaxy_ids, quantiles

MICROJANSKY_PER_MAGGIE = 3631e6
_MAG_PER_FRACTION = 2.5 * math.log10(math.e)
_CHUNK = 256


class BandFluxes(NamedTuple):
    """Fluxes of a sample in maggies; ``limit`` marks upper limits among the bands that were ``used``."""

    galaxies: tuple[str, ...]
    bands: tuple[str, ...]
    wave_um: np.ndarray  # [band]
    flux: np.ndarray  # [galaxy, band]
    sigma: np.ndarray  # [galaxy, band], total error
    used: np.ndarray  # [galaxy, band], bool
    limit: np.ndarray  # [galaxy, band], bool
    predicted: np.ndarray  # [quantile, galaxy, band], at draws.QUANTILES
    chi2: np.ndarray  # [galaxy], the smallest of the stored draws over the detected bands; NaN without one

    @property
    def detected(self) -> np.ndarray:
        """Used bands that are not upper limits, shape ``(galaxy, band)``."""
        return self.used & ~self.limit

    def standardised(self) -> np.ndarray:
        """Residuals in units of the total error, shape ``(galaxy, band)``; NaN where the band is masked or a limit."""
        sigma = np.where(self.detected & (self.sigma > 0), self.sigma, np.nan)
        return (np.where(self.detected, self.flux, np.nan) - self.predicted[2]) / sigma

    def magnitudes(self) -> np.ndarray:
        """Fractional residuals in magnitudes, shape ``(galaxy, band)``; NaN where the band is masked or a limit."""
        model = np.where(self.detected & (self.predicted[2] > 0), self.predicted[2], np.nan)
        return _MAG_PER_FRACTION * (np.where(self.detected, self.flux, np.nan) - model) / model


def band_fluxes(tree: xr.DataTree) -> BandFluxes:
    """Read observed and predicted fluxes of the whole sample from the tree of a fit."""
    observed = dataset(tree, "observed_data").transpose("galaxy", "band")
    predictive = dataset(tree, "posterior_predictive")["flux"].transpose("chain", "draw", "galaxy", "band")
    bands = tuple(str(band) for band in observed["band"].values)
    wave_aa = dataset(tree, "constant_data")["wave_effective_aa"].values
    flux = np.asarray(observed["flux"].values, dtype=float)
    used = np.asarray(observed["mask"].values, dtype=bool) & np.isfinite(flux)
    limit = np.asarray(observed["upper_limit"].values, dtype=bool) & used
    fluxes = BandFluxes(
        galaxies=galaxy_ids(tree),
        bands=bands,
        wave_um=np.asarray(wave_aa, dtype=float) / 1e4,
        flux=flux,
        sigma=np.asarray(observed["flux_err_total"].values, dtype=float),
        used=used,
        limit=limit,
        predicted=np.full((len(QUANTILES), *flux.shape), np.nan),
        chi2=np.full(len(flux), np.nan),
    )
    counted = fluxes.detected & (fluxes.sigma > 0)
    safe_flux, safe_sigma = np.where(counted, flux, 0.0), np.where(counted, fluxes.sigma, 1.0)
    for start in range(0, len(flux), _CHUNK):  # a few hundred galaxies at a time bound the memory
        part = slice(start, start + _CHUNK)
        values = np.asarray(predictive.isel(galaxy=part).values, dtype=float)
        values = values.reshape(-1, *values.shape[2:])
        fluxes.predicted[:, part] = quantiles(values)
        pull = np.where(counted[part], (safe_flux[part] - values) / safe_sigma[part], 0.0)
        fluxes.chi2[part] = np.where(counted[part].any(axis=1), (pull**2).sum(axis=2).min(axis=0), np.nan)
    return fluxes
