"""Are the weights of an adaptive proposal right, though it was fitted to draws that they are of?

    python benchmarks/adaptation.py --galaxies 16 [--rounds 8 --draws 2000 --components 2]

For every mock (as in benchmarks/amortised.py) the evidence, the means and the widths from the draws of all rounds are
compared with those from 10,000 fresh draws of the last proposal, which had no part in its making.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from mocks import FLOOR, mocks

from starling.amortised import AmortisedSettings, Proposal, load_proposal, shipped_proposal
from starling.amortised.adapt import Adaptation, Mixture, both, draw, of_flow
from starling.amortised.importance import Galaxy, Weighted, galaxy_of, places, weigh, weighted_draws
from starling.amortised.psis import Smoothed, smooth
from starling.amortised.reliability import Reliability
from starling.emulators import PhotometryEmulator, load_default
from starling.inference.noise import prepare_all

FRESH = 10_000


@partial(jax.jit, static_argnames=("plan", "n_components"))
def two_ways(
    key: jax.Array,
    galaxy: Galaxy,
    proposal: Proposal,
    model: PhotometryEmulator,
    plan: Adaptation,
    until: Reliability,
    n_components: int,
) -> tuple[Weighted, Weighted]:
    """The draws of all rounds, and fresh ones."""
    keys = jax.random.split(key, 4)
    start = of_flow(keys[0], len(proposal.coordinates.free), n_components)
    drawn, halves = weighted_draws(keys[1], start, galaxy, proposal, model, plan, until)
    last: Mixture = both(halves)
    fresh = weigh(keys[2], draw(keys[3], last, FRESH), last, galaxy, proposal, model)
    return drawn, fresh


def moments(drawn: Weighted, columns: list[int]) -> tuple[Smoothed, np.ndarray, np.ndarray]:
    """Smoothed weights, means and deviations."""
    made = np.asarray(drawn.made)
    smoothed = smooth(np.asarray(drawn.log_weight, float)[made])
    theta = np.asarray(drawn.theta, float)[made][:, columns]
    mean = smoothed.weights @ theta
    return smoothed, mean, np.sqrt(smoothed.weights @ (theta - mean) ** 2)


def main() -> None:
    settings = AmortisedSettings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=settings.stages[0].rounds)
    parser.add_argument("--draws", type=int, default=settings.stages[0].draws)
    parser.add_argument(
        "--surplus",
        type=float,
        default=settings.surplus,
        help="end once worth so many times the ESS that is asked for",
    )
    parser.add_argument("--components", type=int, default=settings.n_components)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    path = shipped_proposal("prospector_alpha")
    assert path is not None
    proposal = load_proposal(path).proposal
    model = load_default().select(proposal.bands)
    observations, _ = mocks(model, options.galaxies, options.seed, (5.0, 50.0))
    noise = prepare_all(observations, model, FLOOR, "band")
    columns = jnp.asarray(places(model.bands, proposal.bands))
    free = [model.space.index(name) for name in model.space.free(observations.fixed)]
    plan = Adaptation(options.rounds, options.draws, settings.worth)
    until = Reliability(jnp.asarray(settings.k_hat), jnp.asarray(options.surplus * settings.ess))
    rows = []
    for i in range(options.galaxies):
        one, errors = jax.tree.map(lambda leaf, i=i: leaf[i], (observations, noise))
        galaxy = jax.jit(galaxy_of)(one, errors, columns, proposal, model)
        ways = two_ways(jax.random.key(i), galaxy, proposal, model, plan, until, options.components)
        (all_rounds, mean, width), (fresh, mean_fresh, width_fresh) = (moments(way, free) for way in ways)
        rows.append(
            (
                all_rounds.weights.size,
                all_rounds.ess >= settings.ess and all_rounds.k_hat < settings.k_hat,
                all_rounds.k_hat,
                fresh.k_hat,
                all_rounds.log_mean - fresh.log_mean,
                np.mean(np.abs(mean - mean_fresh) / width_fresh),
                np.mean(np.log(width / width_fresh)),
            )
        )
    drawn, passed, *of_passed = np.asarray(rows).T
    k_hat, k_fresh, evidence, shift, width = np.asarray(of_passed)[:, passed > 0]
    root = np.sqrt(passed.sum())
    print(
        f"{passed.mean():.0%} of {len(rows)} pass; {drawn.mean():.0f} draws in the mean. Of those that pass:"
    )
    print(f"k-hat: median {np.median(k_hat):.2f} of all rounds, {np.median(k_fresh):.2f} of fresh draws")
    print(f"ln Z, all rounds - fresh: {evidence.mean():+.3f} +- {evidence.std() / root:.3f}")
    print(
        f"ln width ratio: {width.mean():+.3f} +- {width.std() / root:.3f}; mean |shift| {shift.mean():.3f} sigma"
    )


if __name__ == "__main__":
    main()
