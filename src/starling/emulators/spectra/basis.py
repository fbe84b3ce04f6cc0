"""Principal components of the logarithms of spectra, by wavelength range, joined where ranges overlap.

The second moments are summed chunk by chunk, so any number of spectra fits in memory and the components are exact.
Where two ranges overlap their logarithms are blended with sin^2 and cos^2 in ln(wavelength), so there are no steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float


class Range(NamedTuple):
    """Pixels ``start`` to ``stop`` (exclusive) of a spectrum, and how much the range counts in each of them."""

    start: int
    stop: int
    taper: np.ndarray


def make_ranges(
    wave_aa: Float[np.ndarray, " pixel"], seams_aa: Sequence[float], overlap: float
) -> tuple[Range, ...]:
    """Ranges that meet at the seams, overlapping by ``overlap`` in ln(wavelength); tapers sum to 1 in every pixel."""
    log_wave = np.log(wave_aa)
    steps = []
    for seam in seams_aa:
        phase = np.clip((log_wave - np.log(seam)) / overlap + 0.5, 0.0, 1.0)
        steps.append(np.sin(0.5 * np.pi * phase) ** 2)
    ones = np.ones_like(log_wave)
    ranges = []
    for rising, passed in zip([ones, *steps], [*steps, 0.0 * ones], strict=True):
        taper = rising * (1.0 - passed)
        seen = np.flatnonzero(taper > 0.0)
        if not seen.size:
            raise ValueError(f"seams at {list(seams_aa)} Angstrom leave a wavelength range without a pixel")
        ranges.append(Range(int(seen[0]), int(seen[-1]) + 1, taper[seen[0] : seen[-1] + 1]))
    return tuple(ranges)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Basis:
    """Spectra as coefficients: ln(spectrum + floor) = mean + sum over ranges of coefficients times ``vectors``.

    ``vectors`` (one array [component, pixel] per range, from pixel ``starts`` on) have the tapers in them. A
    coefficient is the rms over the range of what it adds to the logarithm: its error is a relative error of the light.
    """

    mean: Float[Array, " pixel"]
    floor: Float[Array, " pixel"]
    vectors: tuple[Float[Array, "_ _"], ...]
    starts: tuple[int, ...] = field(metadata={"static": True})

    @property
    def n_coefficients(self) -> int:
        return sum(len(vectors) for vectors in self.vectors)

    def decode(self, coefficients: Float[Array, " coefficient"]) -> Float[Array, " pixel"]:
        """The spectrum, in its unit."""
        logarithm, first = self.mean.astype(coefficients.dtype), 0
        for start, vectors in zip(self.starts, self.vectors, strict=True):
            part = coefficients[first : first + len(vectors)] @ vectors.astype(coefficients.dtype)
            logarithm = logarithm.at[start : start + vectors.shape[1]].add(part)
            first += len(vectors)
        return jnp.exp(logarithm) - self.floor

    def cut(self, first: int, stop: int) -> Self:
        """The basis for pixels ``first`` to ``stop`` only; the coefficients stay as they are."""
        vectors, starts = [], []
        for start, array in zip(self.starts, self.vectors, strict=True):
            low, high = max(first - start, 0), max(min(stop - start, array.shape[1]), 0)
            vectors.append(array[:, low : max(low, high)])
            starts.append(max(start + low - first, 0))
        return type(self)(self.mean[first:stop], self.floor[first:stop], tuple(vectors), tuple(starts))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Encoder:
    """The inverse of ``Basis.decode`` for spectra that the basis can express: orthogonal projections by range."""

    mean: Float[Array, " pixel"]
    floor: Float[Array, " pixel"]
    vectors: tuple[Float[Array, "_ _"], ...]
    starts: tuple[int, ...] = field(metadata={"static": True})

    def __call__(self, spectrum: Float[Array, " pixel"]) -> Float[Array, " coefficient"]:
        logarithm = jnp.log(spectrum + self.floor) - self.mean
        parts = [
            vectors @ logarithm[start : start + vectors.shape[1]] / jnp.sqrt(vectors.shape[1])
            for start, vectors in zip(self.starts, self.vectors, strict=True)
        ]
        return jnp.concatenate(parts)


class Moments:
    """Sums over spectra that principal components need; ``add`` takes any number of spectra at a time."""

    def __init__(self, ranges: Sequence[Range], floor: Float[np.ndarray, " pixel"]) -> None:
        self.ranges, self.floor, self.count = tuple(ranges), floor, 0
        self.shift = self.total = np.zeros_like(floor, float)
        self.products = [np.zeros((r.stop - r.start,) * 2) for r in self.ranges]

    def add(self, spectra: Float[np.ndarray, "row pixel"]) -> None:
        logarithm = np.log(np.asarray(spectra, float) + self.floor)
        if not self.count:
            # near the mean already, so that nothing cancels
            self.shift = logarithm.mean(axis=0)
        centred = logarithm - self.shift
        self.count += len(centred)
        self.total = self.total + centred.sum(axis=0)
        for products, r in zip(self.products, self.ranges, strict=True):
            part = centred[:, r.start : r.stop]
            products += part.T @ part

    def components(self, most: int, rms: float) -> tuple[Basis, Encoder]:
        """The basis: as many components per range as leave an rms below ``rms`` in the logarithm, ``most`` at most."""
        mean = self.total / self.count
        orthonormal = []
        for products, r in zip(self.products, self.ranges, strict=True):
            part = mean[r.start : r.stop]
            covariance = products / self.count - np.outer(part, part)
            size = len(covariance)
            top = (max(size - most, 0), size - 1)
            variance, vectors = scipy.linalg.eigh(covariance, subset_by_index=top, overwrite_a=True)
            left = np.trace(products) / self.count - part @ part - np.cumsum(variance[::-1])
            needed = 1 + int(np.count_nonzero(left > rms**2 * size))
            orthonormal.append(vectors[:, ::-1][:, :needed].T)
        starts = tuple(r.start for r in self.ranges)
        centre, floor = _single(self.shift + mean), _single(self.floor)
        tapered = tuple(
            _single(vectors * r.taper * np.sqrt(vectors.shape[1]))
            for vectors, r in zip(orthonormal, self.ranges, strict=True)
        )
        encoder = Encoder(centre, floor, tuple(map(_single, orthonormal)), starts)
        return Basis(centre, floor, tapered, starts), encoder


def _single(array: np.ndarray) -> Array:
    return jnp.asarray(array, jnp.float32)
