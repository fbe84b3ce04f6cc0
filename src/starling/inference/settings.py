"""How to sample: every number that a user may turn."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from starling.inference.error_model import ErrorModel, check_combination
from starling.inference.kernels import KERNELS, Kernel
from starling.inference.noise import ModelError, check_model_error

Nested = Literal["none", "quick", "standard", "paper"]


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample.

    ``kernel``: "hmc" (leapfrog steps jittered about ``mean_steps``, the same for all galaxies of a batch), "chees" (the
    same, with the mean length adapted to each galaxy), "nuts" (BlackJAX's) and "numpyro_nuts", with trees of up to
    ``max_doublings``, or "mclmc" (microcanonical, adjusted: ``mean_steps`` steps of two gradients). Stiff directions of
    these posteriors turn from place to place, so steps are short and trajectories long.

    ``n_warmup`` and ``n_draws`` are transitions per chain; both run in pieces of ``chunk``, after each of which the
    progress is reported. A galaxy that has not converged by then gets up to ``patience`` times ``n_draws``
    transitions, of which ``n_draws`` are kept, evenly spaced; fewer where they bring nothing
    (``starling.inference.hopeless``). ``together`` galaxies run at once. ``n_descents`` prior draws are each descended
    for ``descent_steps`` to find the modes. ``batch_size`` galaxies make a part of a run on a catalogue. ``nested`` is
    the preset of nested sampling (``starling.inference.nested``) for galaxies that nothing else has settled, a minute
    or more for each; it needs dynesty. ``error_floor`` is a fraction of the flux; ``model_error`` says what the forward
    model's own errors count as (``starling.inference.noise``), ``errors`` what may be wrong beyond that.
    """

    kernel: Kernel = "hmc"
    n_chains: int = 4
    n_warmup: int = 300
    n_draws: int = 500
    chunk: int = 50
    mean_steps: float = 60.0
    target_accept: float = 0.85
    max_doublings: int = 6
    n_descents: int = 8
    descent_steps: int = 30
    batch_size: int = 64
    together: int = 16
    patience: int = 4
    nested: Nested = "none"
    error_floor: float = 0.05
    model_error: ModelError = "band"
    errors: ErrorModel = field(default_factory=ErrorModel)

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {self.kernel!r}")
        check_model_error(self.model_error)
        check_combination(self.model_error, self.errors)
        if self.nested not in get_args(Nested):
            raise ValueError(f"nested must be one of {', '.join(get_args(Nested))}, got {self.nested!r}")
        for name in (
            "n_chains",
            "n_draws",
            "chunk",
            "max_doublings",
            "n_descents",
            "descent_steps",
            "batch_size",
            "together",
            "patience",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("n_warmup", "n_draws"):
            if getattr(self, name) % self.chunk:
                raise ValueError(f"{name} ({getattr(self, name)}) must be a multiple of chunk ({self.chunk})")
        if not 0.0 < self.target_accept < 1.0:
            raise ValueError(f"target_accept must lie between 0 and 1, got {self.target_accept}")
        if self.error_floor < 0.0:
            raise ValueError(
                f"error_floor is a fraction of the flux and cannot be negative, got {self.error_floor}"
            )
