"""Two simulators for the same galaxies: what changes in fluxes and colours, and what a fit would pay for it.

All is numpy, from fluxes alone. A difference is in magnitudes, second minus first: positive where the second is
fainter. The mass of a galaxy is free in a fit, so one number for all bands of a galaxy is not a discrepancy of shape:
differences "of shape" are those that are left after the factor that brings the second galaxy closest to the first.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from starling.components import RATIOS, SPECTRAL_PROPERTIES
from starling.igm import LYMAN_ALPHA_AA
from starling.parameters import ParameterSpace
from starling.photometry import POGSON
from starling.sfh import history_properties

FLOOR = 0.05
LEVELS = (0.001, 0.16, 0.5, 0.84, 0.999)
# quantities that a difference is held against, beside the parameters of the space
AGE, SSFR = "log_mwa", "log_ssfr_100"
_LABELS = {AGE: r"$\log$ age / Gyr", SSFR: r"$\log$ sSFR / yr$^{-1}$"}
_FEWEST = 8


class Fluxes(NamedTuple):
    """What a simulator gives: maggies at 10 pc per Msun formed, and ``starling.components.SPECTRAL_PROPERTIES``."""

    flux: Float[np.ndarray, "row band"]
    properties: Float[np.ndarray, "row 4"]


class Pair(NamedTuple):
    """Galaxies as two simulators see them; ``labels`` are the simulators' names."""

    labels: tuple[str, str]
    space: ParameterSpace
    bands: tuple[str, ...]
    wave_um: Float[np.ndarray, " band"]
    theta: Float[np.ndarray, "row param"]
    first: Fluxes
    second: Fluxes

    @property
    def seen(self) -> Bool[np.ndarray, "row band"]:
        """Bands with light of the galaxy: redward of Lyman alpha in its rest frame, bright in both."""
        zred = self.theta[:, self.space.index("zred")]
        redward = self.wave_um * 1e4 > LYMAN_ALPHA_AA * (1.0 + zred[:, None])
        fluxes = (self.first.flux, self.second.flux)
        return redward & np.logical_and.reduce([np.isfinite(flux) & (flux > 0.0) for flux in fluxes])

    @property
    def ratio(self) -> Float[np.ndarray, "row band"]:
        """Flux of the second over that of the first; NaN where a band has no light."""
        seen = self.seen
        first, second = (np.where(seen, each.flux, 1.0).astype(float) for each in (self.first, self.second))
        return np.where(seen, second / first, np.nan)


class Statistics(NamedTuple):
    """Of differences by name (bands, colours): how many galaxies, quantiles at ``LEVELS``, share beyond a tolerance."""

    names: tuple[str, ...]
    n: np.ndarray
    quantiles: Float[np.ndarray, "level=5 name"]
    beyond: Float[np.ndarray, " name"]

    @property
    def median(self) -> Float[np.ndarray, " name"]:
        return self.quantiles[2]

    @property
    def scatter(self) -> Float[np.ndarray, " name"]:
        """Half of the central 68%."""
        return 0.5 * (self.quantiles[3] - self.quantiles[1])


class Trend(NamedTuple):
    """What the difference in a band follows: a quantity and the rank correlation with it; none: an empty name."""

    name: str
    correlation: float


def tolerance_mag(floor: float = FLOOR, n_bands: int = 1) -> float:
    """The error that a floor (fraction of the flux) adds to a magnitude, or to a colour (``n_bands`` 2)."""
    return POGSON * floor * float(np.sqrt(n_bands))


