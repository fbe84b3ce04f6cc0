"""Chains that get nowhere are stopped before their time, those that converge slowly are not."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.forward import PROPERTIES
from starling.inference import SamplerSettings, diagnose, fit, observe
from starling.inference.convergence import Thresholds, converged
from starling.inference.hopeless import Standing, why_hopeless
from starling.inference.rounds import multiples
from starling.parameters import Parameter, ParameterSpace
from starling.priors import TruncatedNormal

N_DRAWS = 150
SCALE = 1e-9  # maggies
SPACE = ParameterSpace("bent", tuple(Parameter(n, TruncatedNormal(0.0, 1.0, -9.0, 9.0)) for n in "ab"))


def standings_of(chains: np.ndarray, patience: int, n_draws: int = N_DRAWS) -> list[list[Standing]]:
    """After each round of every galaxy; chains [chain, transition, galaxy] of ``patience`` times ``n_draws``."""
    found: list[list[Standing]] = [[] for _ in range(chains.shape[2])]
    for m in multiples(patience):
        kept = chains[:, m - 1 : m * n_draws : m, :, None]
        now = converged(kept, np.zeros(kept.shape[:3], bool), Thresholds())
        for one, rhat, ess in zip(found, now.rhat, now.ess, strict=True):
            one.append(Standing(m, float(rhat), float(ess)))
    return found


def given_up_at(standings: list[Standing], patience: int) -> int | None:
    """The round in which a galaxy is given up; None where it passes or goes on to the end."""
    for number, now in enumerate(standings, start=1):
        if now.rhat < 1.01 and now.ess >= 1.0:
            return None
        if why_hopeless(standings[:number], patience, N_DRAWS):
            return now.multiple
    return None


def autocorrelated(rho: float, n: int, n_galaxies: int) -> np.ndarray:
    rng = np.random.default_rng(8)
    out = np.empty((4, n, n_galaxies))
    out[:, 0] = rng.normal(size=(4, n_galaxies))
    for i in range(1, n):
        out[:, i] = rho * out[:, i - 1] + np.sqrt(1.0 - rho**2) * rng.normal(size=(4, n_galaxies))
    return out


@pytest.mark.parametrize("patience", [4, 24])
def test_modes_that_no_chain_leaves_are_given_up(patience: int) -> None:
    """Two chains in each of two modes, or three and one."""
    rng = np.random.default_rng(9)
    modes = np.where(np.arange(40) % 2, [[0], [0], [1], [1]], [[0], [0], [0], [1]])[:, None]
    chains = 6.0 * modes + rng.normal(size=(4, patience * N_DRAWS, 40))
    found = [given_up_at(one, patience) for one in standings_of(chains, patience)]
    assert None not in found
    assert max(m for m in found if m) <= max(2, patience // 4)


@pytest.mark.parametrize("rho", [0.9, 0.96])
def test_slow_chains_go_on(rho: float) -> None:
    """Autocorrelation times of 19 and 49, of which 12 and 33 first rounds have 400; R-hat goes up and down."""
    standings = standings_of(autocorrelated(rho, 48 * N_DRAWS, 60), 48)
    assert [given_up_at(one, 48) for one in standings] == [None] * 60
    assert all(one[0].ess < 0.5 for one in standings)
    # the tail ESS is the smaller one of two, and scatters
    assert sum(max(now.ess for now in one) >= 1.0 for one in standings) > 30


def test_the_slowest_chains_that_can_pass_go_on() -> None:
    """An autocorrelation time of 66: 400 is reached at the very end, by some."""
    standings = standings_of(autocorrelated(0.97, 48 * N_DRAWS, 60), 48)
    assert [given_up_at(one, 48) for one in standings] == [None] * 60
    assert any(now.rhat > before.rhat for one in standings for before, now in pairwise(one))


def test_what_has_little_to_go_is_not_given_up() -> None:
    """An ESS that its patience can still bring, a round before which there is none, or the last of all."""
    stays = [Standing(m, 1.3, 0.02) for m in (1, 2, 3, 4)]
    assert "gave up after 2 rounds (1000 transitions): R-hat stays at 1.30" in why_hopeless(stays[:2], 4, 500)
    assert why_hopeless(stays[:2], 16, 500) == ""
    assert why_hopeless(stays[:1], 4, 500) == ""
    assert why_hopeless(stays, 4, 500) == ""
    assert why_hopeless([stays[0], Standing(2, 1.2, 0.02)], 4, 500) == ""
    assert why_hopeless([stays[0], Standing(2, 1.3, 0.03)], 4, 500) == ""


@jax.tree_util.register_pytree_node_class
class BentModel:
    """Bands that see a^2, b, and b + 2 a^2."""

    space, bands = SPACE, ("square", "plain", "bent")

    def tree_flatten(self) -> tuple[tuple[()], None]:
        return (), None

    @classmethod
    def tree_unflatten(cls, _static: None, _leaves: tuple[()]) -> "BentModel":
        return cls()

    @property
    def wave_effective_aa(self) -> jax.Array:
        return jnp.linspace(4e3, 2e4, 3)

    def __call__(self, theta: jax.Array) -> jax.Array:
        a, b = theta
        return SCALE * (3.0 + jnp.stack([a**2, b, b + 2.0 * a**2]))

    def flux_error(self, flux: jax.Array) -> jax.Array:
        return 0.0 * flux

    def properties(self, theta: jax.Array) -> dict[str, jax.Array]:
        sizes = {"sfh": (7,), "sfh_edges_gyr": (8,)}
        return {name: jnp.broadcast_to(theta[0], sizes.get(name, ())) for name in PROPERTIES}

    def select(self, bands: tuple[str, ...]) -> "BentModel":
        assert bands == self.bands
        return self


def test_far_modes_end_early_and_bananas_go_on_until_they_pass() -> None:
    """One batch: a = -2 or 2 with an error of 0.1; and b = 1 - 2 a^2 within 0.3 and 0.5, with a as the prior has it."""
    flux = SCALE * (3.0 + np.array([[4.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    error = SCALE * np.array([[0.4, 0.1, 1.0], [1.0, 1.0, 0.3], [1.0, 1.0, 0.5]])
    mask = np.array([[True, True, False], [False, False, True], [False, False, True]])
    settings = SamplerSettings(
        n_chains=8,
        n_warmup=150,
        n_draws=N_DRAWS,
        mean_steps=4.0,
        target_accept=0.9,
        n_descents=12,
        descent_steps=15,
        patience=64,
        error_floor=0.0,
        model_error="none",
    )
    draws = fit(jax.random.key(0), observe(flux, error, mask=mask, fixed={}), BentModel(), settings=settings)
    found = diagnose(draws)
    assert found.passed.tolist() == [False, True, True], found.flag
    assert draws.every[0] <= 32
    assert max(draws.every[1:]) >= 3
    assert draws.gave_up[1:] == ("", "")
    assert found.flag[0].endswith(draws.gave_up[0])
    assert f"({draws.every[0] * N_DRAWS} transitions): R-hat stays at" in found.flag[0]
    # what was drawn is there: every chain in its mode
    assert draws.theta.shape == (3, 8, N_DRAWS, 2)
    means = draws.theta[0, ..., 0].mean(axis=1)
    np.testing.assert_allclose(np.abs(means), 2.0, atol=0.1)
    assert set(np.sign(means)) == {-1.0, 1.0}
