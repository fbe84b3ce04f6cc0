"""How many draws of which kind, and what counts as passed."""

from dataclasses import dataclass, field
from typing import NamedTuple

from starling.inference.error_model import ErrorModel, check_combination
from starling.inference.noise import ModelError, check_model_error


class Stage(NamedTuple):
    """At most ``rounds`` of ``draws`` draws each, from a proposal that follows them.

    It begins where the stage before left it.
    """

    rounds: int
    draws: int

    @property
    def total(self) -> int:
        """The most draws there can be; every one counts."""
        return self.rounds * self.draws


class LatentChains(NamedTuple):
    """Chains in the coordinates of an adapted proposal (``starling.amortised.latent``).

    Each transition is a leapfrog trajectory of ``mean_steps`` steps on average and a choice among the present point and
    ``proposals`` draws of the proposal. ``n_warmup`` transitions tune the step size and the metric; then there are as
    many as draws are to be kept and, where they have not converged, up to ``patience`` times as many, evenly thinned.
    They run in pieces of ``chunk``.
    """

    n_warmup: int = 200
    patience: int = 2
    chunk: int = 50
    mean_steps: float = 10.0
    proposals: int = 8
    target_accept: float = 0.85


@dataclass(frozen=True)
class AmortisedSettings:
    """How many draws, and what counts as passed.

    Galaxies that do not pass a stage go on to the next one; ``chains`` (None: none) run for those that pass none.
    The draws of a galaxy end as soon as they are worth ``surplus`` times ``ess`` with a k-hat that is below its limit
    by more than an error: by more than it takes to pass, since the first round that passes may do so by luck.
    Each of two proposals has ``n_components`` beside the flow; ``worth`` is that of ``starling.amortised.adapt``.
    A galaxy that nothing of this settles is one for plain chains where its k-hat is above ``astray``: the proposal then
    misses the posterior. Below that plain chains have settled none of the few that its own chains could not.
    ``n_chains`` and ``n_draws`` are those of the equal-weight draws that are kept. ``batch_size`` galaxies run at once
    in chains.
    """

    stages: tuple[Stage, ...] = (Stage(8, 2000), Stage(12, 8000), Stage(12, 32_000))
    chains: LatentChains | None = field(default_factory=LatentChains)
    n_components: int = 4
    worth: float = 0.125
    surplus: float = 1.5
    k_hat: float = 0.7
    astray: float = 1.0
    ess: float = 400.0
    rhat: float = 1.01
    n_chains: int = 4
    n_draws: int = 500
    batch_size: int = 4
    error_floor: float = 0.05
    model_error: ModelError = "band"
    errors: ErrorModel = field(default_factory=ErrorModel)

    def __post_init__(self) -> None:
        check_model_error(self.model_error)
        check_combination(self.model_error, self.errors)
        if self.errors.free:
            raise ValueError(
                "a flow does not sample zero points: integrate them out (`zero_points: {treatment: marginalise}`), "
                "or fit with chains alone (`model: {flow: none}`)"
            )
        if not self.stages or any(
            stage.draws < 50 or stage.draws % 2 or stage.rounds < 1 for stage in self.stages
        ):
            raise ValueError(
                f"stages must be some, each of a round or more of 50 draws or more, an even number, got {self.stages}"
            )
        if not self.surplus >= 1.0:
            raise ValueError(f"surplus must be at least 1, got {self.surplus}")
        if not 0.0 < self.worth < 1.0:
            raise ValueError(f"worth is a share between 0 and 1, got {self.worth}")
        for name in ("n_chains", "n_draws", "batch_size", "n_components"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        chains = self.chains
        if chains and (
            chains.chunk < 1 or chains.patience < 1 or chains.n_warmup < 3 or chains.n_warmup % chains.chunk
        ):
            raise ValueError(
                f"chains.n_warmup ({chains.n_warmup}) must be 3 or more and a multiple of chunk ({chains.chunk}), "
                f"and patience at least 1, got {chains.patience}"
            )
