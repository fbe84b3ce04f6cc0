"""The keys of a configuration's photometry that say what may be wrong with fluxes beyond their errors."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from starling.configuration import Section, nearest
from starling.inference.error_model import ErrorModel, Likelihood, Treatment, ZeroPoint

_NEEDS = {  # keys that one likelihood alone reads
    "degrees_of_freedom": "student_t",
    "f_outlier_phot": "mixture",
    "nsigma_outlier_phot": "mixture",
}
Sigma = Annotated[float, Field(gt=0.0, lt=1.0)]


class ZeroPointConfig(Section):
    """Bands with a common zero point, and its prior's deviation: a fraction of the flux, or magnitudes."""

    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    sigma: Sigma | None = None
    sigma_mag: Sigma | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "ZeroPointConfig":
        if (self.sigma is None) == (self.sigma_mag is None):
            raise ValueError("give one of `sigma: FRACTION` and `sigma_mag: MAGNITUDES`")
        return self

    @property
    def fraction(self) -> float:
        """The deviation as a fraction of the flux."""
        return self.sigma if self.sigma is not None else 0.4 * math.log(10.0) * float(self.sigma_mag or 0.0)


class ZeroPointsConfig(Section):
    """Groups of bands with a zero point each, integrated out (``marginalise``) or sampled (``free``)."""

    treatment: Treatment = "marginalise"
    groups: Annotated[dict[str, ZeroPointConfig], Field(min_length=1)]


class ErrorKeys(Section):
    """``likelihood`` of a band's residual, with the keys of a Student-t or of a mixture; zero points.

    As ``starling.inference.error_model`` has them. ``f_outlier_phot: free`` integrates the fraction out.
    """

    likelihood: Likelihood = "gaussian"
    degrees_of_freedom: Annotated[float, Field(ge=1.0)] = 4.0
    f_outlier_phot: Annotated[float, Field(gt=0.0, lt=1.0)] | Literal["free"] = 0.01
    nsigma_outlier_phot: Annotated[float, Field(gt=1.0)] = 50.0
    zero_points: ZeroPointsConfig | None = None

    @model_validator(mode="after")
    def _every_key_is_read(self) -> "ErrorKeys":
        for name, needed in _NEEDS.items():
            if name in self.model_fields_set and self.likelihood != needed:
                raise ValueError(
                    f"{name} has no effect with likelihood: {self.likelihood}; it is for {needed}"
                )
        return self

    def error_model(self, floors: dict[str, float], bands: tuple[str, ...]) -> ErrorModel:
        """The settings; ``floors`` are those of single ``bands``. ValueError names a band that is not there."""
        groups = self.zero_points.groups if self.zero_points else {}
        for name, group in groups.items():
            for band in group.bands:
                if band not in bands:
                    where = f"zero_points.groups.{name}.bands"
                    raise ValueError(f"{where}: {band!r} is not among `bands`{nearest(band, bands)}")
        return ErrorModel(
            likelihood=self.likelihood,
            degrees_of_freedom=self.degrees_of_freedom,
            f_outlier_phot=self.f_outlier_phot,
            nsigma_outlier_phot=self.nsigma_outlier_phot,
            error_floors=tuple(sorted(floors.items())),
            zero_points=tuple(ZeroPoint(name, one.bands, one.fraction) for name, one in groups.items()),
            treatment=self.zero_points.treatment if self.zero_points else "marginalise",
        )
