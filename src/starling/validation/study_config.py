"""The configuration of a study of networks: a training configuration, and what to vary about it."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from starling.configuration import BASE, Section
from starling.emulators.config import (
    DirectConfig,
    FeaturesConfig,
    MixtureConfig,
    OptimizerConfig,
    TrainingConfig,
    load_config,
)
from starling.emulators.networks import Activation
from starling.simulation.store import identity_hash

Positive = Annotated[int, Field(gt=0)]
AXES = ("width", "depth", "activation", "n_train", "features", "mixture")
_PLAIN = "as in the reference"


class SetSizes(Section):
    """How many draws of the base's sets are used; what is not named is as in the base."""

    n_train: Positive | None = None
    n_validation: Positive | None = None
    n_test: Positive | None = None


class MixtureWidths(Section):
    """Widths of the networks of a mixture; ``torus`` only where the base has one."""

    stars: Positive
    lines: Positive
    dust: Positive
    torus: Positive | None = None


class Vary(Section):
    """What is varied about the reference, one thing at a time; ``mixture`` are emulators of the other kind.

    ``features`` are other inputs of the reference by name; ``n_train`` are numbers of training draws below the study's,
    the first ones of its sets.
    """

    width: tuple[Positive, ...] = ()
    depth: tuple[Positive, ...] = ()
    activation: tuple[Activation, ...] = ()
    n_train: tuple[Positive, ...] = ()
    features: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], FeaturesConfig] = Field({})
    mixture: tuple[MixtureWidths, ...] = ()


class CostConfig(Section):
    """How costs are measured; ``widths`` are further widths of the reference, timed with random weights."""

    batch: Positive = 1000
    rounds: Positive = 15
    widths: tuple[Positive, ...] = ()


class FitRanges(Section):
    """Widths between which the power laws are fitted, both ends included.

    The time law holds where the hidden layers cost more than the rest, above 64 units in Mathews et al. (2023).
    """

    error: tuple[float, float] = (1.0, 1e6)
    time: tuple[float, float] = (65.0, 1e6)


class Variation(NamedTuple):
    """One network of a study. ``axes`` are what it stands on: the reference stands on all but ``mixture``."""

    name: str
    label: str
    axes: tuple[str, ...]
    config: TrainingConfig


class StudyConfig(Section):
    """A study: ``reference`` is the network of the papers' kind about which ``vary`` varies.

    ``bar_mag`` is the standard deviation that the chosen network has to reach in every band.
    """

    name: str
    base: TrainingConfig
    sets: SetSizes = SetSizes()
    training: OptimizerConfig | None = None
    reference: DirectConfig | None = None
    vary: Vary
    cost: CostConfig = CostConfig()
    fit: FitRanges = FitRanges()
    bar_mag: float = Field(0.005, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.reference is None and not isinstance(self.base.network, DirectConfig):
            raise ValueError("the base trains a mixture: name a network of the papers' kind under reference")
        if self.vary.mixture and not isinstance(self.base.network, MixtureConfig):
            raise ValueError(
                "vary.mixture needs a base that trains a mixture, for the inputs of its networks"
            )
        most = self.whole.sets.n_train
        if any(n >= most for n in self.vary.n_train):
            raise ValueError(f"vary.n_train has to stay below the {most} training draws of the study")
        try:
            self.variations()
        except ValidationError as error:
            raise ValueError(_explain(error)) from error
        return self

    @property
    def whole(self) -> TrainingConfig:
        """The base with the sets and the training of the study, and the reference as its network."""
        sizes = {name: n for name, n in self.sets.model_dump().items() if n is not None}
        return _changed(
            self.base,
            sets=self.base.sets.model_dump() | sizes,
            training=(self.training or self.base.training).model_dump(),
            network=(self.reference or self.base.network).model_dump(),
        )

    def variations(self) -> list[Variation]:
        """Every network once, in the order in which they are trained."""
        reference = self.whole.network
        if not isinstance(reference, DirectConfig):  # the validator says so
            raise TypeError("the reference is no network of the papers' kind")
        found = {(v := self._direct(reference, tuple(a for a in AXES if a != "mixture"))).name: v}
        changes: list[tuple[str, dict[str, Any], str, int | None]] = [
            *(("width", {"width": width}, _PLAIN, None) for width in self.vary.width),
            *(("depth", {"depth": depth}, _PLAIN, None) for depth in self.vary.depth),
            *(("activation", {"activation": name}, _PLAIN, None) for name in self.vary.activation),
            *(("n_train", {}, _PLAIN, n) for n in self.vary.n_train),
            *(("features", {"features": value}, name, None) for name, value in self.vary.features.items()),
        ]
        for axis, change, features, n_train in changes:
            network = DirectConfig.model_validate(reference.model_dump() | change)
            variation = self._direct(network, (axis,), features, n_train)
            found.setdefault(variation.name, variation)
        for widths in self.vary.mixture:
            mixed = self._mixture(widths)
            found.setdefault(mixed.name, mixed)
        return sorted(found.values(), key=_turn)

    def _direct(
        self,
        network: DirectConfig,
        axes: tuple[str, ...],
        features: str = _PLAIN,
        n_train: int | None = None,
    ) -> Variation:
        whole = self.whole
        name, label = f"direct-{network.depth}x{network.width}", f"{network.depth} × {network.width}"
        if network.activation != "gelu":
            name, label = f"{name}-{network.activation}", f"{label} {network.activation}"
        if features != _PLAIN:
            name, label = f"{name}-{features}", f"{label} {features}"
        if n_train is not None:
            name, label = f"{name}-n{n_train}", f"{label}, {n_train} draws"
        sets = whole.sets.model_dump() | {"n_train": n_train or whole.sets.n_train}
        return Variation(
            name,
            label,
            axes,
            _changed(whole, name=f"{self.name}_{name}", network=network.model_dump(), sets=sets),
        )

    def _mixture(self, widths: MixtureWidths) -> Variation:
        network = self.base.network.model_dump()
        given = {role: width for role, width in widths.model_dump().items() if width is not None}
        for role, width in given.items():
            network[role] = (network[role] or {}) | {"width": width}
        numbers = [str(width) for width in given.values()]
        name = "-".join(("mixture", *numbers))
        return Variation(
            name,
            f"mixture {'/'.join(numbers)}",
            ("mixture",),
            _changed(self.whole, name=f"{self.name}_{name}", network=network),
        )

    def sha256(self) -> str:
        return identity_hash(self.model_dump(mode="json"))


def load_study(path: Path) -> StudyConfig:
    """Read a study; ``base`` is embedded or the path of a training configuration, which counts from the file.

    ValueError names the file, the key and what is wrong with it.
    """
    try:
        content: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"cannot read the study {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("base"), str):
        content = content | {"base": load_config(path.parent / content["base"])}
    try:
        return StudyConfig.model_validate(content, context={BASE: path.parent})
    except ValidationError as error:
        raise ValueError(f"{path}:\n{_explain(error)}") from error


def _turn(variation: Variation) -> tuple[int, int]:
    """When a network is trained: by width, then the mixtures, then the rest."""
    network = variation.config.network
    if "width" in variation.axes and isinstance(network, DirectConfig):
        return 0, network.width
    return (1 if "mixture" in variation.axes else 2), 0


def _changed(config: TrainingConfig, **changes: Any) -> TrainingConfig:
    """A configuration with other sections, validated again."""
    return TrainingConfig.model_validate(config.model_dump() | {"simulator": config.simulator} | changes)


def _explain(error: ValidationError) -> str:
    lines = [f"  {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
    return "\n".join(lines)
