"""Points of a ``ParameterSpace`` in FSPS's terms: its parameters and a star-formation history in a table.

What FSPS is asked for is what ``starling.sps.composite`` (Prospector-alpha) and ``starling.sps.histories`` (DESI)
compute:

- Chabrier (2003) IMF (``imf_type`` 1; 0.08 to 120 Msun), linear interpolation in log Z between metallicities
  (``zcontinuous`` 1), stellar remnants counted in the surviving mass; all else as python-fsps has it.
- Dust: ``dust_type`` 4 (Kriek & Conroy 2013) for the diffuse part, a power law of index -1 for birth clouds of
  ``dust1 = dust1_fraction * dust2``, Draine & Li (2007) emission in energy balance, lines included in it.
- Gas: CLOUDY tables at ``gas_logu`` -2; lines are left out of the spectrum (``nebemlineinspec``) and come as
  luminosities.
- AGN torus: Nenkova et al. (2008), ``fagn`` times the stars' bolometric light before dust, behind the diffuse dust.
- Spectra are at rest and free of the IGM, which ``starling.igm`` adds, to the light of the torus too. FSPS's own has
  metals as well: between Lyman alpha and the limit it leaves 0.3% less light at z = 0.5, 1% at z = 2, 4.5% at z = 6.

Where FSPS has conventions of its own they stay: birth clouds end at the node of the SSP ages at 10 Myr and not at that
age, stars of up to 20 Myr have nebulae, gas tables are interpolated in the logarithm, and the dust absorbs part of its
own emission and emits it again.

FSPS integrates a table of rates that is linear between its rows, exactly, with SSPs that are linear in log age. A step
of the history is a ramp, centred on the edge, so narrow that the mass is exact and no age moves. Nothing here is a
parameter of the SSPs: a process builds every metallicity once.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling.components import LOG_FAGN, RATIOS
from starling.cosmology import age_gyr
from starling.parameters import ParameterSpace
from starling.sfh import bin_edges_gyr, mass_fractions, metallicity_basis, sfh_basis, stick_fractions
from starling.spaces import METALS, STICKS

# Msun formed in every table. FSPS lets dust reabsorb its emission until 0.01 Lsun are left, whatever the mass: a whole
# galaxy makes that nothing, and results independent of the mass.
TABLE_MASS = 1e10
LOG_U = -2.0
# Width of a ramp over the lookback time of the edge. Weights of SSPs are then within 1e-8 of those of a true step;
# narrower ramps (1e-8) lose all digits in FSPS's integrals.
_RAMP = 1e-5
_N_TIMES = 512  # of a smooth history
# FSPS reads beyond its table of Umin at the last node
_BELOW_LAST_UMIN = 25.0 * (1.0 - 1e-9)

_COMMON: dict[str, Any] = {"imf_type": 1, "sfh": 3, "add_igm_absorption": False, "add_stellar_remnants": True}
_PROSPECTOR: dict[str, Any] = _COMMON | {
    "dust_type": 4,
    "dust1_index": -1.0,
    "add_dust_emission": True,
    "add_neb_emission": True,
    "add_neb_continuum": True,
    "nebemlineinspec": False,
    "gas_logu": LOG_U,
}
_DESI: dict[str, Any] = _COMMON | {
    "dust_type": 2,
    "dust1": 0.0,
    "add_dust_emission": False,
    "add_neb_emission": False,
}
_TORUS = ("fagn", "agn_tau")


class Settings(NamedTuple):
    """What all galaxies of a space share: FSPS's parameters that vary, those that do not, how metallicity is given."""

    names: tuple[str, ...]
    constants: dict[str, Any]
    zcontinuous: int


class Galaxies(NamedTuple):
    """Many galaxies in FSPS's terms, float64: parameters in the order of ``Settings.names``; ``TABLE_MASS`` formed.

    ``history`` are rows of a table: time since the big bang (Gyr), rate (Msun/yr) and, where metallicity has a history,
    metal mass fraction. Galaxies near in ``order`` need the same SSPs.
    """

    parameters: Float[np.ndarray, "row param"]
    history: Float[np.ndarray, "row column time"]
    order: Float[np.ndarray, " row"]


def is_desi(space: ParameterSpace) -> bool:
    """Whether a space is that of basis histories (``desi_bgs``)."""
    return STICKS[0] in space


