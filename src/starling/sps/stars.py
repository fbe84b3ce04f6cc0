"""Stars: from a star-formation history to weights on the nodes of an SSP table."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling.sps.grids import SSPGrid

LYMAN_LIMIT_AA = 911.75
_LAST_WHOLE_AA = 912.0
_LSUN_CGS = 3.828e33
_PLANCK_LIGHT_CGS_AA = 1.986445857e-8  # h c in erg * Angstrom
_NODES, _WEIGHTS = (
    0.5 * (x + s) for x, s in zip(np.polynomial.legendre.leggauss(4), (1.0, 0.0), strict=True)
)


def whole_ionising(wave_aa: np.ndarray) -> np.ndarray:
    """The points of a table whose light FSPS counts as ionising: up to 912 A."""
    return wave_aa <= _LAST_WHOLE_AA


def ionising_photon_rate(ssp: SSPGrid, whole_wavelengths: bool = False) -> np.ndarray:
    """Hydrogen-ionising photons per second per Msun formed, [metallicity, age].

    Up to the Lyman limit or, as FSPS has it, up to the last whole point of the table (``Conventions``).
    """
    if whole_wavelengths:
        ionising = whole_ionising(ssp.wave_aa)
        wave, spectra = ssp.wave_aa[ionising], ssp.l_lambda[..., ionising].astype(float)
        # FSPS's sum: linear in frequency, of L_nu / nu
        photons = np.trapezoid(spectra * wave**3, -1.0 / wave, axis=-1)
        return photons * _LSUN_CGS / _PLANCK_LIGHT_CGS_AA
    ionising = ssp.wave_aa < LYMAN_LIMIT_AA
    wave = np.append(ssp.wave_aa[ionising], LYMAN_LIMIT_AA)
    last = np.count_nonzero(ionising) - 1
    spectra = ssp.l_lambda[..., : last + 2].astype(float)
    fraction = (LYMAN_LIMIT_AA - ssp.wave_aa[last]) / (ssp.wave_aa[last + 1] - ssp.wave_aa[last])
    spectra[..., last + 1] = (1 - fraction) * spectra[..., last] + fraction * spectra[..., last + 1]
    return np.trapezoid(spectra * wave, wave, axis=-1) * _LSUN_CGS / _PLANCK_LIGHT_CGS_AA


def hat_weights(x: Float[Array, ""], nodes: Float[Array, " node"]) -> Float[Array, " node"]:
    """Linear-interpolation weights of the (ascending) nodes at x; the end nodes beyond the ends. Sums to 1."""
    left = jnp.clip((x - nodes[:-1]) / (nodes[1:] - nodes[:-1]), 0.0, 1.0)
    return jnp.concatenate([jnp.ones(1), left]) - jnp.concatenate([left, jnp.zeros(1)])


def formed_at_nodes(
    time_gyr: Float[Array, " time"], log_age: Float[Array, " node"], log_step: Float[Array, " cell"]
) -> Float[Array, "time node"]:
    """Integral over lookback time from 0 to ``time_gyr`` of the interpolation weight of every age node, Gyr.

    Nodes are at exp(``log_age``) Gyr with steps ``log_step``; weights are linear in log time between them, constant
    beyond. Rows sum to ``time_gyr``. Smooth (C1) in ``time_gyr``.
    """
    age = jnp.exp(log_age)
    log_time = jnp.log(jnp.maximum(time_gyr, 1e-12))[:, None]
    u = jnp.clip((log_time - log_age[:-1]) / log_step, 0.0, 1.0)
    # Gauss-Legendre on [0, u]: closed forms of these integrals cancel in float32
    v = u[..., None] * _NODES.astype(u.dtype)
    measure = (age[:-1] * log_step * u)[..., None] * _WEIGHTS.astype(u.dtype) * jnp.exp(log_step[:, None] * v)
    rising = jnp.sum(measure * v, axis=-1)
    falling = jnp.sum(measure * (1.0 - v), axis=-1)
    before = jnp.minimum(time_gyr, age[0])[:, None]
    after = jnp.maximum(time_gyr - age[-1], 0.0)[:, None]
    return jnp.concatenate([falling, after], axis=1) + jnp.concatenate([before, rising], axis=1)


def age_weights(
    masses: Float[Array, " bin"],
    edges_gyr: Float[Array, " edge"],
    log_age: Float[Array, " node"],
    log_step: Float[Array, " cell"],
    max_age_gyr: float | None = None,
) -> Float[Array, " node"]:
    """Mass formed at every age node by constant star formation in each bin; sums to the sum of ``masses``.

    With ``max_age_gyr``, only the mass younger than that.
    """
    upper = edges_gyr if max_age_gyr is None else jnp.minimum(edges_gyr, max_age_gyr)
    per_bin = jnp.diff(formed_at_nodes(upper, log_age, log_step), axis=0)
    return (masses / jnp.diff(edges_gyr)) @ per_bin
