"""Fits of a spectrum and photometry with one parameter vector: a log likelihood, and a NumPyro model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from starling.forward import ForwardModel
from starling.inference.error_model import ErrorModel
from starling.inference.likelihood import log_likelihood_at
from starling.inference.noise import ModelError, Noise, prepare_noise
from starling.inference.observation import Observation
from starling.parameters import ParameterSpace
from starling.priors import Prior, Uniform
from starling.spectroscopy.likelihood import Prepared, explained, predict, prepare, spectrum_log_likelihood
from starling.spectroscopy.model import SpectrumModel
from starling.spectroscopy.observation import SpectrumObservation
from starling.spectroscopy.settings import SpectrumSettings, spectrum_space


class GalaxyData(NamedTuple):
    """What was observed of ONE galaxy, ready for its likelihood; make it with ``GalaxyModel.prepare``."""

    spectrum: Prepared
    photometry: Observation | None
    noise: Noise | None
    fixed: dict[str, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GalaxyModel:
    """A spectrum model and, for joint fits, a forward model of photometry; make it with ``galaxy_of``.

    ``space`` has the galaxy's parameters and those of its spectrum; each model takes its own from a point of it.
    """

    spectrum: SpectrumModel
    photometry: ForwardModel | None
    space: ParameterSpace = field(metadata={"static": True})
    settings: SpectrumSettings = field(metadata={"static": True})

    def prepare(
        self,
        spectrum: SpectrumObservation,
        photometry: Observation | None = None,
        *,
        fixed: Mapping[str, Any] | None = None,
        error_floor: float = 0.05,
        model_error: ModelError = "band",
        errors: ErrorModel | None = None,
    ) -> GalaxyData:
        """The data of ONE galaxy (``vmap`` it for more, with ``PER_GALAXY`` as the axes of spectra); ``fixed`` are
        parameters that are known.

        The last three are of the photometry, as in ``starling.inference.galaxy_model``. ValueError where there is
        photometry and no model of it, or the other way round.
        """
        if (photometry is None) != (self.photometry is None):
            raise ValueError(
                "photometry and a model of it go together: make the model with galaxy_of(..., photometry=...) for "
                "joint fits, and without for fits of a spectrum"
            )
        noise = None
        known = dict(fixed or {})
        if photometry is not None and self.photometry is not None:
            noise = prepare_noise(photometry, self.photometry, error_floor, model_error, errors)
            known = {**photometry.fixed, **known}
            if noise.free is not None:
                raise ValueError("zero points are integrated out in joint fits: use treatment: marginalise")
        arrays = {name: jnp.asarray(value, jnp.float32) for name, value in known.items()}
        return GalaxyData(prepare(self.spectrum, spectrum, self.settings), photometry, noise, arrays)

    def part(self, theta: Float[Array, " param"], space: ParameterSpace) -> Float[Array, " part"]:
        """The point in the space of one of the models."""
        values = self.space.unpack(theta)
        return jnp.stack([values[name] for name in space.names])

    def log_likelihood(self, theta: Float[Array, " param"], data: GalaxyData) -> Float[Array, ""]:
        """Of spectrum and photometry together."""
        own = self.part(theta, self.spectrum.space)
        values = self.space.unpack(theta)
        total = spectrum_log_likelihood(self.spectrum, own, values, data.spectrum, self.settings)
        if self.photometry is None or data.photometry is None or data.noise is None:
            return total
        seen = self.part(theta, self.photometry.space)
        flux = self.photometry(seen)
        return total + log_likelihood_at(data.photometry, self.photometry, seen, flux, data.noise)

    def predicted(self, theta: Float[Array, " param"], data: GalaxyData) -> Float[Array, " pixel"]:
        """The spectrum, 1e-17 erg/s/cm2/Angstrom, without what is integrated out."""
        own = self.part(theta, self.spectrum.space)
        return predict(self.spectrum, own, self.space.unpack(theta), data.spectrum, self.settings)

    def explained(self, theta: Float[Array, " param"], data: GalaxyData) -> Float[Array, " pixel"]:
        """The same with calibration and lines that are integrated out at their most probable values."""
        values = self.space.unpack(theta)
        return explained(self.spectrum, self.predicted(theta, data), values, data.spectrum, self.settings)


def galaxy_of(
    spectrum: SpectrumModel,
    settings: SpectrumSettings,
    photometry: ForwardModel | None = None,
    space: ParameterSpace | None = None,
) -> GalaxyModel:
    """The model of a galaxy's spectrum and, where a forward model is given, its photometry.

    Priors are those of ``space``: by default that of the photometry's model where there is one, of the spectrum's
    where not, with a flat prior on redshift cut to the range that the spectrum model was made for. ValueError where the
    space lacks a parameter, or priors go beyond what the spectrum model was made for.
    """
    base = space or (spectrum.space if photometry is None else photometry.space)
    known = {*base.names, *dict(base.constants)}
    for model in (spectrum, photometry):
        missing = [] if model is None else [name for name in model.space.names if name not in known]
        if missing:
            raise ValueError(f"space {base.name!r} has no {', '.join(missing)}: use models of one space")
    base = _with_redshifts_of(spectrum, base)
    for name, most in (
        ("sigma_smooth", spectrum.most_dispersion_kms),
        ("eline_sigma", spectrum.most_line_dispersion_kms),
    ):
        value = getattr(settings, name)
        high = value.high if isinstance(value, Prior) else value
        if high > most:
            raise ValueError(
                f"{name} goes up to {high:g} km/s, the spectrum model was made for {most:g}: make it for more"
            )
    return GalaxyModel(spectrum, photometry, spectrum_space(base, settings), settings)


def _with_redshifts_of(spectrum: SpectrumModel, space: ParameterSpace) -> ParameterSpace:
    prior = space.parameters[space.index("zred")].prior
    low, high = spectrum.zred
    if prior.low >= low - 1e-9 and prior.high <= high + 1e-9:
        return space
    if not isinstance(prior, Uniform):
        raise ValueError(
            f"the prior of zred ({prior.low:g} to {prior.high:g}) goes beyond the redshifts of the spectrum model "
            f"({low:g} to {high:g}): cut it, or make the model for more"
        )
    return space.with_priors(zred=Uniform(max(low, prior.low), min(high, prior.high)))


def spectrum_galaxy_model(data: GalaxyData, model: GalaxyModel) -> None:
    """NumPyro model of ONE galaxy: its spectrum, with or without photometry.

    Sites as in ``starling.inference.galaxy_model``: ``x``, the free parameters in prior-whitened coordinates,
    Normal(0, 1); every parameter under its own name and ``spectrum``, deterministic; the factor ``log_likelihood``.
    """
    n_free = len(model.space.free(data.fixed))
    x = numpyro.sample("x", dist.Normal(0.0, 1.0).expand([n_free]).to_event(1))
    theta = model.space.constrain(x, data.fixed)
    for name, value in model.space.unpack(theta).items():
        numpyro.deterministic(name, value)
    numpyro.deterministic("spectrum", model.explained(theta, data))
    numpyro.factor("log_likelihood", model.log_likelihood(theta, data))
