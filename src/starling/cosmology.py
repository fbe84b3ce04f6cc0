"""Distances and ages in JAX for the flat cosmology of both papers, WMAP9 (Hinshaw et al. 2013) with radiation.

Differentiable in redshift, any shape of input; agrees with ``astropy.cosmology.WMAP9`` to better than 1e-5 for
0.001 < z < 15 (in float32 the rounding error is a few 1e-7).
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

# WMAP9 as astropy has it: H0 = 69.32 km/s/Mpc, Om0 = 0.2865, Tcmb0 = 2.725 K, 3.04 massless neutrinos.
_HUBBLE_KM_S_MPC = 69.32
_OMEGA_MATTER = 0.2865
_OMEGA_PHOTON = 2.4728e-5 / (0.6932**2) * (2.725 / 2.7255) ** 4
_OMEGA_RADIATION = _OMEGA_PHOTON * (1.0 + 0.2271073 * 3.04)
_OMEGA_LAMBDA = 1.0 - _OMEGA_MATTER - _OMEGA_RADIATION
_LIGHT_KM_S = 299792.458
_HUBBLE_TIME_GYR = 977.7922216807891 / _HUBBLE_KM_S_MPC
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


def _gauss_legendre(upper: Array) -> tuple[Array, Array]:
    """Nodes and weights on [0, upper], on a new last axis."""
    half = 0.5 * upper[..., None]
    return half * (_NODES.astype(upper.dtype) + 1.0), half * _WEIGHTS.astype(upper.dtype)


def luminosity_distance_mpc(zred: ArrayLike) -> Array:
    """Luminosity distance in Mpc at redshift ``zred``; same shape."""
    zred = jnp.asarray(zred, dtype=float)
    log_zplus1, weights = _gauss_legendre(jnp.log1p(zred))
    zplus1 = jnp.exp(log_zplus1)
    hubble = jnp.sqrt((_OMEGA_RADIATION * zplus1 + _OMEGA_MATTER) * zplus1**3 + _OMEGA_LAMBDA)
    return _LIGHT_KM_S / _HUBBLE_KM_S_MPC * (1.0 + zred) * jnp.sum(weights * zplus1 / hubble, axis=-1)


def age_gyr(zred: ArrayLike) -> Array:
    """Age of the universe in Gyr at redshift ``zred``; same shape."""
    zred = jnp.asarray(zred, dtype=float)
    # With the scale factor a = s^2 the integrand is smooth through the matter era.
    root, weights = _gauss_legendre(1.0 / jnp.sqrt(1.0 + zred))
    scale = root**2
    integrand = (
        2.0 * root * scale / jnp.sqrt(_OMEGA_RADIATION + _OMEGA_MATTER * scale + _OMEGA_LAMBDA * scale**4)
    )
    return _HUBBLE_TIME_GYR * jnp.sum(weights * integrand, axis=-1)


def flux_scale(logmass: ArrayLike, zred: ArrayLike) -> Array:
    """Flux of ``10**logmass`` Msun at redshift ``zred`` over that of 1 Msun at 10 pc: 10**logmass (10 pc / d_L)^2."""
    return 10.0 ** jnp.asarray(logmass) * (1e-5 / luminosity_distance_mpc(zred)) ** 2
