"""What may be wrong with photometry beyond its errors: outliers, zero points, floors of single bands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from starling.configuration import nearest

Likelihood = Literal["gaussian", "student_t", "mixture"]
Treatment = Literal["marginalise", "free"]
FRACTION_RANGE = (1e-5, 0.5)  # of a free fraction of outliers: the range of Prospector's prior


@dataclass(frozen=True)
class ZeroPoint:
    """A common factor 1 + delta on the model's fluxes in ``bands``; delta has the prior Normal(0, ``sigma``)."""

    name: str
    bands: tuple[str, ...]
    sigma: float

    def __post_init__(self) -> None:
        if not self.bands:
            raise ValueError(f"the zero point {self.name!r} has no bands")
        if not 0.0 < self.sigma < 1.0:
            raise ValueError(
                f"sigma of the zero point {self.name!r} is a fraction of the flux, between 0 and 1, got {self.sigma}"
            )


@dataclass(frozen=True)
class ErrorModel:
    """How observed fluxes scatter about the model's, beyond their errors, ``error_floor`` and ``model_error``.

    ``likelihood`` of a residual z in units of its error: "gaussian"; "student_t" with ``degrees_of_freedom``; or
    "mixture": with probability ``f_outlier_phot`` a band is an outlier, whose error is ``nsigma_outlier_phot`` times as
    large (Hogg, Bovy & Lang 2010; names and default width are Prospector's). The fraction may be "free": flat between
    1e-5 and 0.5 for every galaxy, and integrated out exactly. ``error_floors`` are those of single bands, in place of
    the common one. ``zero_points`` are groups of bands, no band in two of them; they are integrated out
    ("marginalise") or sampled ("free": a latent site of the model, which chains and the judge sample).
    """

    likelihood: Likelihood = "gaussian"
    degrees_of_freedom: float = 4.0
    f_outlier_phot: float | Literal["free"] = 0.01
    nsigma_outlier_phot: float = 50.0
    error_floors: tuple[tuple[str, float], ...] = ()
    zero_points: tuple[ZeroPoint, ...] = ()
    treatment: Treatment = "marginalise"

    def __post_init__(self) -> None:
        if self.likelihood not in get_args(Likelihood):
            raise ValueError(
                f"likelihood must be one of {', '.join(get_args(Likelihood))}, got {self.likelihood!r}"
            )
        if self.treatment not in get_args(Treatment):
            raise ValueError(f"treatment of zero points must be marginalise or free, got {self.treatment!r}")
        if not self.degrees_of_freedom >= 1.0:
            raise ValueError(f"degrees_of_freedom must be 1 or more, got {self.degrees_of_freedom}")
        fraction = self.f_outlier_phot
        if fraction != "free" and not (isinstance(fraction, float | int) and 0.0 < fraction < 1.0):
            raise ValueError(f"f_outlier_phot must lie between 0 and 1, or be free, got {fraction!r}")
        if not self.nsigma_outlier_phot > 1.0:
            raise ValueError(f"nsigma_outlier_phot must be above 1, got {self.nsigma_outlier_phot}")
        for band, floor in self.error_floors:
            if not 0.0 <= floor < 1.0:
                raise ValueError(f"the error_floor of {band} is a fraction of the flux, got {floor}")
        self._check_groups()
        if self.robust and self.marginal:
            raise ValueError(
                f"likelihood: {self.likelihood} takes every band apart, and zero points that are integrated out tie "
                "them together: use treatment: free, or likelihood: gaussian"
            )

    def _check_groups(self) -> None:
        taken: dict[str, str] = {}
        for group in self.zero_points:
            for band in group.bands:
                if band in taken:
                    raise ValueError(f"{band} is in two zero points, {taken[band]!r} and {group.name!r}")
                taken[band] = group.name

    @property
    def robust(self) -> bool:
        """Whether outliers are allowed for."""
        return self.likelihood != "gaussian"

    @property
    def marginal(self) -> bool:
        """Whether there are zero points to be integrated out."""
        return bool(self.zero_points) and self.treatment == "marginalise"

    @property
    def free(self) -> bool:
        """Whether there are zero points to be sampled."""
        return bool(self.zero_points) and self.treatment == "free"

    def check_bands(self, bands: Sequence[str]) -> None:
        """ValueError where a floor or a zero point is of a band that is not there."""
        named = [("error_floors", band) for band, _ in self.error_floors]
        named += [(f"the zero point {g.name!r}", band) for g in self.zero_points for band in g.bands]
        for what, band in named:
            if band not in bands:
                raise ValueError(f"{what} names {band!r}, which is no band in use{nearest(band, bands)}")

    def floor_of(self, band: str) -> float | None:
        """The error floor that is the band's own."""
        return dict(self.error_floors).get(band)

    @property
    def words(self) -> str:
        """The likelihood, for people."""
        match self.likelihood:
            case "student_t":
                text = f"Student-t, {self.degrees_of_freedom:g} degrees of freedom"
            case "mixture":
                text = f"Gaussian with outliers {self.nsigma_outlier_phot:g} times as wide, a fraction of "
                text += (
                    "0 to 0.5 of the bands" if self.f_outlier_phot == "free" else f"{self.f_outlier_phot:g}"
                )
            case _:
                text = "Gaussian"
        if self.zero_points:
            done = "integrated out" if self.treatment == "marginalise" else "sampled"
            groups = ", ".join(f"{one.name} {one.sigma:.1%}" for one in self.zero_points)
            text += f"; zero points {done}: {groups}"
        return text

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """From what ``dataclasses.asdict`` gives, also after a journey through JSON."""
        known = dict(content)
        known["error_floors"] = tuple((str(band), float(floor)) for band, floor in known["error_floors"])
        known["zero_points"] = tuple(
            ZeroPoint(one["name"], tuple(one["bands"]), one["sigma"]) for one in known["zero_points"]
        )
        return cls(**known)


def check_combination(model_error: str, errors: ErrorModel) -> None:
    """ValueError where errors that are correlated over bands meet a likelihood that takes every band apart."""
    if errors.robust and model_error == "covariance":
        raise ValueError(
            f"likelihood: {errors.likelihood} takes every band apart, and model_error: covariance ties them together: "
            "use model_error: band, or likelihood: gaussian"
        )
