"""A proposal that adapts itself to ONE galaxy, in the coordinates in which the flow is a standard normal.

Where a flow is too wide, or a galaxy is unlike its training, the posterior is still a compact, bent lump in those
coordinates. Rounds of draws fit a mixture of Student-t components to it: every round moves the components by one step
of weighted expectation-maximisation over all draws so far (population Monte Carlo; Cappe et al. 2008), their weights
tempered until they are worth a given number of draws (Koblents & Miguez 2015). In the end every draw of every round
counts, its weight taken over the mean of all the proposals that it could have come from (adaptive multiple importance
sampling; Cornuet et al. 2012). The flow itself stays a component, whose tails the proposal keeps.

A proposal that was fitted to a draw is too dense just there: weights over it are too small, evidences too low (by 0.2
in the mean), posteriors too narrow (by 3%) and k-hat too good. So there are two halves of draws and two proposals: each
is fitted to the draws of its half, and makes those of the other half.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Bool, Float, Int

from starling.amortised.reliability import NEVER, Reliability, k_hat_error, reliability

_FREEDOM = 30.0  # degrees of freedom of the components: their own tails cost draws, the flow's do not
_OF_FLOW = 0.1  # share of the flow in the mixture
_BISECTIONS = 20
_RIDGE = 1e-4
_APART = 0.3  # of the first components' means from the flow's
_FEWEST = 2.0  # draws' worth of a component that is still moved


Evaluate = Callable[[Array, Float[Array, "free draw"]], tuple[Float[Array, " draw"], Any]]


class Mixture(NamedTuple):
    """Student-t components with these means and lower Cholesky factors of their scale matrices.

    ``log_share`` has one more entry, the last, for the flow's own normal.
    """

    mean: Float[Array, "component free"]
    factor: Float[Array, "component free free"]
    log_share: Float[Array, " components_and_flow"]


class Adaptation(NamedTuple):
    """``rounds`` of ``n`` draws each; their weights are tempered until they are worth the share ``worth`` of one."""

    rounds: int = 10
    n: int = 2000
    worth: float = 0.125


def of_flow(key: Array, n_free: int, n_components: int) -> Mixture:
    """Two proposals (leading axis) with components as wide as the flow, a little apart from each other."""
    mean = _APART * jax.random.normal(key, (2, n_components, n_free))
    share = np.append(np.full(n_components, (1.0 - _OF_FLOW) / n_components), _OF_FLOW)
    factor = jnp.broadcast_to(jnp.eye(n_free), (2, n_components, n_free, n_free))
    return Mixture(mean, factor, jnp.broadcast_to(jnp.log(jnp.asarray(share)), (2, share.size)))


def moments(mixture: Mixture) -> tuple[Float[Array, " free"], Float[Array, "free free"]]:
    """Mean, and lower Cholesky factor of the covariance, of the components together."""
    share = jax.nn.softmax(mixture.log_share[:-1])
    mean = share @ mixture.mean
    spread = mixture.mean - mean
    own = mixture.factor @ mixture.factor.swapaxes(1, 2) * (_FREEDOM / (_FREEDOM - 2.0))
    covariance = jnp.einsum("k,kij->ij", share, own + spread[:, :, None] * spread[:, None, :])
    return mean, jnp.linalg.cholesky(covariance)


def draw(key: Array, mixture: Mixture, n: int) -> Float[Array, "free draw"]:
    """Draws of a mixture."""
    keys = jax.random.split(key, 3)
    which = jax.random.categorical(keys[0], mixture.log_share, shape=(n,))
    normal = jax.random.normal(keys[1], (mixture.mean.shape[1], n))
    chi2 = 2.0 * jax.random.gamma(keys[2], 0.5 * _FREEDOM, (n,))
    of_each = mixture.factor @ (normal * jnp.sqrt(_FREEDOM / chi2)) + mixture.mean[:, :, None]
    both = jnp.concatenate([of_each, normal[None]])
    return jnp.take_along_axis(both, which[None, None, :], axis=0)[0]


class _Densities(NamedTuple):
    """Of draws: log density of every component times its share, and squared distances in its scale."""

    log_part: Float[Array, "components_and_flow draw"]
    distance: Float[Array, "component draw"]


def _densities(mixture: Mixture, z: Float[Array, "free draw"]) -> _Densities:
    n = z.shape[0]

    def component(mean: Array, factor: Array) -> tuple[Array, Array]:
        white = solve_triangular(factor, jnp.eye(n), lower=True) @ (z - mean[:, None])
        distance = jnp.sum(white**2, axis=0)
        constant = (
            gammaln(0.5 * (_FREEDOM + n)) - gammaln(0.5 * _FREEDOM) - 0.5 * n * np.log(_FREEDOM * np.pi)
        )
        constant -= jnp.sum(jnp.log(jnp.diag(factor)))
        return constant - 0.5 * (_FREEDOM + n) * jnp.log1p(distance / _FREEDOM), distance

    students, distance = jax.vmap(component)(mixture.mean, mixture.factor)
    normal = -0.5 * jnp.sum(z**2, axis=0) - 0.5 * n * np.log(2.0 * np.pi)
    return _Densities(jnp.concatenate([students, normal[None]]) + mixture.log_share[:, None], distance)


def log_density(mixture: Mixture, z: Float[Array, "free draw"]) -> Float[Array, " draw"]:
    """Log density of a mixture."""
    return logsumexp(_densities(mixture, z).log_part, axis=0)


def temper(
    log_weight: Float[Array, " draw"], wanted: float
) -> tuple[Float[Array, " draw"], Float[Array, ""]]:
    """Normalised weights to the highest power up to 1 at which they are worth ``wanted`` draws, and that power.

    A draw with a weight of zero (-inf) has none at any power.
    """
    there = jnp.isfinite(log_weight)
    log_weight = jnp.where(there, log_weight - jnp.max(jnp.where(there, log_weight, -jnp.inf)), -jnp.inf)

    def tempered(power: Array) -> Array:
        return jnp.where(there, jnp.exp(power * jnp.where(there, log_weight, 0.0)), 0.0)

    def worth(power: Array) -> Array:
        w = tempered(power)
        return jnp.sum(w) ** 2 / jnp.sum(w**2)

    def halve(ends: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = ends
        middle = 0.5 * (low + high)
        enough = worth(middle) >= wanted
        return (jnp.where(enough, middle, low), jnp.where(enough, high, middle)), None

    (low, _), _ = jax.lax.scan(halve, (jnp.zeros(()), jnp.ones(())), None, length=_BISECTIONS)
    power = jnp.where(worth(jnp.ones(())) >= wanted, 1.0, low)
    w = tempered(power)
    return w / jnp.sum(w), power


class _Sums(NamedTuple):
    """What a step of expectation-maximisation needs of weighted draws, for every component; places from its mean."""

    share: Float[Array, " component"]
    near: Float[Array, " component"]
    first: Float[Array, "component free"]
    second: Float[Array, "component free free"]


def _sums(mixture: Mixture, z: Float[Array, "free draw"], weight: Float[Array, " draw"]) -> _Sums:
    found = _densities(mixture, z)
    students = found.log_part[:-1]
    belongs = jnp.exp(students - logsumexp(students, axis=0)) * weight
    near = belongs * (_FREEDOM + z.shape[0]) / (_FREEDOM + found.distance)

    def moments(near: Array, mean: Array) -> tuple[Array, Array]:
        centred = z - mean[:, None]
        return centred @ near, (centred * near) @ centred.T

    first, second = jax.vmap(moments)(near, mixture.mean)
    return _Sums(jnp.sum(belongs, axis=1), jnp.sum(near, axis=1), first, second)


def _no_sums(mixture: Mixture) -> _Sums:
    nothing = jnp.zeros(mixture.mean.shape[0])
    return _Sums(nothing, nothing, jnp.zeros_like(mixture.mean), jnp.zeros_like(mixture.factor))


def _moved(mixture: Mixture, sums: _Sums, worth: Float[Array, ""]) -> Mixture:
    """One step of expectation-maximisation over draws worth so many. A component that has no draws stays.

    The covariance of a component counts with as many draws as there are dimensions beside the weighted ones.
    """
    n_free = mixture.mean.shape[1]
    shift = sums.first / jnp.maximum(sums.near, 1e-9)[:, None]
    mean = mixture.mean + shift

    def scale(sums: _Sums, shift: Array, before: Array) -> Array:
        scatter = sums.second - sums.near * jnp.outer(shift, shift)
        return (scatter * worth + n_free * (before @ before.T)) / (sums.share * worth + n_free)

    scales = jax.vmap(scale)(sums, shift, mixture.factor) + _RIDGE * jnp.eye(n_free)
    factor = jnp.linalg.cholesky(scales)
    good = jnp.all(jnp.isfinite(factor), axis=(1, 2)) & jnp.all(jnp.isfinite(mean), axis=1)
    good &= sums.share * worth > _FEWEST
    raised = sums.share + 1e-2
    shares = jnp.append((1.0 - _OF_FLOW) * raised / jnp.sum(raised), _OF_FLOW)
    return Mixture(
        jnp.where(good[:, None], mean, mixture.mean),
        jnp.where(good[:, None, None], factor, mixture.factor),
        jnp.where(jnp.all(jnp.isfinite(shares)), jnp.log(shares), mixture.log_share),
    )


class Rounds(NamedTuple):
    """The draws of all rounds, what they were evaluated to, their log weights, and the proposals of the last round.

    There is room for all rounds; ``made`` are the draws of those that there were.
    """

    values: Any  # with the draws as leading axis
    log_weight: Float[Array, " draw"]
    made: Bool[Array, " draw"]
    halves: Mixture  # leading axis: two


class _State(NamedTuple):
    z: Float[Array, "*half free draw"]
    log_target: Float[Array, "*half draw"]
    log_sum: Float[Array, "*half draw"]  # of the densities of all proposals so far


def _round(
    state: _State,
    proposals: Mixture,
    own: Mixture,
    key: Array,
    number: Array,
    evaluate: Evaluate,
    plan: Adaptation,
) -> tuple[_State, Mixture, Any]:
    """Draws of one half, from the other half's proposals (leading axis: round), and its own next one."""
    n = plan.n // 2

    def of_round(values: Array, one: Array | int) -> Array:
        return jax.lax.dynamic_slice_in_dim(values, one * n, n, -1)

    def with_round(values: Array, new: Array, one: Array | int) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(values, new, one * n, -1)

    def at(mixtures: Mixture, one: Array) -> Mixture:
        return jax.tree.map(lambda leaf: leaf[one], mixtures)

    key_draw, key_target = jax.random.split(key)
    newest = at(proposals, number)
    z = draw(key_draw, newest, n)
    log_target, values = evaluate(key_target, z)

    # of the sum of all proposals so far, at the draws so far: the new proposal at the old draws, all at the new
    def at_old(one: Array, log_sum: Array) -> Array:
        value = log_density(newest, of_round(state.z, one))
        return with_round(log_sum, jnp.logaddexp(of_round(log_sum, one), value), one)

    def at_new(one: Array, log_sum: Array) -> Array:
        return jnp.logaddexp(log_sum, log_density(at(proposals, one), z))

    mine = jax.lax.fori_loop(0, number + 1, at_new, jnp.full(n, -jnp.inf))
    log_sum = jax.lax.fori_loop(0, number, at_old, state.log_sum)
    state = _State(
        with_round(state.z, z, number),
        with_round(state.log_target, log_target, number),
        with_round(log_sum, mine, number),
    )
    tempered, _ = temper(_log_weight(state), plan.worth * plan.n)
    weight = jnp.where(jnp.isfinite(tempered), tempered, 0.0)
    last = at(own, number)

    def add(one: Array, sums: _Sums) -> _Sums:
        more = _sums(last, of_round(state.z, one), of_round(weight, one))
        return jax.tree.map(jnp.add, sums, more)

    sums = jax.lax.fori_loop(0, number + 1, add, _no_sums(last))
    return state, _moved(last, sums, 1.0 / jnp.sum(weight**2)), values


