"""What a sampler feels of an emulator's gradient: log likelihoods of simulated galaxies at points of their posteriors.

A galaxy is a draw from the prior, observed in 25 bands taken at random for each, at a signal-to-noise ratio drawn
between 10 and 20 (of a hundredth of its median flux, where a band is fainter than that). The point is a draw from the
Laplace approximation of its posterior around the truth, with the exact model's curvature.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh, solve_triangular

from starling.parameters import ParameterSpace
from starling.validation.derivatives import (
    REDSHIFT,
    Differentiable,
    Fluxes,
    log_scales,
    rest_fluxes,
    rounded,
)

N_BANDS = 25
SIGNAL_TO_NOISE = (10.0, 20.0)
QUANTILES = (0.05, 0.16, 0.5, 0.84, 0.95)
_FAINT = 0.01


def likelihood_errors(
    emulator: Differentiable, exact: Differentiable, n: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Errors of the gradient and the curvature of log likelihoods, with redshift ``free`` and ``fixed``; JSON-able.

    Quantiles (``QUANTILES``) over ``n`` galaxies of: ``cosine`` between emulated and exact gradient g in prior-whitened
    coordinates; ``relative``, |error of g| / |g|; ``preconditioned``, the same in coordinates in which the posterior
    is a standard normal, as a sampler has it with a good mass matrix. With F = J^T J, J the Jacobian of fluxes over
    errors, and F + 1 the precision of the posterior: ``eigenvalues``, the median |relative error| of those of F + 1,
    largest first; ``lowest`` and ``highest``, the extreme ratios of emulated to exact precision over all directions,
    less 1.
    """
    rng = np.random.default_rng([seed, 1])
    space, n_bands = exact.space, len(exact.bands)
    x = rng.standard_normal((n, len(space)))
    used = rng.random((n, n_bands)).argsort(axis=1) < N_BANDS
    snr = rng.uniform(*SIGNAL_TO_NOISE, (n, 1))
    rest = rest_fluxes(exact, x)
    error = np.maximum(rest.flux, _FAINT * np.median(rest.flux, axis=1, keepdims=True)) / snr
    weight = used / error
    truth = _observed(space, rest, x, x, weight)
    observed = truth.flux + used * rng.standard_normal((n, n_bands))
    steps = rng.standard_normal(x.shape)
    every = np.arange(len(space))
    result = {}
    for name, columns in {"free": every, "fixed": np.delete(every, space.index(REDSHIFT))}.items():
        points = posterior_points(x, truth.jacobian, steps, columns)
        ours, theirs = (
            _observed(space, rest_fluxes(model, points), points, x, weight) for model in (emulator, exact)
        )
        result[name] = compare_likelihoods(ours, theirs, observed, columns)
    return result


def likelihood_verdict(galaxies: str, felt: Mapping[str, Any]) -> str:
    """What a sampler feels, from quantiles as ``likelihood_errors`` gives them; ``galaxies`` says of what they are."""
    low, middle, high = (felt["quantiles"].index(q) for q in (0.05, 0.5, 0.95))
    return (
        f"Log likelihood{galaxies}, at draws from their posteriors: cosine of emulated and exact gradient "
        f"{felt['cosine'][middle]:.4f} in the median, above {felt['cosine'][low]:.4f} for 95%; error "
        f"{felt['relative'][middle]:.1%} of the gradient (below {felt['relative'][high]:.0%} for 95%), "
        f"{felt['preconditioned'][middle]:.0%} (below {felt['preconditioned'][high]:.0%}) in coordinates in which the "
        f"posterior is round. Eigenvalues of the posterior's precision are off by at most "
        f"{max(felt['eigenvalues']):.1%} (median galaxy); along the worst direction the precision is off by "
        f"{felt['lowest'][middle]:+.0%} and {felt['highest'][middle]:+.0%}."
    )


