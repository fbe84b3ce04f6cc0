"""Emission lines in filters: narrower than any filter, so a line counts by the filter's curve at its wavelength."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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

    def take(self, lines: Sequence[int] | np.ndarray) -> Self:
        """These of the lines."""
        index = np.asarray(lines, int)
        return replace(
            self,
            wave_aa=self.wave_aa[index],
            rest=self.rest[index],
            absorbed=_absorbed(np.asarray(self.wave_aa)[index]),
        )

    def visible(self, zred: tuple[float, float]) -> np.ndarray:
        """Numbers of the lines that a source in this range of redshift can show in any of the bands."""
        open_nodes = np.flatnonzero(np.any(np.asarray(self.table) > 0.0, axis=1))
        ends = np.log(np.asarray(self.wave_aa, float))[:, None] + np.log1p(zred) - self.log_start
        first, last = np.floor(ends / _STEP).astype(int).T
        # nodes from `first` to `last` + 1 are read
        return np.flatnonzero(np.searchsorted(open_nodes, first) < np.searchsorted(open_nodes, last + 2))

    def select(self, columns: Sequence[int] | np.ndarray) -> Self:
        """The same lines in these of the bands."""
        return replace(self, table=self.table[:, jnp.asarray(columns, int)])


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
