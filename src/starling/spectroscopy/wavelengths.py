"""Wavelengths in air and in vacuum: the refraction of standard air after Ciddor (1996, Appl. Opt. 35, 1566).

By convention wavelengths below 2000 Angstrom are those in vacuum, in either.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

Medium = Literal["air", "vacuum"]
_FIRST_AA = 2000.0


def check_medium(medium: str) -> None:
    """ValueError unless it is a ``Medium``."""
    if medium not in get_args(Medium):
        raise ValueError(f"wavelengths are in air or vacuum, got {medium!r}: say which")


def refraction(vacuum_aa: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Index of refraction of dry air at 15 C, 101325 Pa and 450 ppm of CO2; 1 below 2000 Angstrom."""
    square = (1e4 / np.asarray(vacuum_aa, float)) ** 2
    index = 1.0 + 0.05792105 / (238.0185 - square) + 0.00167917 / (57.362 - square)
    return np.where(np.asarray(vacuum_aa) < _FIRST_AA, 1.0, index)


def vacuum_to_air(vacuum_aa: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Angstrom in air."""
    return np.asarray(vacuum_aa, float) / refraction(vacuum_aa)


def air_to_vacuum(air_aa: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Angstrom in vacuum: the fixed point of ``air * refraction(vacuum)``, which converges by 1e-8 each time."""
    air = np.asarray(air_aa, float)
    vacuum = air
    for _ in range(3):
        vacuum = np.where(air < _FIRST_AA, air, air * refraction(np.maximum(vacuum, _FIRST_AA)))
    return vacuum


def in_vacuum(wave_aa: Float[np.ndarray, "*any"], medium: str) -> Float[np.ndarray, "*any"]:
    """Angstrom in vacuum, from either."""
    check_medium(medium)
    wave = np.asarray(wave_aa, float)
    return air_to_vacuum(wave) if medium == "air" else wave
