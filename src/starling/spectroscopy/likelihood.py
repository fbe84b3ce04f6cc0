"""The likelihood of a spectrum, for ONE galaxy.

The model of a pixel is spec_norm (1 + P) m + lines, with m of ``SpectrumModel``, P a polynomial. Log likelihoods leave
out what no parameter changes, -sum log(error sqrt(2 pi)), as those of photometry do.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from starling.spectroscopy.lines import outside_lines, templates
from starling.spectroscopy.marginal import Marginal, chebyshev, integrate_out
from starling.spectroscopy.model import Kernel, SpectrumModel
from starling.spectroscopy.observation import SpectrumObservation
from starling.spectroscopy.resolution import LIGHT_KM_S
from starling.spectroscopy.settings import SpectrumSettings


class Prepared(NamedTuple):
    """What a likelihood needs of an observation and does not depend on the parameters; ``prepare`` makes it.

    ``weight`` is 1 / error, 0 in pixels that are not used; ``polynomials`` are Chebyshev's on the pixels; ``line_log``
    are ln(rest wavelength) of lines to be integrated out, ``share`` what each counts in an amplitude.
    """

    flux: Float[Array, " pixel"]
    weight: Float[Array, " pixel"]
    n_used: Float[Array, ""]
    kernel: Kernel
    polynomials: Float[Array, "degree pixel"]
    line_log: Float[Array, " line"]
    share: Float[Array, "amplitude line"]
    amplitude_sigma: Float[Array, ""]


def prepare(model: SpectrumModel, observation: SpectrumObservation, settings: SpectrumSettings) -> Prepared:
    """Errors, masks, polynomials and kernel of one galaxy; works under ``vmap``."""
    used = observation.mask
    if settings.lines == "mask":
        wave = jnp.asarray(observation.wave_aa, jnp.float32)
        used = used & outside_lines(wave, observation.zred, settings.line_list, settings.mask_kms)
    place = model.line_pixels.log_wave
    degree = settings.degree if settings.calibration != "none" else 0
    x = 2.0 * place / place[-1] - 1.0
    lines = settings.line_list if settings.lines == "marginalise" else ()
    waves = np.asarray([wave for line in lines for wave in line.wave_aa], float)
    share = np.zeros((len(lines), waves.size))
    first = 0
    for row, line in zip(share, lines, strict=True):
        row[first : first + len(line.share)] = line.share
        first += len(line.share)
    typical = jnp.nanmedian(jnp.where(observation.mask, jnp.abs(observation.flux), jnp.nan))
    return Prepared(
        flux=jnp.where(used, observation.flux, 0.0),
        weight=jnp.where(used, 1.0 / jnp.where(used, observation.flux_err, 1.0), 0.0),
        n_used=jnp.sum(used).astype(jnp.float32),
        kernel=model.kernel(observation),
        polynomials=chebyshev(x, degree) if degree else jnp.zeros((0, x.size)),
        line_log=jnp.asarray(np.log(waves) - model.line_pixels.log_start, jnp.float32),
        share=jnp.asarray(share, jnp.float32),
        amplitude_sigma=settings.line_sigma_aa * typical,
    )


def predict(
    model: SpectrumModel,
    theta: Float[Array, " param"],
    values: dict[str, Any],
    prepared: Prepared,
    settings: SpectrumSettings,
) -> Float[Array, " pixel"]:
    """The spectrum at a galaxy's ``theta``, with aperture and sampled calibration: 1e-17 erg/s/cm2/Angstrom."""
    with_lines = settings.lines == "model"
    spectrum = model(theta, values["sigma_smooth"], values["eline_sigma"], prepared.kernel, with_lines)
    factor = values["spec_norm"]
    if settings.polynomials:
        coefficients = jnp.stack([values[name] for name in settings.polynomials])
        factor = factor * (1.0 + coefficients @ prepared.polynomials)
    return spectrum * factor


def columns_of(
    model: SpectrumModel,
    spectrum: Float[Array, " pixel"],
    values: dict[str, Any],
    prepared: Prepared,
    settings: SpectrumSettings,
) -> Float[Array, "coefficient pixel"]:
    """What is to be integrated out, per unit of each coefficient's prior sigma: calibration, then lines."""
    parts = []
    if settings.calibration == "marginalise":
        parts.append(settings.calibration_sigma * prepared.polynomials * spectrum)
    if settings.lines == "marginalise":
        width = values["eline_sigma"] / LIGHT_KM_S
        redshift = jnp.log1p(values["zred"])
        where = model.line_pixels.profiles(prepared.line_log, redshift, width, prepared.kernel.sigma_ln)
        parts.append(prepared.amplitude_sigma * (prepared.share @ templates(*where, spectrum.size)))
    return jnp.concatenate(parts)


def marginal(
    model: SpectrumModel,
    spectrum: Float[Array, " pixel"],
    values: dict[str, Any],
    prepared: Prepared,
    settings: SpectrumSettings,
) -> Marginal:
    """The coefficients given the parameters; ``spectrum`` of ``predict``."""
    weight = prepared.weight / values["spec_jitter"]
    columns = columns_of(model, spectrum, values, prepared, settings)
    return integrate_out((prepared.flux - spectrum) * weight, columns * weight)


def explained(
    model: SpectrumModel,
    spectrum: Float[Array, " pixel"],
    values: dict[str, Any],
    prepared: Prepared,
    settings: SpectrumSettings,
) -> Float[Array, " pixel"]:
    """The spectrum with the coefficients at their most probable values: what residuals are to be looked at with."""
    if not settings.marginal:
        return spectrum
    best = marginal(model, spectrum, values, prepared, settings).best
    return spectrum + best @ columns_of(model, spectrum, values, prepared, settings)


def spectrum_log_likelihood(
    model: SpectrumModel,
    theta: Float[Array, " param"],
    values: dict[str, Any],
    prepared: Prepared,
    settings: SpectrumSettings,
) -> Float[Array, ""]:
    """Log likelihood at a galaxy's ``theta`` and the ``values`` of all parameters by name."""
    spectrum = predict(model, theta, values, prepared, settings)
    inflation = prepared.n_used * jnp.log(values["spec_jitter"])
    if settings.marginal:
        return marginal(model, spectrum, values, prepared, settings).log_density - inflation
    z = (prepared.flux - spectrum) * (prepared.weight / values["spec_jitter"])
    if settings.robust:
        return _with_outliers(z, prepared.weight > 0.0, values["f_outlier_spec"], settings) - inflation
    return -0.5 * jnp.sum(z**2) - inflation


def _with_outliers(
    z: Float[Array, " pixel"],
    used: Bool[Array, " pixel"],
    fraction: Float[Array, ""],
    settings: SpectrumSettings,
) -> Float[Array, ""]:
    """A mixture of two normals, over the density of a standard normal at 0 (Hogg, Bovy & Lang 2010)."""
    width = settings.nsigma_outlier_spec
    good = jnp.log1p(-fraction) - 0.5 * z**2
    bad = jnp.log(fraction) - 0.5 * (z / width) ** 2 - np.log(width)
    return jnp.sum(jnp.where(used, jnp.logaddexp(good, bad), 0.0))
