"""The configuration of a fit: which columns of which tables are what, and how to sample; YAML -> validated values.

Every key is checked: an unknown one is an error that names the nearest known key.
"""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from starling.catalogues.errors import CatalogueError
from starling.catalogues.errors_config import ErrorKeys
from starling.catalogues.units import Unit, parse_unit
from starling.configuration import Section, check, explain, nearest, read_yaml
from starling.inference.error_model import ErrorModel, check_combination
from starling.inference.noise import ModelError
from starling.inference.settings import SamplerSettings

TableFormat = Literal["ecsv", "fits", "parquet"]
Quantity = Literal["derived", "sfh", "predicted"]  # what can be computed again from the parameters
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Cut(Section):
    """A range of a column, both ends included."""

    min: float | None = None
    max: float | None = None


class Select(Section):
    """Which rows are fitted: cuts and IDs first, then the first ``max_rows``, or that many at random by ``seed``."""

    max_rows: PositiveInt | None = None
    seed: int | None = None
    ids: tuple[str, ...] | None = None
    cuts: dict[str, Cut] = Field(default_factory=dict)

    @field_validator("ids", mode="before")
    @classmethod
    def _ids_are_text(cls, value: Any) -> Any:
        return [str(item) for item in value] if isinstance(value, list | tuple) else value


class TableConfig(Section):
    """The table of fluxes; its path may come from the command line instead."""

    path: str | None = None
    format: str | None = None
    id: str
    select: Select = Select()


class JoinConfig(Section):
    """Another table with a row per object, matched on its ID column; its columns are called ``name.column``."""

    path: str
    format: str | None = None
    id: str


class RedshiftConfig(Section):
    """The redshift of each galaxy: a column, one value for all, or a free parameter (the prior of the model)."""

    column: str | None = None
    value: float | None = None
    free: bool = False

    @model_validator(mode="after")
    def _exactly_one(self) -> "RedshiftConfig":
        if (self.column is not None) + (self.value is not None) + self.free != 1:
            raise ValueError("give one of `column: NAME`, `value: NUMBER` and `free: true`")
        return self


class ComparisonConfig(Section):
    """A column to carry to the report; ``with`` names the parameter or derived quantity that it is set against."""

    column: str
    against: str | None = Field(default=None, alias="with")
    label: str | None = None
    missing: tuple[float, ...] = ()


class UpperLimitConfig(Section):
    """How upper limits are marked: a column that is true for them, or a negative error.

    The flux column then holds the limit, and its one-sigma error is the error column's absolute value where that is
    usable, else the limit divided by ``sigma``.
    """

    column: str | None = None
    negative_error: bool = False
    sigma: Annotated[float, Field(gt=0)] = 3.0

    @model_validator(mode="after")
    def _exactly_one(self) -> "UpperLimitConfig":
        if (self.column is not None) + self.negative_error != 1:
            raise ValueError("give one of `column: NAME` and `negative_error: true`")
        return self


class BandConfig(Section):
    """Columns of one band, and what is special about it."""

    flux: str
    error: str
    unit: str | None = None
    zero_point: float | None = None
    missing: tuple[float, ...] | None = None
    upper_limit: UpperLimitConfig | None = None
    correction: Annotated[float, Field(gt=0)] = 1.0
    error_scale: Annotated[float, Field(gt=0)] = 1.0
    calibration_error: Fraction = 0.0
    error_floor: Fraction | None = None

    @property
    def own_unit(self) -> Unit | None:
        """The unit, where it differs from that of the table."""
        if self.unit is None and self.zero_point is None:
            return None
        return parse_unit(self.unit, self.zero_point)

    @model_validator(mode="after")
    def _unit_is_known(self) -> "BandConfig":
        _ = self.own_unit
        return self


class Pattern(Section):
    """Names of columns with ``{}`` in the place of a band's short name."""

    flux: str
    error: str
    upper_limit: str | None = None

    @field_validator("flux", "error", "upper_limit")
    @classmethod
    def _has_a_gap(cls, value: str | None) -> str | None:
        if value is not None and value.count("{}") != 1:
            raise ValueError(
                f"a pattern needs {{}} once, in the place of the band's name, as in 'f_{{}}': {value!r}"
            )
        return value


