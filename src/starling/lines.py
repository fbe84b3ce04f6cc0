"""Emission lines in filters: narrower than any filter, so a line counts by the filter's curve at its wavelength."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from starling import igm
from starling.photometry import Band, ab_zero_counts, load_bands

# Rest-frame bands whose magnitudes colours are made of; channels of every model beside its own bands.
REST_FRAME_BANDS = ("bessell_U", "bessell_V", "twomass_J")
# Of a spectrum in Lsun/Angstrom: erg/s/cm2/Angstrom at 10 pc.
AT_TEN_PC = 3.828e33 / (4.0 * np.pi * (10.0 * 3.0856775814913673e18) ** 2)
_STEP = 5e-4  # in ln(wavelength): below the sampling of the filters' own curves
# A line is wide enough to straddle the edges of Lyman absorption that are at its own wavelength.
_HALF_WIDTH = 5e-4


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LineLight:
    """Flux in every channel (bands, then ``REST_FRAME_BANDS``) of lines of 1 Lsun each, maggies at 10 pc.

    Behind the IGM. ``table`` holds the bands' response on a grid of ln(wavelength).
    """

    wave_aa: Float[Array, " line"]
    table: Float[Array, "wave band"]
    rest: Float[Array, "line 3"]
    log_start: float = field(metadata={"static": True})
    absorbed: tuple[int, ...] = field(metadata={"static": True})  # the lines that the IGM can absorb

    def __call__(self, zred: Float[Array, ""]) -> Float[Array, "line channel"]:
        place = (jnp.log(self.wave_aa) + jnp.log1p(zred) - self.log_start) / _STEP
        left = jnp.clip(jnp.floor(jax.lax.stop_gradient(place)), 0, self.table.shape[0] - 2).astype(jnp.int32)
        fraction = jnp.clip(place - left, 0.0, 1.0)[:, None]
        seen = (1.0 - fraction) * self.table[left] + fraction * self.table[left + 1]
        blue = jnp.asarray(self.absorbed, int)
        sides = jnp.asarray([1.0 - _HALF_WIDTH, 1.0 + _HALF_WIDTH])[:, None] * self.wave_aa[blue]
        passed = jnp.mean(igm.transmission(sides.ravel(), zred).reshape(sides.shape), axis=0)
        seen = seen.at[blue].multiply(passed[:, None], unique_indices=True)
        return jnp.concatenate([seen, self.rest], axis=1).astype(zred.dtype)

    def select(self, columns: Sequence[int] | np.ndarray) -> Self:
        """The same lines in these of the bands."""
        return replace(self, table=self.table[:, jnp.asarray(columns, int)])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LineTable:
    """``LineLight`` in the bands at nodes of redshift, to be read off: cheap to evaluate and to differentiate.

    ``log_start`` is ln(1 + z) of the first node; steps are as in ``LineLight``.
    """

    light: Float[Array, "node line band"]
    log_start: float = field(metadata={"static": True})

    def flux(self, lines: Float[Array, " line"], zred: Float[Array, ""]) -> Float[Array, " band"]:
        """Maggies at 10 pc of lines of these luminosities (Lsun)."""
        place = (jnp.log1p(zred) - self.log_start) / _STEP
        left = jnp.clip(jnp.floor(jax.lax.stop_gradient(place)), 0, self.light.shape[0] - 2).astype(jnp.int32)
        near, far = (lines @ self.light[left + side] for side in (0, 1))
        return near + (place - left) * (far - near)

    def select(self, columns: Sequence[int] | np.ndarray) -> tuple[Self, Int[np.ndarray, " line"]]:
        """The table for these of the bands, and the numbers of the lines that are left: those that show in a band."""
        part = self.light[:, :, np.asarray(columns, int)]
        seen = np.flatnonzero(np.any(np.asarray(part) > 0.0, axis=(0, 2)))
        return replace(self, light=part[:, seen]), seen


def line_table(light: LineLight, zred: tuple[float, float]) -> LineTable:
    """The light of lines in the bands, between two redshifts."""
    n_bands = light.table.shape[1]
    low, high = (float(np.log1p(z)) for z in zred)
    nodes = np.expm1(low + _STEP * np.arange(int(np.ceil((high - low) / _STEP)) + 2))
    values = jax.jit(lambda light, z: jax.lax.map(lambda z: light(z)[:, :n_bands], z, batch_size=64))
    return LineTable(values(light, jnp.asarray(nodes, jnp.float32)), low)


def line_light(wave_aa: Float[np.ndarray, " line"], bands: Sequence[Band], max_zred: float) -> LineLight:
    """The response of filters to lines at these rest-frame wavelengths (vacuum), for redshifts 0 to ``max_zred``."""
    rest = np.stack([_response(band, wave_aa) for band in load_bands(REST_FRAME_BANDS)], axis=1)
    low, high = min(band.wave_aa[0] for band in bands), max(band.wave_aa[-1] for band in bands)
    if wave_aa.size:
        low, high = max(low, wave_aa.min()), min(high, wave_aa.max() * (1.0 + max_zred))
    log_start = float(np.log(low)) - _STEP
    n_nodes = max(2, int(np.ceil((np.log(high) - log_start) / _STEP)) + 2)
    nodes = np.exp(log_start + _STEP * np.arange(n_nodes))
    table = np.stack([_response(band, nodes) for band in bands], axis=1)
    # lines beyond the grid are in no filter
    table[[0, -1]] = 0.0
    return LineLight(
        jnp.asarray(wave_aa, jnp.float32),
        jnp.asarray(table, jnp.float32),
        jnp.asarray(rest, jnp.float32),
        log_start,
        _absorbed(wave_aa),
    )


def _absorbed(wave_aa: Float[np.ndarray, " line"]) -> tuple[int, ...]:
    """Numbers of the lines that the IGM can absorb."""
    return tuple(int(i) for i in np.flatnonzero(wave_aa * (1.0 - _HALF_WIDTH) < igm.LYMAN_ALPHA_AA))


def _response(band: Band, wave_aa: np.ndarray) -> np.ndarray:
    """Maggies at 10 pc of a line of 1 Lsun at these observed wavelengths."""
    curve = np.interp(wave_aa, band.wave_aa, band.transmission, left=0.0, right=0.0)
    return curve * wave_aa * AT_TEN_PC / ab_zero_counts(band)
