"""The configuration of an amortised posterior: a YAML file, validated; unknown keys are errors."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from starling.amortised.mocks import NoiseRange
from starling.configuration import read_yaml
from starling.simulation.store import identity_hash

Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoiseConfig(Section):
    """What errors the flow is for: ``starling.amortised.mocks.NoiseRange``."""

    depth: tuple[float, float] = NoiseRange.depth
    floor: tuple[float, float] = NoiseRange.floor
    no_floor: float = NoiseRange.no_floor
    missing: float = NoiseRange.missing
    missing_instruments: float = NoiseRange.missing_instruments
    outliers: float = NoiseRange.outliers
    outlier_sigma: float = NoiseRange.outlier_sigma

    @model_validator(mode="after")
    def _valid(self) -> Self:
        self.build()
        return self

    def build(self) -> NoiseRange:
        return NoiseRange(**self.model_dump())


class FlowConfig(Section):
    """Sizes of the flow, as in ``starling.amortised.flow.FlowShape``."""

    descent: Annotated[int, Field(ge=0)] = 1
    width: Positive = 256
    depth: Positive = 4
    couplings: Positive = 8
    hidden: Positive = 128
    layers: Positive = 1
    bins: Annotated[int, Field(ge=2)] = 8
    bound: float = Field(6.0, gt=0)


class FlowTrainingConfig(Section):
    """``steps`` of ``batch_size`` galaxies, each of which counts in ``reuse`` steps between two reports.

    Between reports ``report_every / reuse`` batches are in memory, 2 kB per galaxy. With few of them the flow learns
    them by heart: keep 100,000 and more where they count twice.

    The learning rate rises to ``learning_rate`` in ``warmup_steps``, and in the last part ``decay`` of the steps falls
    to nothing, both linearly.

    The course is reported and a stop is heard every ``report_every`` steps. A run may be continued with other
    ``steps`` as long as its rate has not begun to fall.
    """

    steps: Positive = 36000
    batch_size: Positive = 512
    reuse: Positive = 2
    learning_rate: float = Field(1.5e-3, gt=0)
    decay: float = Field(0.3, gt=0, lt=1)
    warmup_steps: Positive = 500
    clip_norm: float = Field(5.0, gt=0)
    report_every: Positive = 250
    checkpoint_minutes: float = Field(2.0, ge=0)
    n_validation: Positive = 4096

    @model_validator(mode="after")
    def _in_pieces(self) -> Self:
        if self.steps % self.report_every:
            raise ValueError(f"steps ({self.steps}) must be a multiple of report_every ({self.report_every})")
        if self.report_every % self.reuse:
            raise ValueError(f"report_every ({self.report_every}) must be a multiple of reuse ({self.reuse})")
        return self

    @property
    def first_of_decay(self) -> int:
        """The step from which the rate falls."""
        return round(self.steps * (1.0 - self.decay))


class AmortiseConfig(Section):
    """All that decides an amortised posterior.

    ``emulator``: ``default``, the name of one in the package, or a path beside the configuration. ``fixed``:
    parameters that are known for every galaxy. Galaxies may lack any of ``bands``, never have others.
    """

    name: str
    licence: str = "MIT"
    seed: int = Field(0, ge=0)
    emulator: str = "default"
    bands: tuple[str, ...] = Field(min_length=1)
    fixed: tuple[str, ...] = ("zred",)
    noise: NoiseConfig = NoiseConfig()
    flow: FlowConfig = FlowConfig()
    training: FlowTrainingConfig = FlowTrainingConfig()

    @model_validator(mode="after")
    def _bands_differ(self) -> Self:
        twice = sorted({name for name in self.bands if self.bands.count(name) > 1})
        if twice:
            raise ValueError(f"bands named twice: {', '.join(twice)}")
        return self

    def sha256(self) -> str:
        return identity_hash(self.model_dump(mode="json"))

    def run_hash(self, emulator_sha256: str) -> str:
        """What decides the weights: the configuration without its labels, and the emulator."""
        content = self.model_dump(mode="json", exclude={"name", "licence", "emulator"})
        del content["training"]["steps"]  # a run may be made longer
        return identity_hash({"config": content, "emulator": emulator_sha256})


def read_amortise_config(path: Path) -> AmortiseConfig:
    """Read a YAML file; ValueError names the key and what is wrong with it."""
    return read_yaml(path, AmortiseConfig)