def adapt(
    key: Array,
    evaluate: Evaluate,
    start: Mixture,
    plan: Adaptation,
    until: Reliability = NEVER,
) -> Rounds:
    """Rounds of draws from two proposals (leading axis of ``start``) that follow them, each the OTHER half's draws.

    They end early once all weights together are worth more draws than ``until`` says, with a k-hat that is below its
    own by more than an error.
    ``evaluate`` takes a key of its own and draws, and gives their log densities and anything else of them (leading
    axis: draw).
    """
    n_free, n, rounds = start.mean.shape[-1], plan.n // 2, plan.rounds
    total = rounds * n

    def one_half(state: _State, proposals: Mixture, own: Mixture, key: Array, number: Array) -> Any:
        return _round(state, proposals, own, key, number, evaluate, plan)

    def step(now: _Progress) -> _Progress:
        number = now.number
        keys = jax.random.split(jax.random.fold_in(key, number), 2)
        # the proposals of this round and those before it; one place more, for those that come out of the last
        others = jax.tree.map(lambda leaf: leaf[::-1, :rounds], now.mixtures)
        own = jax.tree.map(lambda leaf: leaf[:, :rounds], now.mixtures)
        states, moved, values = jax.vmap(one_half, in_axes=(0, 0, 0, 0, None))(
            now.states, others, own, keys, number
        )

        def follow(of_all: Array, one: Array) -> Array:
            return jax.lax.dynamic_update_index_in_dim(of_all, one, number + 1, 1)

        def keep(of_all: Array, some: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(of_all, some, number * n, 1)

        made = 2 * n * (number + 1)
        found = reliability(_log_weight(states).reshape(-1), made)
        return _Progress(
            number + 1,
            states,
            jax.tree.map(follow, now.mixtures, moved),
            jax.tree.map(keep, now.values, values),
            jnp.logical_and(
                found.ess >= until.ess, found.k_hat + k_hat_error(found.k_hat, made) < until.k_hat
            ),
        )

    _, described = jax.eval_shape(evaluate, key, jax.ShapeDtypeStruct((n_free, n), start.mean.dtype))
    never = jnp.full((2, total), -jnp.inf)
    first = _Progress(
        jnp.zeros((), int),
        _State(jnp.zeros((2, n_free, total)), never, never),
        jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], rounds + 1, axis=1), start),
        jax.tree.map(lambda leaf: jnp.zeros((2, total, *leaf.shape[1:]), leaf.dtype), described),
        jnp.zeros((), bool),
    )
    last = jax.lax.while_loop(lambda now: (now.number < rounds) & ~now.enough, step, first)
    made = jnp.broadcast_to(jnp.arange(total) < n * last.number, (2, total))
    return Rounds(
        jax.tree.map(lambda leaf: leaf.reshape(2 * total, *leaf.shape[2:]), last.values),
        _log_weight(last.states).reshape(-1) + jnp.log(last.number),
        made.reshape(-1),
        jax.tree.map(lambda leaf: leaf[:, last.number], last.mixtures),
    )


class _Progress(NamedTuple):
    number: Int[Array, ""]  # of the next round
    states: _State  # leading axis: half
    mixtures: Mixture  # leading axes: half, round
    values: Any  # leading axes: half, draw
    enough: Bool[Array, ""]


def _log_weight(state: _State) -> Float[Array, "*half draw"]:
    value = state.log_target - state.log_sum
    return jnp.where(jnp.isfinite(state.log_target) & jnp.isfinite(value), value, -jnp.inf)


def both(halves: Mixture) -> Mixture:
    """The proposals of the two halves as one."""
    n = halves.mean.shape[1]
    of_flow = jnp.mean(jnp.exp(halves.log_share[:, -1]))
    shares = jnp.append(0.5 * jnp.exp(halves.log_share[:, :n]).reshape(-1), of_flow)
    mean, factor = (leaf.reshape(2 * n, *leaf.shape[2:]) for leaf in (halves.mean, halves.factor))
    return Mixture(mean, factor, jnp.log(shares))
