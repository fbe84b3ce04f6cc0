"""What is asked of the fit of a spectrum, and the parameters that it adds to those of the galaxy."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from starling.parameters import Parameter, ParameterSpace
from starling.priors import Prior, TruncatedNormal, Uniform
from starling.spectroscopy.lines import OPTICAL_LINES, Line

Value = float | Prior  # known, or free with this prior
Calibration = Literal["none", "sample", "marginalise"]
Lines = Literal["model", "mask", "marginalise"]
POLYNOMIAL = "spec_poly"
_DISPERSION = Uniform(10.0, 450.0)
# name: (unit, what it means); names are Prospector's where it has them
NUISANCE = {
    "sigma_smooth": ("km / s", "velocity dispersion of the stars"),
    "eline_sigma": ("km / s", "velocity dispersion of the gas"),
    "spec_norm": ("", "factor on the model's spectrum over its photometry"),
    "spec_jitter": ("", "factor on the errors of the spectrum"),
    "f_outlier_spec": ("", "fraction of pixels that are outliers"),
}


@dataclass(frozen=True)
class SpectrumSettings:
    """How a spectrum is fitted. A number is known; a prior makes a parameter of it.

    ``sigma_smooth`` and ``eline_sigma`` (km/s) are the dispersions of stars and gas; ``spec_norm`` is the aperture
    factor; ``spec_jitter`` multiplies the errors. With ``f_outlier_spec`` above 0 a pixel is with that probability an
    outlier, whose error is ``nsigma_outlier_spec`` times as large.

    ``calibration``: the model times 1 + sum_k c_k T_k, Chebyshev's polynomials 1 to ``degree`` over the pixels' range
    (degree 0 is ``spec_norm``), c_k normal with ``calibration_sigma``; "sample" (within 5 sigma) or "marginalise".

    ``lines``: as the "model" has them; "mask": pixels within ``mask_kms`` of ``line_list`` are left out, at the
    redshift of the observation; "marginalise": an amplitude for each of ``line_list`` in place of the model's, normal
    about 0 with a sigma of ``line_sigma_aa`` (equivalent width: times the median of |flux|), integrated out.
    """

    sigma_smooth: Value = _DISPERSION
    eline_sigma: Value = _DISPERSION
    spec_norm: Value = 1.0
    spec_jitter: Value = 1.0
    f_outlier_spec: Value = 0.0
    nsigma_outlier_spec: float = 50.0
    calibration: Calibration = "none"
    degree: int = 8
    calibration_sigma: float = 0.1
    lines: Lines = "model"
    line_list: tuple[Line, ...] = OPTICAL_LINES
    mask_kms: float = 800.0
    line_sigma_aa: float = 100.0

    def __post_init__(self) -> None:
        for name, kinds in (("calibration", Calibration), ("lines", Lines)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(kinds))}, got {getattr(self, name)!r}"
                )
        for name in NUISANCE:
            self._check_range(name)
        if self.calibration != "none" and not (self.degree >= 1 and 0.0 < self.calibration_sigma < 1.0):
            raise ValueError(
                "calibration needs a degree of 1 or more, and a calibration_sigma between 0 and 1"
            )
        if self.lines != "model" and not self.line_list:
            raise ValueError(f"lines: {self.lines} needs a line_list")
        if not (self.nsigma_outlier_spec > 1.0 and self.line_sigma_aa > 0.0 and self.mask_kms > 0.0):
            raise ValueError("nsigma_outlier_spec must be above 1, line_sigma_aa and mask_kms above 0")
        if self.robust and self.marginal:
            raise ValueError(
                "outliers take every pixel apart, and what is integrated out ties pixels together: use "
                "f_outlier_spec: 0, or calibration: sample with lines: model or mask"
            )

    def _check_range(self, name: str) -> None:
        value = getattr(self, name)
        low, high = (value.low, value.high) if isinstance(value, Prior) else (value, value)
        least, most = (0.0, 1.0) if name == "f_outlier_spec" else (0.0, float("inf"))
        strict = name in ("spec_norm", "spec_jitter")
        if not (least <= low and high < most) or (strict and low == 0.0):
            raise ValueError(f"{name} cannot be {low:g}" + (f" to {high:g}" if high != low else ""))

    @property
    def robust(self) -> bool:
        """Whether outliers are allowed for."""
        return isinstance(self.f_outlier_spec, Prior) or self.f_outlier_spec > 0.0

    @property
    def marginal(self) -> bool:
        """Whether anything is integrated out."""
        return self.calibration == "marginalise" or self.lines == "marginalise"

    @property
    def polynomials(self) -> tuple[str, ...]:
        """Names of the coefficients that are sampled."""
        return tuple(f"{POLYNOMIAL}_{k}" for k in range(1, self.degree + 1)) * (self.calibration == "sample")


def spectrum_space(space: ParameterSpace, settings: SpectrumSettings) -> ParameterSpace:
    """The space of a galaxy with the parameters of its spectrum: those that are known are constants of it."""
    known, free = [], []
    for name, (unit, description) in NUISANCE.items():
        value = getattr(settings, name)
        if isinstance(value, Prior):
            free.append(Parameter(name, value, unit=unit, description=description))
        else:
            known.append((name, float(value)))
    sigma = settings.calibration_sigma
    prior = TruncatedNormal(0.0, sigma, -5.0 * sigma, 5.0 * sigma)
    free += [Parameter(n, prior, description="calibration of the spectrum") for n in settings.polynomials]
    return replace(
        space,
        name=f"{space.name}_spectrum",
        parameters=(*space.parameters, *free),
        constants=(*space.constants, *known),
    )
