"""What an emulator knows of its own errors and its domain, from simulated sets: fitted, judged, put into its file.

The error model is fitted on the two test sets. It is judged on the validation set, draws from the prior of which it has
seen nothing (the emulator itself was stopped where it was best on them).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.emulators.domain import fit_domain
from starling.emulators.errors import ErrorModel, Residuals, fit_error_model
from starling.emulators.photometry import PhotometryEmulator
from starling.emulators.targets import Totals
from starling.photometry import arsinh_magnitude
from starling.simulation.shards import THETA, read_rows
from starling.spaces import training_space

N_BINS = 10
NEEDED = ("test_prior", "test_training", "validation")


def residuals(emulator: PhotometryEmulator, exact: Totals) -> Residuals:
    """The emulator's errors at the galaxies of a set."""

    @jax.jit
    def predict(emulator: PhotometryEmulator, theta: Array) -> Array:
        flux: Array = jax.lax.map(emulator.rest_flux, theta, batch_size=2048)
        return arsinh_magnitude(flux, emulator.softening)

    return Residuals(
        np.asarray(exact.theta), np.asarray(predict(emulator, exact.theta)) - np.asarray(exact.magnitudes)
    )


def calibrate(
    emulator: PhotometryEmulator,
    found: Mapping[str, Residuals],
    training_theta: Float[np.ndarray, "row param"],
    *,
    seed: int,
) -> tuple[PhotometryEmulator, dict[str, Any]]:
    """The emulator with an error model and a domain, and statistics (JSON-able) of how well they fit.

    ``found`` are its errors on the sets ``NEEDED``; ``training_theta`` is what the emulator was trained on.
    """
    errors = fit_error_model(emulator.space, found["test_prior"], found["test_training"], seed=seed)
    domain = fit_domain(emulator.core.branches(), training_space(emulator.space), training_theta)
    calibrated = replace(emulator, errors=errors, domain=domain)
    statistics = calibration_statistics(calibrated, errors, found["validation"])
    theta = np.concatenate([residual.theta for residual in found.values()])
    ends = np.cumsum([len(residual.theta) for residual in found.values()])[:-1]
    parts = np.split(_outside(calibrated, theta), ends)
    outside = {name: float(np.mean(part)) for name, part in zip(found, parts, strict=True)}
    return calibrated, statistics | {"outside": outside}


def calibration_statistics(
    emulator: PhotometryEmulator, errors: ErrorModel, judged: Residuals
) -> dict[str, Any]:
    """How standard the standardised errors are on galaxies that the error model was not fitted to.

    Bins are ``N_BINS`` equal parts of the galaxies, band by band, in the order of the sigma predicted for them.
    ``local`` and ``constant`` give the root mean square of error / sigma in them, over all bands: with the sigma that
    depends on theta, and with the one of the band; ``..._within_10`` the share of the bands' bins within 10% of 1,
    ``..._kurtosis`` the median over bands. ``covariance_chi2`` is the mean of r C^-1 r per band.
    """
    compute = jax.jit(lambda model, rows: jax.lax.map(model.sigma_mag, rows, batch_size=4096))
    sigma = np.asarray(compute(errors, jnp.asarray(judged.theta)), float)
    pulls = {"local": judged.error / sigma, "constant": judged.error / np.asarray(emulator.sigma_mag, float)}
    bins = np.argsort(np.argsort(sigma, axis=0), axis=0) * N_BINS // len(sigma)
    statistics: dict[str, Any] = {"n": len(sigma), "names": list(emulator.bands)}
    for name, pull in pulls.items():
        square = np.array([np.mean(np.where(bins == i, pull, 0.0) ** 2, axis=0) for i in range(N_BINS)])
        count = np.array([np.mean(bins == i, axis=0) for i in range(N_BINS)])
        by_bin = np.sqrt(square / count)
        by_band = np.sqrt(np.mean(pull**2, axis=0))
        statistics |= {
            name: np.sqrt(square.sum(axis=1) / count.sum(axis=1)).tolist(),
            f"{name}_by_band": by_band.tolist(),
            f"{name}_within_10": float(np.mean(np.abs(by_bin - 1.0) < 0.1)),
            f"{name}_kurtosis": float(np.median(np.mean(pull**4, axis=0) / by_band**4)),
            f"{name}_surprise": float(np.mean(0.5 * pull**2)),
        }
    factor = np.linalg.cholesky(np.asarray(errors.covariance, float) + 1e-12 * np.eye(sigma.shape[1]))
    independent = np.linalg.solve(factor, judged.error.T.astype(float))
    log_ratio = np.log(sigma / np.asarray(emulator.sigma_mag, float))
    statistics["local_surprise"] += float(np.mean(log_ratio))
    return statistics | {"covariance_chi2": float(np.mean(independent**2))}


def _outside(emulator: PhotometryEmulator, theta: Float[np.ndarray, "row param"]) -> np.ndarray:
    compute = jax.jit(lambda model, rows: jax.lax.map(model.remoteness, rows, batch_size=4096))
    return np.asarray(compute(emulator, jnp.asarray(theta))) > 1.0


def read_theta(folder: Path, n: int) -> Float[np.ndarray, "row param"]:
    """The parameters of the first ``n`` galaxies of a simulated set, of failed ones too."""
    return read_rows(folder, 0, n, [THETA])[THETA]
