"""Star-formation histories: in seven bins, with what follows from them without a spectrum, and of basis functions.

Seven bins of lookback time (Leja et al. 2019): 0-30 Myr, 30-100 Myr, four bins equal in log time up to 0.85 of the age
of the universe, and the oldest 15%. Bin 1 is the youngest. ``logsfr_ratios[i]`` is log10 of the
star-formation rate in bin i over that in bin i + 1 (the next older one). Times are lookback times from the galaxy's
redshift, in Gyr.

The histories of the model of DESI spectra (Alsing et al. 2020, section 3) are a mixture of four of fixed shape, their
metallicities a sum of two, all functions of cosmic time x = t / t_univ(z). The bases of the paper come from a
factorisation of the Illustris simulation and are not public; here they are closed forms of the same kind: histories
that peak early, in the middle and late, and one that rises to the present (``sfh_basis``), and a metallicity that grows
with time and one that declines (``metallicity_basis``).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from starling.cosmology import age_gyr

N_BINS = 7
_YOUNG_EDGES_GYR = (0.0, 0.03, 0.1)
_OLDEST_BIN_START = 0.85
N_HISTORIES = 4
# Gamma distributions in x: (shape, scale), the three that peak; x**6 is the fourth.
_PEAKED = ((2.0, 0.06), (3.0, 0.12), (5.0, 0.14))
_RISING = 6.0


def bin_edges_gyr(zred: Float[Array, ""]) -> Float[Array, " edge=8"]:
    """The 8 edges of the 7 bins at redshift ``zred``: Gyr of lookback time, from 0 to the age of the universe."""
    age = age_gyr(zred)
    first, last = jnp.log(_YOUNG_EDGES_GYR[-1]), jnp.log(_OLDEST_BIN_START * age)
    fractions = jnp.arange(1, 5) / 4.0
    middle = jnp.exp(first + fractions * (last - first))
    return jnp.concatenate([jnp.asarray(_YOUNG_EDGES_GYR), middle, age[None]])


def mass_fractions(
    logsfr_ratios: Float[Array, " ratio=6"], edges_gyr: Float[Array, " edge=8"]
) -> Float[Array, " bin=7"]:
    """Fraction of the stellar mass formed in each bin, youngest first; sums to 1."""
    log_rate = -jnp.concatenate([jnp.zeros(1), jnp.cumsum(logsfr_ratios)]) * jnp.log(10.0)
    log_mass = log_rate + jnp.log(jnp.diff(edges_gyr))
    weights = jnp.exp(log_mass - jnp.max(log_mass))
    return weights / jnp.sum(weights)


def _formed_within(
    time_gyr: float, fractions: Float[Array, " bin=7"], edges_gyr: Float[Array, " edge=8"]
) -> Float[Array, ""]:
    """Fraction of the mass formed in the last ``time_gyr``."""
    overlap = jnp.clip(time_gyr - edges_gyr[:-1], 0.0, jnp.diff(edges_gyr))
    return jnp.sum(fractions * overlap / jnp.diff(edges_gyr))


def history_properties(
    logmass: Float[Array, ""],
    logsfr_ratios: Float[Array, " ratio=6"],
    zred: Float[Array, ""],
    log_mass_fraction: Float[Array, ""] | float = 0.0,
) -> dict[str, Array]:
    """Star-formation properties of one galaxy.

    ``logmass`` is log10 of the mass formed (Msun); ``log_mass_fraction`` is log10 of the fraction of it that survives,
    which sets ``log_stellar_mass`` and the mass that ``log_ssfr_100`` is divided by. Returns the keys
    ``log_stellar_mass``, ``sfr_30``, ``sfr_100``, ``log_ssfr_100``, ``mwa``, ``t50``, ``sfh`` (7 bins, Msun/yr) and
    ``sfh_edges_gyr`` (8 edges); units as in ``starling.forward.PROPERTIES``.
    """
    edges = bin_edges_gyr(zred)
    fractions = mass_fractions(logsfr_ratios, edges)
    formed = 10.0**logmass
    sfh = formed * fractions / (jnp.diff(edges) * 1e9)
    sfr_30 = formed * _formed_within(0.03, fractions, edges) / 0.03e9
    sfr_100 = formed * _formed_within(0.1, fractions, edges) / 0.1e9
    log_stellar_mass = logmass + log_mass_fraction
    cumulative = jnp.concatenate([jnp.zeros(1), jnp.cumsum(fractions)])
    return {
        "log_stellar_mass": log_stellar_mass,
        "sfr_30": sfr_30,
        "sfr_100": sfr_100,
        "log_ssfr_100": jnp.log10(sfr_100) - log_stellar_mass,
        "mwa": jnp.sum(fractions * 0.5 * (edges[1:] + edges[:-1])),
        "t50": jnp.interp(0.5, cumulative, edges),
        "sfh": sfh,
        "sfh_edges_gyr": edges,
    }


def sfh_basis(x: Float[Array, "*time"]) -> Float[Array, "*time history=4"]:
    """Star-formation rate, not normalised, of each basis history at cosmic time ``x`` (0 to 1); zero at x = 0.

    Three Gamma profiles, ``x**(k - 1) exp(-x / s)``, that peak at 0.06, 0.24 and 0.56 of the age of the universe, and
    ``x**6``.
    """
    x = jnp.clip(x, 0.0, 1.0)[..., None]
    shape, scale = (jnp.asarray(column, x.dtype) for column in zip(*_PEAKED, strict=True))
    peaked = x ** (shape - 1.0) * jnp.exp(-x / scale)
    return jnp.concatenate([peaked, x**_RISING], axis=-1)


def metallicity_basis(x: Float[Array, "*time"]) -> Float[Array, "*time component=2"]:
    """Metallicity components at cosmic time ``x``: one that grows, ``2 x``, and one that declines, ``2 (1 - x)``.

    Metal mass fractions are their sum weighed by ``zh_1`` and ``zh_2``.
    """
    x = jnp.clip(x, 0.0, 1.0)
    return jnp.stack([2.0 * x, 2.0 * (1.0 - x)], axis=-1)


def stick_fractions(sticks: Float[Array, " stick"]) -> Float[Array, " piece"]:
    """Shares of a stick broken as in Prospector's Dirichlet prior: 1 - z1, z1 (1 - z2), ..., z1 z2 ... ; sum 1."""
    kept = jnp.concatenate([jnp.ones(1, sticks.dtype), jnp.cumprod(sticks)])
    return kept * jnp.concatenate([1.0 - sticks, jnp.ones(1, sticks.dtype)])
