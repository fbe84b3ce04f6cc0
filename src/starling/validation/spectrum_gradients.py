"""How far the gradient of a spectrum emulator is from that of the model that it imitates."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from rich import box
from rich.table import Table

from starling.emulators.spectra.model import FAINTEST
from starling.parameters import ParameterSpace
from starling.validation.derivatives import Fluxes, rounded
from starling.validation.posterior_points import compare_likelihoods, likelihood_verdict, posterior_points

SIGNAL_TO_NOISE = 10.0  # per pixel
_FAINT = 0.01  # of the median: where a pixel is fainter, its error is that of this light
_MASS = "logmass"
_BATCH = 4


@runtime_checkable
class SpectrumModel(Protocol):
    """A pytree: ``theta`` -> rest-frame spectrum per Msun formed, in pixels centred on ``wave_aa``."""

    @property
    def space(self) -> ParameterSpace: ...
    @property
    def wave_aa(self) -> Float[Array, " pixel"]: ...
    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " pixel"]: ...


def spectrum_gradient_errors(
    emulator: SpectrumModel, exact: SpectrumModel, n: int, seed: int
) -> dict[str, Any]:
    """Errors of the emulator's gradient on ``n`` new draws from the prior, JSON-able.

    The gradient is that of ln L_lambda per prior sigma (``starling.validation.derivatives``), in all parameters but
    the mass, on which spectra per Msun do not depend. ``rms_error``, ``rms_exact`` [param]: root mean square over
    galaxies and pixels; ``abs_68``: what 68% of the errors stay within; ``worst_aa``: the pixel with the largest error
    (rms over galaxies), and ``rms_worst``, how large it is there.
    ``likelihood``: errors of the gradient of log likelihoods and of their curvature for spectra at S/N 10 per pixel, at
    draws from their posteriors, as in ``starling.validation.posterior_points``.
    Raises ValueError where the models differ in parameters or pixels, or no gradient is finite.
    """
    wave = np.asarray(exact.wave_aa, float)
    if emulator.space.names != exact.space.names or wave.shape != emulator.wave_aa.shape:
        raise ValueError(
            "emulator and exact model have not the same parameters and pixels: compare like with like"
        )
    rng = np.random.default_rng([seed, 0])
    x = rng.standard_normal((n, len(exact.space)))
    columns = np.delete(np.arange(len(exact.space)), exact.space.index(_MASS))
    truth = _spectra(exact, x)
    ours, theirs = (_log_gradient(spectra, wave)[..., columns] for spectra in (_spectra(emulator, x), truth))
    kept = np.isfinite(ours).all(axis=(1, 2)) & np.isfinite(theirs).all(axis=(1, 2))
    if not kept.any():
        raise ValueError(f"none of {n} spectra has a finite gradient in every pixel")
    error = ours[kept] - theirs[kept]
    by_pixel = _rms(error, 0)
    return {
        "n": int(kept.sum()),
        "n_failed": int(n - kept.sum()),
        "seed": seed,
        "parameters": [exact.space.names[column] for column in columns],
        "rms_error": rounded(_rms(error, (0, 1))),
        "rms_exact": rounded(_rms(theirs[kept], (0, 1))),
        "abs_68": rounded(np.quantile(np.abs(error), 0.683, axis=(0, 1))),
        "rms_worst": rounded(by_pixel.max(axis=0)),
        "worst_aa": rounded(wave[by_pixel.argmax(axis=0)]),
        "likelihood": _likelihood(emulator, exact, x, truth, columns, rng),
    }


def _likelihood(
    emulator: SpectrumModel,
    exact: SpectrumModel,
    x: np.ndarray,
    truth: Fluxes,
    columns: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    sigma = np.maximum(truth.flux, _FAINT * np.median(truth.flux, axis=1, keepdims=True)) / SIGNAL_TO_NOISE
    observed = truth.flux / sigma + rng.standard_normal(truth.flux.shape)
    points = posterior_points(x, truth.jacobian / sigma[..., None], rng.standard_normal(x.shape), columns)
    ours, theirs = (
        Fluxes(found.flux / sigma, found.jacobian / sigma[..., None])
        for found in (_spectra(model, points) for model in (emulator, exact))
    )
    return compare_likelihoods(ours, theirs, observed, columns)


def _spectra(model: SpectrumModel, x: Float[np.ndarray, "row param"]) -> Fluxes:
    """Spectra and their derivatives in prior-whitened coordinates."""
    jacobian, flux = _with_jacobians(model, jnp.asarray(x, jnp.float32))
    return Fluxes(np.asarray(flux, float), np.asarray(jacobian, float))


@jax.jit
def _with_jacobians(model: SpectrumModel, x: Array) -> tuple[Array, Array]:
    def spectrum(x: Array) -> tuple[Array, Array]:
        value = model(model.space.constrain(x))
        return value, value

    result: tuple[Array, Array] = jax.lax.map(jax.jacfwd(spectrum, has_aux=True), x, batch_size=_BATCH)
    return result


def _log_gradient(spectra: Fluxes, wave_aa: np.ndarray) -> Float[np.ndarray, "row pixel param"]:
    faint = FAINTEST * np.max(spectra.flux * wave_aa, axis=1, keepdims=True) / wave_aa
    return spectra.jacobian / (spectra.flux + faint)[..., None]


def _rms(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    return np.sqrt(np.mean(np.square(values), axis=axis))


def spectrum_gradient_rows(gradient: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The lines of the table: parameter, exact, error, relative, 68% within, where it is worst."""
    keys = ("parameters", "rms_exact", "rms_error", "abs_68", "rms_worst", "worst_aa")
    return [
        (
            name,
            f"{exact:.4f}",
            f"{error:.4f}",
            f"{error / max(exact, float(np.finfo(float).tiny)):.1%}",
            f"{within:.4f}",
            f"{worst:.3f} at {wave:.0f} A",
        )
        for name, exact, error, within, worst, wave in zip(*(gradient[key] for key in keys), strict=True)
    ]


HEADINGS = ("parameter", "exact", "error", "relative", "68% within", "worst pixel")


def spectrum_gradient_table(gradient: Mapping[str, Any]) -> Table:
    """One row per parameter, over all pixels; as ``starling validate`` prints it."""
    table = Table(
        title=f"Gradient: d ln L per prior sigma, {gradient['n']} new draws from the prior (rms)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == HEADINGS[0] else "right", no_wrap=True)
    for row in spectrum_gradient_rows(gradient):
        table.add_row(*row)
    return table


def spectrum_gradient_verdict(gradient: Mapping[str, Any]) -> str:
    """What it means for sampling, in a sentence."""
    felt = gradient["likelihood"]
    return likelihood_verdict(f" of {felt['n']} spectra at S/N {SIGNAL_TO_NOISE:g} per pixel", felt)
