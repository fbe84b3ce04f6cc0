"""Absorption by the intergalactic medium after Madau (1995), as FSPS has it (17 Lyman lines and the continuum)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

LYMAN_ALPHA_AA = 1215.67
_LIMIT_AA = 911.75
_LINES_AA = np.array(
    [1215.67, 1025.72, 972.537, 949.743, 937.803, 930.748, 926.226, 923.150, 920.963]
    + [919.352, 918.129, 917.181, 916.429, 915.824, 915.329, 914.919, 914.576]
)
_STRENGTHS = np.array(
    [0.0036, 0.0017, 0.0011846, 0.0009410, 0.0007960, 0.0006967, 0.0006236, 0.0005665, 0.0005200]
    + [0.0004817, 0.0004487, 0.0004200, 0.0003947, 0.000372, 0.000352, 0.0003334, 0.00031644]
)


def transmission(wave_rest_aa: Float[Array, " wave"], zred: Float[Array, ""]) -> Float[Array, " wave"]:
    """Mean transmission from redshift ``zred`` to us at rest-frame wavelengths of the source."""
    zplus1 = 1.0 + zred
    observed = wave_rest_aa * zplus1
    lines = _LINES_AA.astype(observed.dtype)[:, None]
    blanketing = _STRENGTHS.astype(observed.dtype)[:, None] * (observed / lines) ** 3.46
    depth = jnp.sum(jnp.where((wave_rest_aa < lines) & (observed > lines), blanketing, 0.0), axis=0)
    # photoelectric absorption, Madau (1995) footnote 3
    x = jnp.maximum(observed / _LIMIT_AA, 1.0)
    continuum = (
        0.25 * x**3 * (zplus1**0.46 - x**0.46)
        + 9.4 * x**1.5 * (zplus1**0.18 - x**0.18)
        - 0.7 * x**3 * (x**-1.32 - zplus1**-1.32)
        - 0.023 * (zplus1**1.68 - x**1.68)
    )
    depth = depth + jnp.where(wave_rest_aa < _LIMIT_AA, jnp.maximum(continuum, 0.0), 0.0)
    return jnp.exp(-depth)
