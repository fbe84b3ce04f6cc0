"""Where to simulate next: as the training set was drawn, or where a network errs most.

Errors at points that are not simulated come from a regression: the logarithm of the error of a galaxy on polynomials of
its coordinates in the unit cube. Galaxies are then taken from many candidates with a probability in proportion to their
predicted mean-square error. The loss is not corrected for that change of measure: it is an average over a distribution
that leans towards what is hard, which is what was asked for; validation and test sets stay as they were drawn.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from starling.parameters import ParameterSpace
from starling.simulation.draws import points

_CANDIDATES = 8  # for every galaxy that is taken
_DEGREE = 4
_RIDGE = 1e-3


@dataclass(frozen=True)
class Proposal:
    """How ``n`` new galaxies are drawn: the share ``focus`` where errors are large.

    The others, and the candidates, are ``prior_fraction`` from ``prior`` and the rest from ``wide``, a space of the
    same support.
    """

    prior: ParameterSpace
    wide: ParameterSpace
    prior_fraction: float
    n: int
    focus: float
    seed: int

    def draw(
        self, number: int, theta: Float[np.ndarray, "row param"], error: Float[np.ndarray, " row"]
    ) -> Float[np.ndarray, "n param"]:
        """The galaxies of round ``number``, given the (positive) errors of the network at points ``theta``."""
        random = np.random.default_rng([self.seed, number])
        n_focused = round(self.focus * self.n)
        drawn = self._candidates(random, self.n - n_focused)
        if n_focused:
            candidates = self._candidates(random, _CANDIDATES * n_focused)
            predicted = self._predict(theta, error, candidates)
            # the largest of log-weights with Gumbel noise: draws without replacement in proportion to the weights
            rank = np.argsort(-(2.0 * predicted + random.gumbel(size=predicted.size)), kind="stable")
            drawn = np.concatenate([drawn, candidates[rank[:n_focused]]])
        return drawn[random.permutation(self.n)]

    def _candidates(self, random: np.random.Generator, n: int) -> Float[np.ndarray, "row param"]:
        n_prior = round(self.prior_fraction * n)
        parts = ((self.wide, n - n_prior), (self.prior, n_prior))
        return np.concatenate([points(space, random.random((count, len(space)))) for space, count in parts])

    def _predict(
        self,
        theta: Float[np.ndarray, "row param"],
        error: Float[np.ndarray, " row"],
        candidates: Float[np.ndarray, "candidate param"],
    ) -> Float[np.ndarray, " candidate"]:
        """Logarithms of the errors of candidates, within those that were seen."""
        seen = np.log(np.asarray(error, float) + np.finfo(np.float32).tiny)
        known, wanted = (
            polynomials(np.asarray(_cube(self.wide, jnp.asarray(p)), float)) for p in (theta, candidates)
        )
        size = known.shape[1]
        gram = known.T @ known / len(known) + _RIDGE * np.eye(size)
        coefficients = np.linalg.solve(gram, known.T @ (seen - seen.mean()) / len(known))
        predicted: Float[np.ndarray, " candidate"] = np.clip(
            wanted @ coefficients + seen.mean(), seen.min(), seen.max()
        )
        return predicted


def polynomials(u: Float[np.ndarray, "row param"]) -> Float[np.ndarray, "row term"]:
    """Legendre polynomials of every coordinate and products of two coordinates, of about unit variance."""
    x = 2.0 * u - 1.0
    single = [
        np.sqrt(2.0 * degree + 1.0) * np.polynomial.legendre.Legendre.basis(degree)(x)
        for degree in range(1, _DEGREE + 1)
    ]
    first, second = np.triu_indices(x.shape[1], k=1)
    return np.hstack([*single, 3.0 * x[:, first] * x[:, second]])


@partial(jax.jit, static_argnums=0)
def _cube(space: ParameterSpace, theta: Float[Array, "row param"]) -> Float[Array, "row param"]:
    cube: Float[Array, "row param"] = jax.vmap(space.to_unit_cube)(theta)
    return cube