class Photometry(ErrorKeys):
    """Bands, their columns and units, what counts as missing, and the error model.

    A band's own ``error_floor`` is in place of the common one.
    ``model_error`` is what the emulator's own errors count as: one number per ``band``, their full ``covariance``, one
    that depends on the parameters (``local``), or ``none`` of them.
    """

    unit: str | None = None
    zero_point: float | None = None
    missing: tuple[float, ...] = ()
    upper_limit: UpperLimitConfig | None = None
    error_floor: Fraction = 0.05
    model_error: ModelError = "band"
    brightest_mag: float | None = 5.0
    lowest_snr: float | None = -5.0
    min_bands: PositiveInt = 1
    pattern: Pattern | None = None
    bands: Annotated[dict[str, BandConfig], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _fill_pattern(cls, data: Any) -> Any:
        """``filter: name`` means the columns that the pattern gives for ``name``; so does a ``name`` key."""
        if not isinstance(data, dict) or not isinstance(data.get("bands"), dict):
            return data
        pattern = data.get("pattern")
        bands = {}
        for key, given in data["bands"].items():
            band = {"name": given} if isinstance(given, str) else given
            if isinstance(band, dict) and "name" in band:
                if not isinstance(pattern, dict):
                    raise ValueError(f"bands.{key}: a short name needs a `pattern:` with flux and error")
                name, band = str(band["name"]), {k: v for k, v in band.items() if k != "name"}
                for column in ("flux", "error"):
                    band.setdefault(column, str(pattern.get(column, "")).replace("{}", name))
                if "upper_limit" in pattern:
                    band.setdefault(
                        "upper_limit", {"column": str(pattern["upper_limit"]).replace("{}", name)}
                    )
            bands[str(key)] = band
        return {**data, "bands": bands}

    @model_validator(mode="after")
    def _unit_is_known(self) -> "Photometry":
        _ = self.common_unit
        return self

    @model_validator(mode="after")
    def _error_model_is_known(self) -> "Photometry":
        check_combination(self.model_error, self.errors)
        return self

    @property
    def errors(self) -> ErrorModel:
        """What may be wrong with fluxes beyond their errors."""
        floors = {name: one.error_floor for name, one in self.bands.items() if one.error_floor is not None}
        return self.error_model(floors, tuple(self.bands))

    @property
    def common_unit(self) -> Unit:
        """The unit of every band that names none of its own."""
        return parse_unit(self.unit, self.zero_point)

    def unit_of(self, band: str) -> Unit:
        """The unit of a band."""
        return self.bands[band].own_unit or self.common_unit

    def missing_of(self, band: str) -> tuple[float, ...]:
        """The codes that stand for a missing flux or error in a band."""
        own = self.bands[band].missing
        return self.missing if own is None else own


class ModelConfig(Section):
    """The forward model, the flow that proposes its posteriors, and parameters held at one value in every galaxy.

    ``flow`` is a file that ``starling amortise`` wrote, ``none`` (chains alone), or ``auto``: the package's own where
    it is for this emulator and for what is known of the galaxies.
    """

    emulator: str = "default"
    flow: str = "auto"
    fixed: dict[str, float] = Field(default_factory=dict)


class OutputConfig(Section):
    """The folder of the results and what is written into it.

    A run of at most ``whole`` galaxies has all draws in one file; a larger one leaves them in its parts. Of each galaxy
    at least ``draws`` are kept (by default all, of a larger run 500; ``all``), rounded to ``significant_digits`` (by
    default not, of a larger run 5), without the quantities that ``leave_out`` lists. The summary comes from all draws
    in any case; by default it is written in all formats, of a larger run not as text (``ecsv``).
    """

    folder: str | None = None
    format: Literal["netcdf", "zarr"] = "netcdf"
    report: bool = True
    whole: Annotated[int, Field(ge=0)] = 2000
    draws: PositiveInt | Literal["all"] | None = None
    leave_out: tuple[Quantity, ...] = ()
    significant_digits: Annotated[int, Field(ge=2, le=7)] | None = None
    compression: Annotated[int, Field(ge=0, le=9)] = 4
    summary: Annotated[tuple[TableFormat, ...], Field(min_length=1)] | None = None


class FitConfig(Section):
    """Everything that ``starling fit`` needs to know."""

    table: TableConfig
    joins: dict[str, JoinConfig] = Field(default_factory=dict)
    redshift: RedshiftConfig
    photometry: Photometry
    comparison: dict[str, ComparisonConfig] = Field(default_factory=dict)
    model: ModelConfig = ModelConfig()
    seed: int = 0
    sampler: dict[str, Any] = Field(default_factory=dict)
    output: OutputConfig = OutputConfig()

    @property
    def sampler_settings(self) -> SamplerSettings:
        """How to sample: the ``sampler`` section, with the errors of the photometry."""
        errors = {name: getattr(self.photometry, name) for name in ("error_floor", "model_error", "errors")}
        known = [field.name for field in fields(SamplerSettings) if field.name not in errors]
        for name in self.sampler:
            if name not in known:
                raise CatalogueError(f"sampler.{name}: unknown key{nearest(name, known)}")
        given = {**self.sampler, **errors}
        try:
            return TypeAdapter(SamplerSettings).validate_python(given)
        except ValidationError as error:
            raise CatalogueError("; ".join(f"sampler.{line}" for line in explain(error, Section))) from error

    @model_validator(mode="after")
    def _sampler_is_known(self) -> "FitConfig":
        _ = self.sampler_settings
        return self

    @field_validator("redshift", mode="before")
    @classmethod
    def _short_redshift(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"free": True} if value == "free" else {"column": value}
        return {"value": value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("comparison", mode="before")
    @classmethod
    def _short_comparison(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: {"column": item} if isinstance(item, str) else item for key, item in value.items()}
        return value


def read_config(path: Path) -> FitConfig:
    """The configuration in a YAML file; CatalogueError says every key that is wrong and the mend."""
    return read_yaml(path, FitConfig, CatalogueError)


def parse_config(data: Any, source: str = "configuration") -> FitConfig:
    """The configuration from plain values; CatalogueError as in ``read_config``."""
    return check(data, FitConfig, source, CatalogueError)
