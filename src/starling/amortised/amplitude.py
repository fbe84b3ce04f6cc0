"""How well the noise of a galaxy lets the amplitude of a model be known: the normal that its mass is drawn from.

Only a proposal: the weights of the draws are exact whatever stands here. But it has to be about as wide as the
posterior of the mass. Errors that are correlated over bands and zero points make that wider than bands that err apart;
an outlier moves it.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from starling.amortised.features import Seen
from starling.amortised.mass import Amplitude, best_amplitude
from starling.inference.noise import Noise
from starling.inference.outliers import Mixture, suspects
from starling.inference.zero_points import decorrelate

_REWEIGHTINGS = 3
_TAIL = 4.0  # deviations out to which the normal is to cover that tail
_MOST_WIDER = 0.4
_MOST_OUTLIERS = 0.1  # fraction


def amplitude_of(
    model: Float[Array, " band"], seen: Seen, limit: Bool[Array, " band"], noise: Noise
) -> Amplitude:
    """Mean and deviation of what the ``model`` flux of ONE galaxy is to be multiplied with."""
    if noise.outliers is not None:
        return _reweighted(model, seen, noise)
    first = best_amplitude(model, seen.flux, seen.error, seen.mask)
    if noise.marginal is None and noise.whiten is None:
        return first
    detected = seen.mask & ~limit
    error = jnp.where(detected, noise.error, seen.error)
    m, y = (jnp.where(seen.mask, flux / error, 0.0) for flux in (model, seen.flux))
    if noise.marginal is not None:
        # the scatter of the zero points about the amplitude that there is without them
        scaled = jnp.where(detected, jnp.maximum(first.mean, 0.0) * m, 0.0)
        m, y = (decorrelate(noise.marginal, z, scaled, noise.whiten).z for z in (m, y))
    elif noise.whiten is not None:
        m, y = noise.whiten @ m, noise.whiten @ y
    square = jnp.maximum(jnp.sum(m**2), 1e-20)
    best = Amplitude(jnp.sum(m * y) / square, 1.0 / jnp.sqrt(square))
    return best if noise.marginal is None else _wider(best)


def _wider(amplitude: Amplitude) -> Amplitude:
    """With a tail on the side of large amplitudes: flux / (1 + delta), not flux (1 + delta), is what they are."""
    relative = amplitude.sigma / jnp.maximum(amplitude.mean, amplitude.sigma)
    return amplitude._replace(sigma=amplitude.sigma / (1.0 - jnp.minimum(_TAIL * relative, _MOST_WIDER)))


def _reweighted(model: Float[Array, " band"], seen: Seen, noise: Noise) -> Amplitude:
    """Least squares again and again, with the weights that the residuals have.

    From a start that an outlier moves little: the weighted median of the ratios of observed to model flux.
    """
    outliers = noise.outliers
    assert outliers is not None
    if isinstance(outliers, Mixture):
        # a fraction that is not known makes little difference here, and takes long
        known = jnp.clip(jnp.exp(outliers.log_share) @ outliers.fraction, 0.0, _MOST_OUTLIERS)
        outliers = Mixture(outliers.width, known[None], jnp.zeros(1))
    none = jnp.zeros_like(seen.mask)
    signal = jnp.where(seen.mask, jnp.abs(model) / seen.error, 0.0)
    flux = jnp.where(seen.mask, seen.flux, 0.0)
    ratio = jnp.where(seen.mask, flux / jnp.where(model == 0.0, 1.0, model), jnp.inf)
    order = jnp.argsort(ratio)
    counted = jnp.cumsum(signal[order])
    mean = ratio[order][jnp.argmax(counted >= 0.5 * counted[-1])]

    def again(mean: Array) -> Amplitude:
        z = jnp.where(seen.mask, (flux - mean * model) / seen.error, 0.0)
        weight = suspects(outliers, z, seen.mask, none).weight
        return best_amplitude(model, seen.flux, seen.error / jnp.sqrt(weight), seen.mask)

    best = again(mean)
    for _ in range(_REWEIGHTINGS - 1):
        best = again(best.mean)
    if isinstance(outliers, Mixture):
        return best
    # Fisher's information of a Student-t over what its weights say
    freedom = outliers.freedom
    return best._replace(sigma=best.sigma * jnp.sqrt((freedom + 3.0) / (freedom + 1.0)))
