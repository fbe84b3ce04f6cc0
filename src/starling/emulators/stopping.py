"""When a training run ends: the schedule is over, the accuracy asked for is reached, or nothing improves any more."""

from typing import NamedTuple

from starling.emulators.config import OptimizerConfig
from starling.emulators.schedule import n_epochs


class Course(NamedTuple):
    """How a run went so far; numbers and text only, so it goes into a checkpoint as it is.

    ``epoch`` counts the finished ones. ``reference`` is the validation loss that an improvement is measured from, and
    ``waited`` the epochs since there was one. ``ended`` says why the run is over, and is empty until it is.
    """

    epoch: int = 0
    best_loss: float = float("inf")
    reference: float = float("inf")
    waited: int = 0
    ended: str = ""


def advance(course: Course, config: OptimizerConfig, loss: float, sigma: float) -> Course:
    """The course after one more epoch: its validation loss, and the largest sigma of the outputs that are wanted.

    Patience ends a run when the validation loss has not fallen by the part ``min_improvement`` for ``patience`` epochs.
    """
    improved = loss < (1.0 - config.min_improvement) * course.reference
    waited = 0 if improved else course.waited + 1
    epoch, ended = course.epoch + 1, ""
    if config.stop_at is not None and sigma <= config.stop_at:
        ended = f"the accuracy asked for is reached: {sigma:.4g} <= {config.stop_at:g}"
    elif epoch == n_epochs(config):
        ended = "the schedule is over"
        if config.stop_at is not None:
            ended += f", and the accuracy asked for is not reached: {sigma:.4g} > {config.stop_at:g}"
    elif config.patience is not None and waited >= config.patience:
        ended = f"no improvement by {config.min_improvement:g} in {waited} epochs"
    reference = loss if improved else course.reference
    return Course(epoch, min(loss, course.best_loss), reference, waited, ended)