def magnitudes(ratio: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Difference in magnitudes, second minus first."""
    return -POGSON * np.log(ratio)


def best_scale(ratio: Float[np.ndarray, "row band"]) -> Float[np.ndarray, " row"]:
    """The factor of each second galaxy that brings it closest to the first, bands weighing the same."""
    return _sum(ratio) / _sum(ratio**2)


def shape_ratio(ratio: Float[np.ndarray, "row band"]) -> Float[np.ndarray, "row band"]:
    """The ratios after ``best_scale``."""
    return ratio * best_scale(ratio)[:, None]


def chi2_cost(
    ratio: Float[np.ndarray, "row band"], floor: float = FLOOR, *, free_mass: bool = True
) -> Float[np.ndarray, " row"]:
    """Chi^2 of each first galaxy, without noise, fitted by the second at the same parameters; errors are the floor.

    With ``free_mass`` the mass is fitted. Other parameters would take up some of it: this is the most that it costs.
    """
    left = shape_ratio(ratio) if free_mass else ratio
    return _sum(((left - 1.0) / floor) ** 2)


def statistics(
    names: Sequence[str], difference: Float[np.ndarray, "row name"], tolerance: float
) -> Statistics:
    """Statistics of each column; NaN are left out, and are the result for a column without numbers."""
    quantiles, beyond = np.full((len(LEVELS), len(names)), np.nan), np.full(len(names), np.nan)
    for column, values in enumerate(difference.T):
        values = values[np.isfinite(values)]
        if values.size:
            quantiles[:, column] = np.quantile(values, LEVELS)
            beyond[column] = np.mean(np.abs(values) > tolerance)
    return Statistics(tuple(names), np.isfinite(difference).sum(axis=0), quantiles, beyond)


def band_statistics(pair: Pair, floor: float = FLOOR, *, shape: bool = False) -> Statistics:
    """Of the differences in every band; ``shape``: after the best factor of every galaxy."""
    ratio = shape_ratio(pair.ratio) if shape else pair.ratio
    return statistics(pair.bands, magnitudes(ratio), tolerance_mag(floor))


def neighbours(pair: Pair) -> list[tuple[str, str]]:
    """Pairs of bands that follow each other in wavelength, blue first."""
    order = np.argsort(pair.wave_um)
    return [(pair.bands[i], pair.bands[j]) for i, j in itertools.pairwise(order)]


def colour_statistics(pair: Pair, colours: Sequence[tuple[str, str]], floor: float = FLOOR) -> Statistics:
    """Of differences in colours: rest-frame U - V and V - J, then those of pairs of bands (blue - red)."""
    difference = magnitudes(pair.ratio)
    rest = rest_colours(pair.second) - rest_colours(pair.first)
    blue, red = ([pair.bands.index(colour[side]) for colour in colours] for side in (0, 1))
    return statistics(
        ("rest-frame U - V", "rest-frame V - J", *(" - ".join(colour) for colour in colours)),
        np.hstack([np.where(np.isfinite(rest), rest, np.nan), difference[:, blue] - difference[:, red]]),
        tolerance_mag(floor, 2),
    )


def rest_colours(fluxes: Fluxes) -> Float[np.ndarray, "row 2"]:
    """Rest-frame U - V and V - J of every galaxy."""
    columns = [SPECTRAL_PROPERTIES.index(name) for name in ("u_minus_v", "v_minus_j")]
    return fluxes.properties[:, columns].astype(float)


def quantities(pair: Pair) -> dict[str, Float[np.ndarray, " row"]]:
    """What differences are held against: age, specific SFR, and parameters that vary and act on fluxes per mass."""
    values = {name: np.asarray(v, float) for name, v in pair.space.unpack(jnp.asarray(pair.theta)).items()}
    history = _history(pair.space, pair.theta)
    surviving = pair.first.properties[:, SPECTRAL_PROPERTIES.index("log_mass_fraction")]
    found = {
        AGE: np.log10(history["mwa"]),
        SSFR: np.log10(np.maximum(history["sfr_100"], 1e-300)) - values["logmass"] - surviving,
    }
    shown = [name for name in pair.space.names if name != "logmass" and name not in RATIOS]
    found |= {name: values[name] for name in shown}
    return {name: array for name, array in found.items() if np.ptp(array) > 1e-9}


def quantity_label(pair: Pair, name: str) -> str:
    """How an axis names a quantity."""
    if name in _LABELS:
        return _LABELS[name]
    return pair.space.parameters[pair.space.index(name)].label or name


def rank_correlations(
    values: dict[str, Float[np.ndarray, " row"]], difference: Float[np.ndarray, "row name"]
) -> Float[np.ndarray, "quantity name"]:
    """Spearman's rank correlations; 0 where a difference does not vary, NaN where fewer than 8 galaxies have one."""
    found = np.full((len(values), difference.shape[1]), np.nan)
    table = np.stack(list(values.values()), axis=1) if values else np.zeros((len(difference), 0))
    for column, numbers in enumerate(difference.T):
        kept = np.isfinite(numbers)
        if kept.sum() < _FEWEST:
            continue
        ranks = _centred(rankdata(np.round(numbers[kept], 6)))
        others = _centred(rankdata(table[kept], axis=0))
        length = np.linalg.norm(ranks) * np.linalg.norm(others, axis=0)
        found[:, column] = np.where(length > 0.0, ranks @ others / np.maximum(length, 1e-300), 0.0)
    return found


def strongest(
    names: Sequence[str], correlations: Float[np.ndarray, "quantity name"], n: np.ndarray
) -> list[Trend]:
    """For each column the quantity with the largest rank correlation, where chance (3 sigma) would not give it."""
    found = []
    for column, count in zip(correlations.T, n, strict=True):
        if not len(column) or not np.isfinite(column).any():
            found.append(Trend("", float("nan")))
            continue
        best = int(np.nanargmax(np.abs(column)))
        said = abs(column[best]) > 3.0 / np.sqrt(max(int(count) - 1, 1))
        found.append(Trend(names[best] if said else "", float(column[best])))
    return found


def _history(space: ParameterSpace, theta: np.ndarray) -> dict[str, np.ndarray]:
    def one(row: jax.Array) -> dict[str, jax.Array]:
        values = space.unpack(row)
        ratios = jnp.stack([values[name] for name in RATIOS])
        found = history_properties(values["logmass"], ratios, values["zred"])
        return {name: found[name] for name in ("mwa", "sfr_100")}

    return {name: np.asarray(a, float) for name, a in jax.jit(jax.vmap(one))(jnp.asarray(theta)).items()}


def _sum(values: np.ndarray) -> np.ndarray:
    """Over bands; NaN for a galaxy without light in any."""
    total = np.nansum(values, axis=1)
    return np.where(np.isfinite(values).any(axis=1), total, np.nan)


def _centred(ranks: np.ndarray) -> np.ndarray:
    return ranks - ranks.mean(axis=0)
