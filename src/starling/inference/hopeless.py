"""Whether more transitions would help chains that have not converged.

Of chains that mix, the ESS is in proportion to their length, and R-hat - 1 to its inverse. Where a galaxy has modes
that no chain leaves, or a place that chains stick to, neither moves, however long they are.
"""

from collections.abc import Sequence
from typing import NamedTuple

from starling.inference.convergence import Thresholds

# While the length doubles, R-hat - 1 below this part of what it was, or the ESS above this part, is progress. Chains
# that mix have 0.5 and 2, those that mix in more than their own length about 0.7 and 1.4; but both numbers scatter.
_FALLING, _GROWING = 0.9, 1.25
# Where chains hardly mix the smallest ESS is found too small by up to five times: so far beyond what it grows to may
# the goal be, and twice as far, to be sure.
_MARGIN = 10.0


class Standing(NamedTuple):
    """How far a galaxy was from passing after ``multiple`` times ``n_draws`` transitions: the worst of everything."""

    multiple: int
    rhat: float
    ess: float  # as a part of what it must be


def why_hopeless(standings: Sequence[Standing], patience: int, n_draws: int) -> str:
    """Why a galaxy is given up after these rounds, of up to ``patience`` times ``n_draws`` transitions; empty: goes on.

    It is given up where there was no progress while the length doubled, and what is left of the patience is too little
    even for an ESS that grows as that of chains that mix.
    """
    now = standings[-1]
    before = [one for one in standings if 2 * one.multiple <= now.multiple]
    if not before or now.multiple >= patience:
        return ""
    then = before[-1]
    falling = now.rhat - 1.0 < _FALLING * (then.rhat - 1.0)
    growing = now.ess > _GROWING * then.ess
    within_reach = _MARGIN * now.ess * patience / now.multiple >= 1.0
    if falling or growing or within_reach or now.rhat < Thresholds().rhat:
        return ""
    return (
        f"gave up after {len(standings)} rounds ({now.multiple * n_draws} transitions): R-hat stays at {now.rhat:.2f}, "
        f"the smallest ESS at {100.0 * now.ess:.1f}% of what it must be"
    )
