"""Principal components of log spectra: exact where they span the spectra, without a step where ranges meet."""

import jax.numpy as jnp
import numpy as np
import pytest

from starling.emulators.spectra.basis import Basis, Encoder, Moments, make_ranges

WAVE = np.geomspace(1000.0, 1e5, 400)
SEAMS = (4000.0, 11000.0)


def made_up_spectra(n: int, seed: int = 0) -> np.ndarray:
    """Log spectra that five smooth shapes span."""
    generator = np.random.default_rng(seed)
    x = np.log(WAVE / 5500.0)
    shapes = np.stack([np.ones_like(x), x, x**2, np.sin(3.0 * x), np.tanh(4.0 * x)])
    return np.exp(-2.0 * x + generator.normal(size=(n, 5)) @ shapes)


def fit(spectra: np.ndarray, chunk: int, most: int = 10, rms: float = 1e-5) -> tuple[Basis, Encoder]:
    moments = Moments(make_ranges(WAVE, SEAMS, 0.05), np.full(WAVE.size, 1e-25))
    for first in range(0, len(spectra), chunk):
        moments.add(spectra[first : first + chunk])
    return moments.components(most, rms)


def test_tapers_add_up_to_one_and_overlap_only_at_the_seams() -> None:
    total = np.zeros_like(WAVE)
    count = np.zeros_like(WAVE)
    for r in make_ranges(WAVE, SEAMS, 0.05):
        total[r.start : r.stop] += r.taper
        count[r.start : r.stop] += 1
    assert np.allclose(total, 1.0)
    near = np.min(np.abs(np.log(WAVE[:, None] / SEAMS)), axis=1) < 0.03
    assert np.all(count[~near] == 1)
    with pytest.raises(ValueError, match="without a pixel"):
        make_ranges(WAVE, (500.0,), 0.05)


def test_components_reproduce_spectra_that_they_span() -> None:
    basis, encoder = fit(made_up_spectra(500), chunk=100)
    assert [len(vectors) for vectors in basis.vectors] == [5, 5, 5]  # no more than there are shapes
    for spectrum in made_up_spectra(5, seed=1):
        again = basis.decode(encoder(jnp.asarray(spectrum)))
        assert np.max(np.abs(again / spectrum - 1.0)) < 1e-3


def test_components_do_not_depend_on_the_chunks() -> None:
    spectra = made_up_spectra(300)
    (one, _), (many, _) = fit(spectra, chunk=300), fit(spectra, chunk=7)
    assert np.allclose(one.mean, many.mean, atol=1e-5)
    for first, second in zip(one.vectors, many.vectors, strict=True):
        # a component is one up to its sign
        assert np.allclose(first.T @ first, second.T @ second, atol=2e-2 * np.abs(first.T @ first).max())


def test_a_coefficient_is_the_rms_of_what_it_adds() -> None:
    basis, _ = fit(made_up_spectra(300), chunk=100)
    coefficients = jnp.zeros(basis.n_coefficients).at[2].set(0.01)
    added = np.log(basis.decode(coefficients) / basis.decode(jnp.zeros(basis.n_coefficients)))
    blue = SEAMS[0] > WAVE
    assert np.isclose(np.sqrt(np.mean(added[blue] ** 2)), 0.01, rtol=0.1)


def test_errors_of_coefficients_make_no_step_at_a_seam() -> None:
    basis, encoder = fit(made_up_spectra(300), chunk=100)
    coefficients = encoder(jnp.asarray(made_up_spectra(1, seed=2)[0]))
    off = coefficients + 0.02 * np.random.default_rng(3).normal(size=coefficients.shape)
    error = np.log(basis.decode(jnp.asarray(off, jnp.float32)) / basis.decode(coefficients))
    # without tapers the jump at a seam is as large as the errors themselves
    assert np.max(np.abs(np.diff(error))) < 0.4 * np.std(error)


def test_a_cut_basis_gives_the_same_pixels() -> None:
    basis, encoder = fit(made_up_spectra(300), chunk=100)
    coefficients = encoder(jnp.asarray(made_up_spectra(1, seed=2)[0]))
    whole = basis.decode(coefficients)
    for first, stop in ((0, 50), (100, 390), (300, 400)):
        assert np.allclose(basis.cut(first, stop).decode(coefficients), whole[first:stop], rtol=1e-5)
