"""Fits of made-up spectra, alone and with photometry: what went in comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from numpyro.infer import MCMC, NUTS
from toy_spectra import PLAIN, toy_pixels, toy_rest, toy_space

from starling.inference import log_likelihood, observe, prepare_noise, stack
from starling.parameters import ParameterSpace
from starling.priors import Uniform
from starling.spectroscopy import (
    PER_GALAXY,
    Line,
    SpectrumObservation,
    SpectrumSettings,
    galaxy_of,
    spectrum_galaxy_model,
    spectrum_model,
)

LINES = (Line("H beta", (4862.68,)), Line("[OIII]", (5008.24,)))
TRUTH = {"logmass": 10.5, "metals": 1.1, "slope": -0.7, "zred": 0.1012, "sigma_smooth": 190.0}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ToyBands:
    """Fluxes in proportion to the mass."""

    wave_effective_aa: Float[Array, " band"]
    space: ParameterSpace = field(metadata={"static": True})
    bands: tuple[str, ...] = field(metadata={"static": True})

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        values = self.space.unpack(theta)
        shape = jnp.exp(values["slope"] * (jnp.log(self.wave_effective_aa / 5000.0) + 1.0))
        return 10.0 ** (values["logmass"] - 18.5) * shape

    def flux_error(self, flux: Float[Array, " band"]) -> Float[Array, " band"]:
        return jnp.zeros_like(flux)

    def properties(self, theta: Float[Array, " param"]) -> dict[str, Array]:  # noqa: ARG002
        return {}

    def select(self, bands: Sequence[str]) -> Self:  # noqa: ARG002
        return self


@pytest.mark.slow
def test_a_joint_fit_recovers_what_went_in() -> None:
    empty = toy_pixels(240, 1500.0)
    empty = empty._replace(flux_err=jnp.full(240, 4.0))
    spectrum = spectrum_model(toy_rest(2.5e-4), empty, PLAIN)
    bands = ToyBands(jnp.asarray([4000.0, 6000.0, 9000.0]), toy_space(), ("one", "two", "three"))
    settings = SpectrumSettings(
        eline_sigma=100.0,
        spec_norm=Uniform(0.3, 1.5),
        calibration="marginalise",
        degree=3,
        lines="marginalise",
        line_list=LINES,
    )
    model = galaxy_of(spectrum, settings, bands)
    assert model.space.names == ("logmass", "metals", "slope", "zred", "sigma_smooth", "spec_norm")
    truth = {**TRUTH, "spec_norm": 0.6}
    theta = model.space.pack(truth)
    maggies = bands(model.part(theta, bands.space))
    rng = np.random.default_rng(4)
    photometry = observe(maggies * (1.0 + 0.03 * rng.normal(size=3)), 0.03 * maggies)
    seen = model.predicted(theta, model.prepare(empty, photometry))
    # the instrument is off by a few per cent, and the lines are none of the model's
    place = np.linspace(-1.0, 1.0, 240)
    seen = seen * (1.0 + 0.06 * place - 0.03 * (2 * place**2 - 1.0)) + jnp.asarray(
        4.0 * rng.normal(size=240), jnp.float32
    )
    for line in LINES:
        away = np.log(np.asarray(empty.wave_aa) / (line.wave_aa[0] * (1.0 + truth["zred"])))
        seen = seen + 60.0 * jnp.exp(-0.5 * jnp.asarray(away / 4.3e-4, jnp.float32) ** 2)
    data = model.prepare(empty._replace(flux=seen), photometry, error_floor=0.0)

    chains = MCMC(
        # the model is no argument: NumPyro makes pytrees of the ids of those, which the checks of shapes refuse
        NUTS(
            partial(spectrum_galaxy_model, model=model), max_tree_depth=6, init_strategy=_start(model, truth)
        ),
        num_warmup=250,
        num_samples=400,
        progress_bar=False,
    )
    chains.run(jax.random.key(0), data)
    draws = chains.get_samples()
    for name, value in truth.items():
        mean, sigma = float(np.mean(draws[name])), float(np.std(draws[name]))
        assert abs(mean - value) < 4.0 * sigma, name
        prior = model.space.parameters[model.space.index(name)].prior
        assert sigma < 0.3 * (prior.high - prior.low), name
    assert np.all(np.isfinite(draws["spectrum"]))


def _start(model, truth):  # type: ignore[no-untyped-def]
    from numpyro.infer import init_to_value

    # a galaxy is looked for at about its redshift
    near = {**truth, "zred": truth["zred"] + 2e-4, "sigma_smooth": 250.0, "metals": 0.8}
    return init_to_value(values={"x": model.space.unconstrain(model.space.pack(near))})


def test_the_joint_likelihood_is_the_sum_of_both() -> None:
    empty = toy_pixels(240, 1500.0)
    spectrum = spectrum_model(toy_rest(2.5e-4), empty, PLAIN)
    bands = ToyBands(jnp.asarray([4000.0, 6000.0, 9000.0]), toy_space(), ("one", "two", "three"))
    settings = SpectrumSettings(eline_sigma=100.0)
    alone, joint = galaxy_of(spectrum, settings), galaxy_of(spectrum, settings, bands)
    assert alone.space == joint.space
    theta = joint.space.pack(TRUTH)
    maggies = bands(joint.part(theta, bands.space))
    photometry = observe(1.1 * maggies, 0.05 * maggies)
    data = joint.prepare(empty, photometry)
    own = log_likelihood(photometry, maggies, prepare_noise(photometry, bands))
    total = joint.log_likelihood(theta, data)
    assert np.isclose(total, alone.log_likelihood(theta, alone.prepare(empty)) + own, rtol=1e-6)
    # many galaxies on the same pixels, each with its own data
    two = [jnp.stack([leaf, leaf]) for leaf in (*empty[:4], empty.zred)]
    many = jax.vmap(joint.prepare, in_axes=(PER_GALAXY, 0))(
        SpectrumObservation(*two[:4], empty.wave_aa, two[4]), stack([photometry, photometry])
    )
    assert np.allclose(jax.vmap(joint.log_likelihood, in_axes=(None, 0))(theta, many), total, rtol=1e-6)


def test_redshifts_are_those_that_the_spectrum_model_was_made_for() -> None:
    empty = toy_pixels(240, 1500.0)
    rest = toy_rest(2.5e-4, zred=(0.05, 0.15))
    model = galaxy_of(spectrum_model(rest, empty, PLAIN, zred=(0.095, 0.105)), SpectrumSettings())
    zred = model.space.parameters[model.space.index("zred")]
    assert (zred.low, zred.high) == (0.095, 0.105)
    assert model.space.names[-2:] == ("sigma_smooth", "eline_sigma")
