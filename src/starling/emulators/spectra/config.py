"""The configuration of a spectrum emulator: a YAML file, validated; unknown keys are errors."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from starling.configuration import Section, check, read_plain
from starling.emulators.config import (
    NetworkConfig,
    OptimizerConfig,
    Positive,
    SetsConfig,
    SimulatorConfig,
    SpaceConfig,
    TrainingConfig,
)
from starling.emulators.spectra.model import WHOLE
from starling.simulation.store import identity_hash


class PixelsConfig(Section):
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


class ComponentsConfig(Section):
    """Principal components of every range: as many as leave an rms error below ``rms``, ``most`` at most.

    From ``n_basis`` draws from the training distribution.
    """

    n_basis: Positive = 8192
    most: Positive = 40
    rms: float = Field(2e-4, gt=0)


class SpectralMixtureConfig(Section):
    """Networks for the components of the light; ``lines``, ``dust`` and ``torus`` only where the model has them."""

    kind: Literal["mixture"]
    stars: NetworkConfig
    lines: NetworkConfig | None = None
    dust: NetworkConfig | None = None
    torus: NetworkConfig | None = None

    def networks(self) -> dict[str, NetworkConfig]:
        parts = {"stars": self.stars, "lines": self.lines, "dust": self.dust, "torus": self.torus}
        return {role: part for role, part in parts.items() if part is not None}


class PcaConfig(NetworkConfig):
    """One network from all parameters to the components of the whole spectrum (Alsing et al. 2020)."""

    kind: Literal["pca"] = "pca"

    def networks(self) -> dict[str, NetworkConfig]:
        return {WHOLE: self}


class SpectrumConfig(Section):
    """All that decides a spectrum emulator."""

    name: str
    licence: str = "MIT"
    seed: int = Field(0, ge=0)
    space: SpaceConfig
    simulator: SimulatorConfig = SimulatorConfig()
    spectra: PixelsConfig
    components: ComponentsConfig = ComponentsConfig()
    sets: SetsConfig
    network: PcaConfig | SpectralMixtureConfig = Field(discriminator="kind")
    training: OptimizerConfig

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.training.fresh is not None or self.training.sobolev_weight:
            raise ValueError(
                "training.fresh and training.sobolev_weight are for photometry only: leave them out"
            )
        if self.simulator.code == "fsps" and self.network.kind == "mixture":
            raise ValueError("FSPS gives whole spectra, not their components: network.kind has to be pca")
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
        return check(content, SpectrumConfig, str(path), base=path.parent)
    return check(content, TrainingConfig, str(path), base=path.parent)
