"""How the judge samples: presets from a quick look to what a paper trusts."""

from dataclasses import dataclass, field, replace
from typing import Any

from starling.inference.error_model import ErrorModel, check_combination
from starling.inference.noise import ModelError, check_model_error


@dataclass(frozen=True)
class NestedSettings:
    """How dynesty samples one galaxy.

    ``n_live`` points shrink onto the posterior until the evidence that is left in them is below ``dlogz`` (its
    logarithm). With ``n_effective`` the run is a dynamic one: batches of as many points are added until the weighted
    samples are worth that many independent ones (Kish). A new point is 3 random slices and ``slices`` for every free
    parameter away from the one that it starts from; with 1, dynesty's default, points are far from independent, and
    two runs differ by much more than the weights and the error of the evidence say. ``lanes`` new points are made at
    once, in one compiled call; 1 is dynesty's own code, point by point. ``n_draws`` equally weighted draws in each of
    four chains are kept. ``max_calls`` bounds the likelihood calls of a galaxy. ``error_floor``, ``model_error``
    and ``errors`` as in ``SamplerSettings``.
    """

    n_live: int = 1000
    dlogz: float = 0.01
    n_effective: int = 0
    slices: int = 4
    lanes: int = 128
    n_draws: int = 500
    max_calls: int = 10**9
    error_floor: float = 0.05
    model_error: ModelError = "band"
    errors: ErrorModel = field(default_factory=ErrorModel)

    def __post_init__(self) -> None:
        check_model_error(self.model_error)
        check_combination(self.model_error, self.errors)
        for name in ("n_live", "slices", "lanes", "n_draws", "max_calls"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("n_effective", "error_floor"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} cannot be negative, got {getattr(self, name)}")
        if not self.dlogz > 0:
            raise ValueError(f"dlogz must be positive, got {self.dlogz}")
        if self.lanes > self.n_live:
            raise ValueError(
                f"lanes ({self.lanes}) cannot exceed n_live ({self.n_live}): most new points would be outdated"
            )


PRESETS = {
    "quick": NestedSettings(n_live=250, dlogz=0.1, slices=1, lanes=64),
    "standard": NestedSettings(),
    # Mathews et al. (2023), section 4: nlive_init = 2000, target_n_effective = 200000; dlogz of Prospector's default
    "paper": NestedSettings(n_live=2000, dlogz=0.05, n_effective=200_000, lanes=256, n_draws=2500),
}


def preset(name: str, **changed: Any) -> NestedSettings:
    """The settings of a preset, some of them changed; ValueError names the presets that there are."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changed)