def settings_of(space: ParameterSpace, lines_in_spectrum: bool = False) -> Settings:
    """How FSPS is set up for a space; ValueError where the space is none that it can simulate."""
    if is_desi(space):
        return Settings(("dust2",), _DESI, 3)
    known = {*space.names, *(name for name, _ in space.constants)}
    needed = {*RATIOS, "logzsol", "dust2", "dust_index", "dust1_fraction", "gas_logz", "zred"}
    needed |= {"duste_qpah", "duste_umin", "log_duste_gamma"}
    if missing := sorted(needed - known):
        raise ValueError(
            f"FSPS simulates the spaces of Prospector-alpha and of DESI; {space.name!r} lacks {', '.join(missing)}"
        )
    names = ("logzsol", "dust1", "dust2", "dust_index", "gas_logz", "duste_qpah", "duste_umin", "duste_gamma")
    return Settings(
        names + (_TORUS if LOG_FAGN in space else ()),
        _PROSPECTOR | {"nebemlineinspec": lines_in_spectrum},
        1,
    )


def translate(space: ParameterSpace, theta: Float[np.ndarray, "row param"]) -> Galaxies:
    """Points of a space, whose settings are ``settings_of(space)``."""
    values = space.unpack(jnp.asarray(theta))
    if is_desi(space):
        history = np.asarray(_smooth_history(values), float)
        dust2 = np.asarray(values["dust2"], float)
        return Galaxies(dust2[:, None], _normalised(history), np.zeros(len(dust2)))
    rows = {name: np.broadcast_to(np.asarray(v, float), len(theta)) for name, v in values.items()}
    columns = [
        rows["logzsol"],
        rows["dust1_fraction"] * rows["dust2"],
        rows["dust2"],
        rows["dust_index"],
        rows["gas_logz"],
        rows["duste_qpah"],
        np.minimum(rows["duste_umin"], _BELOW_LAST_UMIN),
        10.0 ** rows["log_duste_gamma"],
    ]
    if LOG_FAGN in space:
        columns += [10.0 ** rows[LOG_FAGN], 10.0 ** rows["log_agn_tau"]]
    edges, fractions = _bins(values)
    history = step_history(np.asarray(edges, float), np.asarray(fractions, float))
    return Galaxies(np.stack(columns, axis=1), history, rows["logzsol"])


@jax.jit
def _bins(values: Mapping[str, Array]) -> tuple[Float[Array, "row edge=8"], Float[Array, "row bin=7"]]:
    ratios = jnp.stack([values[name] for name in RATIOS], axis=-1)
    edges = jax.vmap(bin_edges_gyr)(values["zred"])
    return edges, jax.vmap(mass_fractions)(ratios, edges)


def step_history(
    edges_gyr: Float[np.ndarray, "row edge"], fractions: Float[np.ndarray, "row bin"]
) -> Float[np.ndarray, "row column=2 time"]:
    """A table of constant rates between edges of lookback time (youngest first); ramps in place of the steps."""
    ages = edges_gyr[:, -1:]
    rates = (
        TABLE_MASS * fractions / np.sum(fractions, axis=1, keepdims=True) / np.diff(edges_gyr, axis=1) / 1e9
    )[:, ::-1]
    inner = edges_gyr[:, -2:0:-1]
    ramps = np.stack([ages - inner * (1.0 + 0.5 * _RAMP), ages - inner * (1.0 - 0.5 * _RAMP)], axis=-1)
    times = np.concatenate([np.zeros_like(ages), ramps.reshape(len(ages), -1), ages], axis=1)
    return np.stack([times, np.repeat(rates, 2, axis=1)], axis=1)


@jax.jit
def _smooth_history(values: Mapping[str, Array]) -> Float[Array, "row column=3 time"]:
    """Times, rates (any unit) and metallicities of the basis histories; rows are dense where the first one peaks."""
    x = jnp.linspace(0.0, 1.0, _N_TIMES) ** 2
    basis = sfh_basis(x)
    basis = basis / jnp.trapezoid(basis, x, axis=0)
    shares = jax.vmap(stick_fractions)(jnp.stack([values[name] for name in STICKS], axis=-1))
    metals = jnp.stack([values[name] for name in METALS], axis=-1) @ metallicity_basis(x).T
    times = age_gyr(values["zred"])[:, None] * x
    return jnp.stack([times, shares @ basis.T, metals], axis=1)


def _normalised(history: Float[np.ndarray, "row column time"]) -> Float[np.ndarray, "row column time"]:
    times, rates = history[:, 0], history[:, 1]
    formed = np.trapezoid(rates, times, axis=1) * 1e9
    history = history.copy()
    history[:, 1] = rates * (TABLE_MASS / formed)[:, None]
    return history
