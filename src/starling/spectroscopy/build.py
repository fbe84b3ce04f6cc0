"""Spectrum models for the pixels of an observation: everything that is prepared once, in float64 with NumPy."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.fft import next_fast_len

from starling import igm
from starling.spectroscopy.lines import line_pixels
from starling.spectroscopy.model import Cuttable, RestSpectrum, SpectrumModel
from starling.spectroscopy.observation import SpectrumObservation
from starling.spectroscopy.resampling import lagrange
from starling.spectroscopy.resolution import LIGHT_KM_S, Library, library_variance
from starling.spectroscopy.smoothing import OVERSAMPLING, variance_nodes
from starling.spectroscopy.wavelengths import in_vacuum

_REACH = 5.0  # sigma of the kernel that have to be inside the library
_IN, _OUT = 4, 6  # points of the interpolations
_LEAST_PAD = 32
_REDSHIFTS, _SPARE = 17, 1.05  # where resolutions are compared; what may be between


class _Range(NamedTuple):
    """Of ln(wavelength): what is used of the observed pixels, and what of the rest frame that takes."""

    observed: tuple[float, float]
    rest: tuple[float, float]


def spectrum_model(
    rest: RestSpectrum,
    observation: SpectrumObservation,
    library: Library,
    *,
    zred: tuple[float, float] | None = None,
    most_dispersion_kms: float = 500.0,
    most_line_dispersion_kms: float = 500.0,
) -> SpectrumModel:
    """The model for the pixels of an observation (one galaxy, or many on the same pixels).

    ``zred`` is the range of redshifts that may be tried, by default that of the prior: a narrow one costs less.
    Dispersions are to stay below the two given. ValueError where the library does not reach what is used.
    """
    prior = rest.space.parameters[rest.space.index("zred")]
    zred = (prior.low, prior.high) if zred is None else zred
    if not -0.01 < zred[0] < zred[1]:
        raise ValueError(f"the range of redshifts {zred} must ascend: widen it")
    wave = np.asarray(observation.wave_aa, float)
    used = np.flatnonzero(np.asarray(observation.mask).reshape(-1, wave.size).any(axis=0))
    widest = float(np.max(np.asarray(observation.sigma_ln)[..., used]))
    reach = _REACH * np.hypot(most_dispersion_kms / LIGHT_KM_S, widest)
    spans = _spans(wave[used], zred, reach)
    rest = _cut(rest, spans)
    log_rest, medium_wave = _rest_grid(rest, library)
    _check_reach(log_rest, spans, zred, reach)
    needed = (log_rest > spans.rest[0]) & (log_rest < spans.rest[1])
    step = float(np.min(np.diff(log_rest[needed])))
    n_even = int(np.ceil((spans.rest[1] - spans.rest[0]) / step)) + 1
    n_periodic = next_fast_len(n_even + _LEAST_PAD, real=True)
    n_periodic += n_periodic % 2
    even = spans.rest[0] + step * np.arange(n_even)
    centre = 0.5 * (zred[0] + zred[1])
    n_fine = OVERSAMPLING * n_periodic
    fine = spans.rest[0] + np.log1p(centre) + step / OVERSAMPLING * np.arange(n_fine)
    blur = np.interp(even, log_rest, library_variance(library, medium_wave)) / step**2
    nearest = used[_nearest(np.log(wave[used]), fine)]
    place = (np.log(wave) - spans.rest[0]) / step
    most_sigma = np.hypot(most_line_dispersion_kms / LIGHT_KM_S, widest)
    pixels = line_pixels(wave, most_sigma)
    lines = np.log(in_vacuum(np.asarray(rest.line_wave_aa, float), library.medium))
    return SpectrumModel(
        rest=rest,
        to_even=lagrange(log_rest, even, _IN),
        to_pixels=lagrange(fine, np.log(wave), _OUT),
        blur=jnp.asarray(blur, jnp.float32),
        fine_to_pixel=jnp.asarray(nearest, jnp.int32),
        even_place=jnp.asarray(place, jnp.float32),
        log_line=jnp.asarray(lines - pixels.log_start, jnp.float32),
        line_pixels=pixels,
        nodes=variance_nodes(_spread(observation, used, place, blur, zred, step), float(np.min(blur))),
        log_start=float(spans.rest[0]),
        step=step,
        n_periodic=n_periodic,
        zred_centre=centre,
        zred=(float(zred[0]), float(zred[1])),
        blue=int(np.count_nonzero(even < np.log(igm.LYMAN_ALPHA_AA))),
        most_dispersion_kms=most_dispersion_kms,
        most_line_dispersion_kms=most_line_dispersion_kms,
    )


def _spans(wave: np.ndarray, zred: tuple[float, float], reach: float) -> _Range:
    low, high = float(np.log(wave[0])), float(np.log(wave[-1]))
    return _Range(
        (low, high), (low - float(np.log1p(zred[1])) - reach, high - float(np.log1p(zred[0])) + reach)
    )


def _cut(rest: RestSpectrum, spans: _Range) -> RestSpectrum:
    """The wavelengths that are needed, with some to interpolate between at either end."""
    if not isinstance(rest, Cuttable):
        return rest
    margin = 0.01
    low, high = np.exp(spans.rest[0] - margin), np.exp(spans.rest[1] + margin)
    return rest.cut(float(low), float(high))


def _rest_grid(rest: RestSpectrum, library: Library) -> tuple[np.ndarray, np.ndarray]:
    given = np.asarray(rest.wave_aa, float)
    return np.log(in_vacuum(given, library.medium)), given


def _check_reach(log_rest: np.ndarray, spans: _Range, zred: tuple[float, float], reach: float) -> None:
    low = np.exp(log_rest[0] + reach) * (1.0 + zred[1])
    high = np.exp(log_rest[-1] - reach) * (1.0 + zred[0])
    if spans.rest[0] >= log_rest[0] - 1e-6 and spans.rest[1] <= log_rest[-1] + 1e-6:
        return
    raise ValueError(
        f"the model has {np.exp(log_rest[0]):.0f} to {np.exp(log_rest[-1]):.0f} Angstrom (rest frame), and the pixels "
        f"in use reach from {np.exp(spans.observed[0]):.0f} to {np.exp(spans.observed[1]):.0f} observed: between the "
        f"redshifts {zred[0]:g} and {zred[1]:g} it covers {low:.0f} to {high:.0f}; mask the other "
        "pixels, or narrow zred"
    )


def _nearest(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    right = np.clip(np.searchsorted(x, at), 1, x.size - 1)
    return np.where(at - x[right - 1] < x[right] - at, right - 1, right)


def _spread(
    observation: SpectrumObservation,
    used: np.ndarray,
    place: np.ndarray,
    blur: np.ndarray,
    zred: tuple[float, float],
    step: float,
) -> float:
    """By how much instrument^2 - library^2 varies over a spectrum at most, squared pixels."""
    sigma = np.asarray(observation.sigma_ln, float).reshape(-1, place.size)[:, used]
    most = 0.0
    for z in np.linspace(*zred, _REDSHIFTS):
        library = np.interp(place[used] - np.log1p(z) / step, np.arange(blur.size), blur)
        most = max(most, float(np.max(np.ptp((sigma / step) ** 2 - library, axis=1))))
    return _SPARE * most + 1e-6
