"""The configuration of a spectrum emulator: a YAML file, validated; unknown keys are errors."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from starling.configuration import check, read_plain
from starling.emulators.config import (
    DirectConfig,
    NetworkConfig,
    OptimizerConfig,
    SimulatorConfig,
    TrainingConfig,
)
from starling.parameters import ParameterSpace, prospector_alpha, prospector_alpha_14
from starling.simulation.store import identity_hash
from starling.spaces import desi_bgs

Positive = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpectralSpaceConfig(_Section):
    """The model that is imitated; ``zred`` is the redshift range, which sets the ages of the universe."""

    model: Literal["prospector_alpha", "prospector_alpha_14", "desi_bgs"]
    agn: bool = True
    zred: tuple[float, float]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0.0 < self.zred[0] < self.zred[1]:
            raise ValueError(f"zred must be two ascending redshifts above 0, got {list(self.zred)}")
        return self

    def build(self) -> ParameterSpace:
        if self.model == "desi_bgs":
            return desi_bgs(self.zred)
        if self.model == "prospector_alpha_14":
            return prospector_alpha_14(self.zred)
        return prospector_alpha(agn=self.agn, zred=self.zred)


class PixelsConfig(_Section):
    """Rest-frame wavelengths from ``low_aa`` to ``high_aa`` (vacuum).

    ``segments``: where the exact model's pixels change their step in ln(wavelength), as (first wavelength, step);
    none for its usual pixels. ``seams_aa`` cut the range into parts with components of their own, which overlap by
    ``overlap`` in ln(wavelength).
    """

    low_aa: float = Field(gt=0)
    high_aa: float = Field(gt=0)
    segments: tuple[tuple[float, float], ...] = ()
    seams_aa: tuple[float, ...] = ()
    overlap: float = Field(0.02, gt=0)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        ends = (self.low_aa, *self.seams_aa, self.high_aa)
        if list(ends) != sorted(set(ends)):
            raise ValueError(f"low_aa, seams_aa and high_aa must ascend, got {list(ends)}")
        return self


class ComponentsConfig(_Section):
    """Principal components of every range: as many as leave an rms error below ``rms``, ``most`` at most.

    From ``n_basis`` draws from the training distribution.
    """

    n_basis: Positive = 8192
    most: Positive = 40
    rms: float = Field(2e-4, gt=0)


class SpectralSetsConfig(_Section):
    """Numbers of draws, as in ``starling.emulators.config.SetsConfig``; spectra are kept as coefficients."""

    n_train: Positive
    n_validation: Positive = 8192
    n_test: Positive = 10000
    prior_fraction: float = Field(0.25, ge=0.0, lt=1.0)
    method: Literal["sobol", "uniform"] = "sobol"
    chunk: Positive = 1024


class SpectralMixtureConfig(_Section):
    """Networks for the components of the light; ``lines``, ``dust`` and ``torus`` only where the model has them."""

    kind: Literal["mixture"]
    stars: NetworkConfig
    lines: NetworkConfig | None = None
    dust: NetworkConfig | None = None
    torus: NetworkConfig | None = None

    def networks(self) -> dict[str, NetworkConfig]:
        parts = {"stars": self.stars, "lines": self.lines, "dust": self.dust, "torus": self.torus}
        return {role: part for role, part in parts.items() if part is not None}


class PcaConfig(DirectConfig):
    """One network from all parameters to the components of the whole spectrum (Alsing et al. 2020)."""

    kind: Literal["pca"] = "pca"  # type: ignore[assignment]


class SpectrumConfig(_Section):
    """All that decides a spectrum emulator."""

    name: str
    seed: int = Field(0, ge=0)
    space: SpectralSpaceConfig
    simulator: SimulatorConfig = SimulatorConfig()
    spectra: PixelsConfig
    components: ComponentsConfig = ComponentsConfig()
    sets: SpectralSetsConfig
    network: PcaConfig | SpectralMixtureConfig = Field(discriminator="kind")
    training: OptimizerConfig

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        space = self.space.build()
        parts = self.network.networks()
        for part in parts.values():
            part.features.build().check(space)
        if self.network.kind == "mixture":
            has = {"lines", "dust"} if "gas_logz" in space else set()
            has |= {"torus"} if "log_fagn" in space else set()
            if parts.keys() != {"stars", *has}:
                raise ValueError(
                    f"space {space.name!r} is a mixture of {', '.join(sorted({'stars', *has}))}: one network for each"
                )
        return self

    def sha256(self) -> str:
        return identity_hash(self.model_dump(mode="json"))


def load_any_config(path: Path) -> TrainingConfig | SpectrumConfig:
    """Read the configuration of an emulator of either kind; a section ``spectra`` tells that of a spectrum emulator.

    ValueError names the file, the key and what is wrong with it.
    """
    content = read_plain(path)
    if isinstance(content, dict) and "spectra" in content:
        return check(content, SpectrumConfig, str(path))
    return check(content, TrainingConfig, str(path))
