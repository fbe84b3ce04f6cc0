"""The likelihood of spectra: what is integrated out against numerical integrals, masks, outliers, gradients."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_spectra import PLAIN, toy_pixels, toy_rest

from starling.inference import observe
from starling.priors import Uniform
from starling.spectroscopy import (
    GalaxyData,
    GalaxyModel,
    Line,
    SpectrumObservation,
    SpectrumSettings,
    galaxy_of,
    spectrum_model,
)
from starling.spectroscopy.likelihood import columns_of
from starling.spectroscopy.likelihood import marginal as coefficients

FIXED = {"sigma_smooth": 150.0, "eline_sigma": 120.0}
POINT = {"logmass": 10.5, "metals": 1.0, "slope": -1.0, "zred": 0.1}
LINES = (Line("H beta", (4862.68,)), Line("[OIII]", (4960.30, 5008.24), (0.25, 0.75)))
N = 160
density = jax.jit(GalaxyModel.log_likelihood)
predicted = jax.jit(GalaxyModel.predicted)


@cache
def made_up(seed: int = 0, noise: float = 2.0) -> tuple[GalaxyModel, SpectrumObservation]:
    """A mock at ``POINT``."""
    empty = toy_pixels(N, 1500.0)
    model = galaxy_of(spectrum_model(toy_rest(2e-4), empty, PLAIN), SpectrumSettings(**FIXED))
    theta = model.space.pack(POINT)
    flux = predicted(model, theta, model.prepare(empty))
    error = jnp.full(N, noise)
    flux += error * jax.random.normal(jax.random.key(seed), (N,))
    return model, empty._replace(flux=flux, flux_err=error)


def asked(**settings: object) -> tuple[GalaxyModel, GalaxyData, jax.Array]:
    model, observation = made_up()
    other = galaxy_of(model.spectrum, SpectrumSettings(**{**FIXED, **settings}))
    known = dict.fromkeys(other.settings.polynomials, 0.0)
    values = {**POINT, **known}
    theta = other.space.pack({name: values.get(name, 0.3) for name in other.space.names})
    return other, other.prepare(observation), theta


def dense(model: GalaxyModel, data: GalaxyData, theta: jax.Array) -> float:
    """The same from the whole covariance matrix, float64, over the constant that is left out."""
    values = model.space.unpack(theta)
    spectrum = predicted(model, theta, data)
    columns = np.asarray(columns_of(model.spectrum, spectrum, values, data.spectrum, model.settings), float)
    weight = np.asarray(data.spectrum.weight, float)
    used = weight > 0.0
    b = (columns * weight)[:, used]
    z = (np.asarray(data.spectrum.flux - spectrum, float) * weight)[used]
    covariance = np.eye(used.sum()) + b.T @ b
    return float(-0.5 * z @ np.linalg.solve(covariance, z) - 0.5 * np.linalg.slogdet(covariance)[1])


@pytest.mark.parametrize(
    "settings",
    [
        {"calibration": "marginalise", "degree": 5},
        {"lines": "marginalise", "line_list": LINES},
        {"calibration": "marginalise", "degree": 3, "lines": "marginalise", "line_list": LINES},
    ],
)
def test_what_is_integrated_out_is_normal_with_the_whole_covariance(settings: dict[str, object]) -> None:
    model, data, theta = asked(**settings)
    assert np.isclose(density(model, theta, data), dense(model, data, theta), atol=0.02)


def test_marginalised_calibration_is_the_integral_of_the_sampled_one() -> None:
    sigma = 0.05
    sampled, data, theta = asked(calibration="sample", degree=2, calibration_sigma=sigma)
    nodes, weights = np.polynomial.hermite_e.hermegauss(48)
    weights = weights / weights.sum()
    # centred and scaled to where the integrand is, which is much narrower than the prior
    marginal, prepared, plain = asked(calibration="marginalise", degree=2, calibration_sigma=sigma)
    values = marginal.space.unpack(plain)
    spectrum = predicted(marginal, plain, prepared)
    found = coefficients(marginal.spectrum, spectrum, values, prepared.spectrum, marginal.settings)
    root = np.linalg.cholesky(np.linalg.inv(np.asarray(found.precision, float)))
    scores = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    share = np.outer(weights, weights).ravel()
    points = np.asarray(found.best) + scores @ root.T
    first = sampled.space.index("spec_poly_1")
    thetas = jnp.asarray(theta).at[first : first + 2].set(0.0) * jnp.ones((len(points), 1))
    thetas = thetas.at[:, first : first + 2].set(jnp.asarray(sigma * points, jnp.float32))
    values = np.asarray(jax.jit(jax.vmap(lambda t: sampled.log_likelihood(t, data)))(thetas), float)
    # importance: prior over the normal that the nodes are of
    log_weight = -0.5 * np.sum(points**2, axis=1) + 0.5 * np.sum(scores**2, axis=1)
    log_weight += np.linalg.slogdet(root)[1]
    kept = share > 1e-12
    integral = np.log(np.sum(share[kept] * np.exp((values + log_weight - values.max())[kept]))) + values.max()
    assert np.isclose(density(marginal, plain, prepared), integral, atol=0.05)


def test_a_line_that_is_integrated_out_finds_its_flux() -> None:
    model, data, theta = asked(lines="marginalise", line_list=LINES)
    rest = model.spectrum
    truth = asked()[0]
    whole = predicted(truth, truth.space.pack(POINT), truth.prepare(made_up()[1]))
    found = model.explained(theta, data)
    assert rest.log_line.size == 2
    near = np.abs(np.asarray(made_up()[1].wave_aa) / (5008.24 * 1.1) - 1.0) < 3e-3
    flux, seen = (float(np.sum(np.asarray(s - predicted(model, theta, data))[near])) for s in (whole, found))
    error = 2.0 * np.sqrt(near.sum())
    assert abs(seen - flux) < 4.0 * error
    assert flux > 5.0 * error


def test_what_stands_in_unused_pixels_never_matters() -> None:
    model, observation = made_up()
    for settings in ({}, {"calibration": "marginalise", "degree": 3}, {"f_outlier_spec": 0.01}):
        other = galaxy_of(model.spectrum, SpectrumSettings(**FIXED, **settings))
        theta = other.space.pack(POINT)
        mask = observation.mask.at[40:60].set(False)
        plain = observation._replace(mask=mask)
        wild = plain._replace(flux=plain.flux.at[45].set(jnp.nan), flux_err=plain.flux_err.at[50].set(-1.0))
        value = jax.jit(jax.value_and_grad(GalaxyModel.log_likelihood, argnums=1))
        first, second = (value(other, theta, other.prepare(one)) for one in (plain, wild))
        assert first[0] == second[0]
        assert np.array_equal(first[1], second[1])
        moved = observation._replace(flux=observation.flux.at[30].add(20.0))
        assert density(other, theta, other.prepare(moved)) < density(other, theta, other.prepare(observation))


def test_masked_lines_are_windows_at_the_redshift_of_the_galaxy() -> None:
    model, data, theta = asked(lines="mask", line_list=LINES, mask_kms=600.0)
    used = np.asarray(data.spectrum.weight) > 0.0
    wave = np.asarray(made_up()[1].wave_aa)
    for rest in (4862.68, 4960.30, 5008.24):
        away = np.abs(np.log(wave / (1.1 * rest))) * 299792.458
        assert not np.any(used[away < 590.0])
    assert used.sum() > 0.8 * N
    other = made_up()[1]._replace(zred=jnp.asarray(0.105))
    assert not np.array_equal(np.asarray(model.prepare(other).spectrum.weight) > 0.0, used)
    # the model's own lines are out too: outside of the windows nothing is missing
    assert np.isfinite(density(model, theta, data))


def test_outliers_cost_what_the_mixture_says_and_jitter_counts() -> None:
    model, data, theta = asked(f_outlier_spec=0.02, nsigma_outlier_spec=30.0, spec_jitter=1.5)
    z = (np.asarray(data.spectrum.flux - predicted(model, theta, data), float)) / (1.5 * 2.0)
    normal = lambda z, s: np.exp(-0.5 * (z / s) ** 2) / s  # noqa: E731
    expected = np.sum(np.log(0.98 * normal(z, 1.0) + 0.02 * normal(z, 30.0)) - np.log(1.5))
    assert np.isclose(density(model, theta, data), expected, atol=0.01)


@pytest.mark.parametrize(
    "settings",
    [
        {"calibration": "marginalise", "degree": 4, "lines": "marginalise", "spec_jitter": Uniform(0.5, 2.0)},
        {"calibration": "sample", "degree": 4, "f_outlier_spec": Uniform(0.0, 0.4), "lines": "mask"},
        {"spec_norm": Uniform(0.3, 2.0)},
    ],
)
def test_gradients_are_finite_and_those_of_differences(settings: dict[str, object]) -> None:
    free = {"sigma_smooth": Uniform(10.0, 400.0), "eline_sigma": Uniform(10.0, 400.0)}
    model, observation = made_up()
    other = galaxy_of(model.spectrum, SpectrumSettings(**{**free, **settings}))
    data = other.prepare(observation)
    x = 0.3 * jax.random.normal(jax.random.key(2), (len(other.space),))
    near = other.space.unconstrain(other.space.pack({n: {**POINT, **FIXED, "spec_norm": 0.9}.get(n, 0.05 if "poly" in n or "outlier" in n else 1.0) for n in other.space.names}))  # fmt: skip  # noqa: E501
    x = near + 0.02 * x
    value = jax.jit(lambda x: other.log_likelihood(other.space.constrain(x), data))
    gradient = np.asarray(jax.jit(jax.grad(value))(x))
    assert np.all(np.isfinite(gradient))
    for i, name in enumerate(other.space.names):
        step = 2e-4 if name == "logmass" else 2e-3
        ends = [float(value(x.at[i].add(s * step))) for s in (1.0, -1.0)]
        assert np.isclose(gradient[i], (ends[0] - ends[1]) / (2.0 * step), rtol=0.03, atol=2.0), name


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="ties pixels together"):
        SpectrumSettings(f_outlier_spec=0.01, calibration="marginalise")
    with pytest.raises(ValueError, match="a degree of 1 or more"):
        SpectrumSettings(calibration="sample", degree=0)
    with pytest.raises(ValueError, match="spec_jitter cannot be 0"):
        SpectrumSettings(spec_jitter=0.0)
    model, observation = made_up()
    with pytest.raises(ValueError, match="make it for more"):
        galaxy_of(model.spectrum, SpectrumSettings(sigma_smooth=Uniform(10.0, 900.0)))
    photometry = observe(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="photometry and a model of it go together"):
        model.prepare(observation, photometry)
