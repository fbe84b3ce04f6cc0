"""Redshift and Gaussian smoothing of a spectrum on pixels of one step in ln(wavelength), whose width varies.

Both are products in Fourier space, where they are exact for what the pixels resolve, and smooth functions of redshift
and of the VARIANCE of the kernel, at zero as well. Of a width that varies with wavelength the smallest is done there;
the rest, e(x), is interpolated between a few smoothings with more: polynomials in t = ln(1 + e / e0). How many that
takes is decided once, by the error for every frequency (``variance_nodes``).
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TOLERANCE = 1e-3  # of the amplitude of any frequency
_MOST_NODES = 24
OVERSAMPLING = 2  # of the pixels that come out


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class VarianceNodes:
    """Extra variances (in squared pixels) to interpolate between, up to ``most``; ``scale`` is e0."""

    extra: tuple[float, ...] = field(metadata={"static": True})
    scale: float = field(metadata={"static": True})
    most: float = field(metadata={"static": True})

    def weights(self, extra: Float[Array, " pixel"]) -> Float[Array, "node pixel"]:
        """What each smoothing counts where the extra variance is this: Lagrange's polynomials in t."""
        if len(self.extra) == 1:
            return jnp.ones((1, *extra.shape), extra.dtype)
        t = jnp.log1p(jnp.clip(extra, 0.0, self.most) / self.scale)
        nodes = np.log1p(np.asarray(self.extra) / self.scale)
        rows = []
        for i, node in enumerate(nodes):
            others = np.delete(nodes, i)
            factor = jnp.full(extra.shape, 1.0 / np.prod(node - others), extra.dtype)
            for other in others:
                factor = factor * (t - other.astype(extra.dtype))
            rows.append(factor)
        return jnp.stack(rows)


def variance_nodes(most: float, blur: float) -> VarianceNodes:
    """Nodes for extra variances from 0 to ``most`` of spectra that are blurred by the variance ``blur`` already.

    ValueError where the width varies by more than polynomials follow.
    """
    frequency = np.linspace(0.0, np.pi, 65)[:, None]
    extra = np.linspace(0.0, most, 257)
    exact = np.exp(-0.5 * frequency**2 * (extra + blur))
    scale = max(blur, 0.1)
    last = float(np.log1p(most / scale))
    for count in range(1, _MOST_NODES + 1):
        # Chebyshev's points, stretched to the ends
        points = -np.cos(np.pi * (np.arange(count) + 0.5) / count)
        t = 0.5 * last * (1.0 + points / max(points[-1], 1e-9)) if count > 1 else np.asarray([0.5 * last])
        nodes = VarianceNodes(tuple(float(e) for e in scale * np.expm1(t)), scale, most)
        made = np.exp(-0.5 * frequency**2 * (np.asarray(nodes.extra) + blur)) @ _weights64(t, extra, scale)
        if np.max(np.abs(made - exact)) < TOLERANCE:
            return nodes
    raise ValueError(
        f"the resolution varies too much over the spectrum (by {most:.3g} squared pixels): fit it in parts"
    )


def _weights64(t: np.ndarray, extra: np.ndarray, scale: float) -> np.ndarray:
    at = np.log1p(extra / scale)
    rows = []
    for i, node in enumerate(t):
        others = np.delete(t, i)
        rows.append(
            np.prod([(at - o) / (node - o) for o in others], axis=0) if others.size else np.ones_like(at)
        )
    return np.stack(rows)


def shifted_and_smoothed(
    light: Float[Array, " pixel"],
    shift: Float[Array, ""],
    variance: Float[Array, ""],
    extra: Float[Array, " fine"],
    nodes: VarianceNodes,
) -> Float[Array, " fine"]:
    """A periodic spectrum, moved by ``shift`` pixels and smoothed by ``variance + extra`` (squared pixels).

    On ``OVERSAMPLING`` times as many pixels, which begin where those of ``light`` do.
    """
    n = light.shape[0]
    frequency = (2.0 * np.pi / n * np.arange(n // 2 + 1)).astype(light.dtype)
    spectrum = jnp.fft.rfft(light)
    # the phase of the highest frequency of an even number of pixels is not known
    gain = jnp.exp(-0.5 * frequency**2 * variance) * (np.arange(n // 2 + 1) * 2 < n)
    moved = spectrum * gain * jax.lax.complex(jnp.cos(frequency * shift), -jnp.sin(frequency * shift))
    damping = np.exp(-0.5 * frequency**2 * np.asarray(nodes.extra)[:, None]).astype(light.dtype)
    smoothed = OVERSAMPLING * jnp.fft.irfft(moved * damping, n=OVERSAMPLING * n, axis=-1)
    return jnp.sum(nodes.weights(extra) * smoothed, axis=0)
