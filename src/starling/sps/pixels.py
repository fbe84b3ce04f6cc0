"""The wavelength pixels of the exact model, and their projection on filters at any redshift.

Spectra are means of L_lambda over pixels that are uniform in ln(wavelength) within each of a few segments. Redshifting
is then a shift by ln(1 + z), done by sharing each pixel's light between the two observed-frame pixels that it falls on:
light is conserved, and fluxes are continuous and differentiable in z. Filters are integrated once, on the observed
pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import sparse

from starling.igm import LYMAN_ALPHA_AA
from starling.lines import AT_TEN_PC
from starling.photometry import Band, projection_matrix
from starling.sps.stars import LYMAN_LIMIT_AA

# (first wavelength, ln step): fine where the SSP tables resolve lines and breaks. The edges at the Lyman limit and at
# Lyman alpha keep what the intergalactic medium and the nebulae absorb in pixels of their own.
DEFAULT_SEGMENTS = (
    (90.0, 2e-2),
    (LYMAN_LIMIT_AA, 2e-3),
    (LYMAN_ALPHA_AA, 2e-3),
    (3500.0, 1e-3),
    (7500.0, 2e-3),
    (2.5e4, 4e-3),
    (4.0e5, 2e-2),
)
DEFAULT_LAST_AA = 3.0e7


class PixelGrid(NamedTuple):
    """Edges of the segments (Angstrom, one more than there are segments) and their numbers of pixels; hashable."""

    starts_aa: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def steps(self) -> np.ndarray:
        return np.diff(np.log(self.starts_aa)) / np.array(self.counts)

    @property
    def edges_aa(self) -> np.ndarray:
        parts = [
            start * np.exp(step * np.arange(count))
            for start, step, count in zip(self.starts_aa[:-1], self.steps, self.counts, strict=True)
        ]
        return np.append(np.concatenate(parts), self.starts_aa[-1])

    @property
    def wave_aa(self) -> np.ndarray:
        return np.sqrt(self.edges_aa[1:] * self.edges_aa[:-1])

    @property
    def widths_aa(self) -> np.ndarray:
        return np.diff(self.edges_aa)


def make_pixels(
    segments: Sequence[tuple[float, float]] = DEFAULT_SEGMENTS, last_aa: float = DEFAULT_LAST_AA
) -> PixelGrid:
    """A grid with about the given ln steps, adjusted so that a whole number of pixels fills each segment."""
    starts = (*(start for start, _ in segments), last_aa)
    spans = np.diff(np.log(starts))
    counts = tuple(max(1, round(span / step)) for span, (_, step) in zip(spans, segments, strict=True))
    return PixelGrid(starts, counts)


def rebin(wave_aa: np.ndarray, spectra: np.ndarray, pixels: PixelGrid) -> np.ndarray:
    """Mean over each pixel of spectra [..., wave] that are linear between their points and zero outside. float64."""
    flat = spectra.reshape(-1, wave_aa.size)
    means = rebinning(wave_aa, pixels) @ flat.T.astype(float)
    return means.T.reshape(*spectra.shape[:-1], pixels.wave_aa.size)


def rebinning(wave_aa: np.ndarray, pixels: PixelGrid) -> sparse.csr_array:
    """The matrix [pixel, wave] of ``rebin``, for those who rebin again and again."""
    edges = pixels.edges_aa
    inside = (edges > wave_aa[0]) & (edges < wave_aa[-1])
    grid = np.union1d(wave_aa, edges[inside])
    # trapezoid on the union of both grids, every point interpolated from its two neighbours in the table
    left = np.clip(np.searchsorted(wave_aa, grid, side="right") - 1, 0, wave_aa.size - 2)
    fraction = (grid - wave_aa[left]) / (wave_aa[left + 1] - wave_aa[left])
    rows = np.arange(grid.size)
    interpolate = sparse.csr_array(
        (np.concatenate([1 - fraction, fraction]), (np.tile(rows, 2), np.concatenate([left, left + 1]))),
        shape=(grid.size, wave_aa.size),
    )
    cell = np.arange(grid.size - 1)
    pixel = np.searchsorted(edges, 0.5 * (grid[1:] + grid[:-1]), side="right") - 1
    valid = (pixel >= 0) & (pixel < edges.size - 1)
    half = 0.5 * np.diff(grid)[valid] / pixels.widths_aa[pixel[valid]]
    integrate = sparse.csr_array(
        (np.tile(half, 2), (np.tile(pixel[valid], 2), np.concatenate([cell[valid], cell[valid] + 1]))),
        shape=(edges.size - 1, grid.size),
    )
    return sparse.csr_array(integrate @ interpolate)


def deposit_lines(line_wave_aa: np.ndarray, lines: np.ndarray, pixels: PixelGrid) -> np.ndarray:
    """Spectra [..., pixel] of narrow lines [..., line], each shared between the two nearest pixels: conserves light."""
    wave, widths = pixels.wave_aa, pixels.widths_aa
    left = np.clip(np.searchsorted(wave, line_wave_aa) - 1, 0, wave.size - 2)
    fraction = np.clip(np.log(line_wave_aa / wave[left]) / np.log(wave[left + 1] / wave[left]), 0.0, 1.0)
    operator = np.zeros((line_wave_aa.size, wave.size))
    np.add.at(operator, (np.arange(left.size), left), (1 - fraction) / widths[left])
    np.add.at(operator, (np.arange(left.size), left + 1), fraction / widths[left + 1])
    return np.asarray(lines, float) @ operator


class Projection(NamedTuple):
    """Filters on the observed-frame pixels of each segment: a tuple of [band, observed pixel], maggies at 10 pc.

    ``offsets`` (static, one per segment) is the observed pixel at which the kept range begins, counted from the
    segment's first rest-frame pixel; ``reach`` the largest shift in pixels.
    """

    weights: tuple[Array, ...]
    offsets: tuple[int, ...]
    reach: tuple[int, ...]


def make_projection(bands: Sequence[Band], pixels: PixelGrid, max_zred: float) -> Projection:
    """Projection for redshifts 0 to ``max_zred``; light of 1 Lsun/Angstrom at 10 pc."""
    weights, offsets, reaches = [], [], []
    for start, step, count in zip(pixels.starts_aa[:-1], pixels.steps, pixels.counts, strict=True):
        reach = int(np.floor(np.log1p(max_zred) / step)) + 2
        edges = start * np.exp(step * np.arange(count + reach + 1))
        matrix = projection_matrix(bands, edges) * AT_TEN_PC
        seen = np.flatnonzero(np.any(matrix > 0, axis=0))
        first, last = (int(seen[0]), int(seen[-1]) + 1) if seen.size else (0, 1)
        weights.append(jnp.asarray(matrix[:, first:last], jnp.float32))
        offsets.append(first)
        reaches.append(reach)
    return Projection(tuple(weights), tuple(offsets), tuple(reaches))


def project(
    l_lambda: Float[Array, " pixel"], zred: Float[Array, ""], projection: Projection, pixels: PixelGrid
) -> Float[Array, " band"]:
    """Maggies in every band of a rest-frame spectrum (Lsun/Angstrom) at redshift ``zred`` but a distance of 10 pc."""
    flux = jnp.zeros(projection.weights[0].shape[0], l_lambda.dtype)
    begin = 0
    parts = zip(pixels.steps, pixels.counts, *projection, strict=True)
    for step, count, weights, offset, reach in parts:
        shift = jnp.log1p(zred) / step
        whole = jnp.clip(jnp.floor(jax.lax.stop_gradient(shift)), 0, reach - 2).astype(jnp.int32)
        fraction = shift - whole
        # observed pixel m holds (1 - fraction) of rest pixel m - whole and fraction of m - whole - 1
        size = weights.shape[1]
        padded = jnp.pad(l_lambda[begin : begin + count], (reach, reach + 1))
        seen = jax.lax.dynamic_slice_in_dim(padded, reach + offset - whole - 1, size + 1)
        flux = flux + weights @ ((1.0 - fraction) * seen[1:] + fraction * seen[:-1])
        begin += count
    return flux / (1.0 + zred)