def _observed(
    space: ParameterSpace, rest: Fluxes, x: np.ndarray, truth: np.ndarray, weight: np.ndarray
) -> Fluxes:
    """Fluxes over errors at ``x``, at the distance and mass of each; ``weight`` is 1 / error at those of ``truth``."""
    scales, reference = log_scales(space, x), log_scales(space, truth).value
    factor = weight * np.exp(scales.value - reference)[:, None]
    jacobian = rest.jacobian + rest.flux[..., None] * scales.gradient[:, None, :]
    return Fluxes(factor * rest.flux, factor[..., None] * jacobian)


def posterior_points(
    x: Float[np.ndarray, "row param"],
    jacobian: Float[np.ndarray, "row band param"],
    steps: Float[np.ndarray, "row param"],
    columns: np.ndarray,
) -> Float[np.ndarray, "row param"]:
    """Draws from the Laplace approximations around ``x`` in these of the parameters, made of standard normal steps."""
    points = x.copy()
    for row, part in enumerate(jacobian[..., columns]):
        if np.isfinite(part).all():
            factor = np.linalg.cholesky(_precision(part))
            points[row, columns] += solve_triangular(factor.T, steps[row, columns])
    return points


def _precision(jacobian: Float[np.ndarray, "band param"]) -> Float[np.ndarray, "param param"]:
    """Gauss-Newton precision of the posterior in prior-whitened coordinates."""
    return jacobian.T @ jacobian + np.eye(jacobian.shape[1])


def compare_likelihoods(
    ours: Fluxes, theirs: Fluxes, observed: np.ndarray, columns: np.ndarray
) -> dict[str, Any]:
    """Quantiles over galaxies whose numbers are all finite, as ``likelihood_errors`` describes them.

    Values over errors and their Jacobians, emulated and exact, and what was observed over its errors.
    """
    parts = (ours.flux, ours.jacobian[..., columns], theirs.flux, theirs.jacobian[..., columns], observed)
    galaxies = [galaxy for galaxy in zip(*parts, strict=True) if all(np.isfinite(p).all() for p in galaxy)]
    if not galaxies:
        raise ValueError("no galaxy has a likelihood with a finite gradient")
    *compared, eigenvalues = (np.asarray(c) for c in zip(*(_compare(*g) for g in galaxies), strict=True))
    names = ("cosine", "relative", "preconditioned", "lowest", "highest")
    return {
        "n": len(galaxies),
        "quantiles": list(QUANTILES),
        **{name: rounded(np.quantile(c, QUANTILES)) for name, c in zip(names, compared, strict=True)},
        "eigenvalues": rounded(np.median(eigenvalues, axis=0)),
    }


def _compare(
    flux: np.ndarray,
    jacobian: np.ndarray,
    exact_flux: np.ndarray,
    exact_jacobian: np.ndarray,
    observed: np.ndarray,
) -> tuple[float, float, float, float, float, np.ndarray]:
    """One galaxy: cosine, relative and preconditioned error, extreme ratios of precision, errors of eigenvalues."""
    ours, theirs = jacobian.T @ (observed - flux), exact_jacobian.T @ (observed - exact_flux)
    precision, exact = _precision(jacobian), _precision(exact_jacobian)
    factor = np.linalg.cholesky(exact)
    felt, felt_error = (
        np.linalg.norm(solve_triangular(factor, g, lower=True)) for g in (theirs, ours - theirs)
    )
    ratios = eigh(precision, exact, eigvals_only=True) - 1.0
    values, exact_values = (np.linalg.eigvalsh(matrix)[::-1] for matrix in (precision, exact))
    size = np.linalg.norm(theirs)
    return (
        float(ours @ theirs / (np.linalg.norm(ours) * size)),
        float(np.linalg.norm(ours - theirs) / size),
        float(felt_error / felt),
        float(ratios[0]),
        float(ratios[-1]),
        np.abs(values / exact_values - 1.0),
    )
