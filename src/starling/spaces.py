"""The 8-parameter model of optical spectra of Alsing et al. (2020), section 3, as a ``ParameterSpace``.

The star-formation history is a mixture of four histories of fixed shape, the metallicity a sum of two, all functions of
cosmic time x = t / t_univ(z). The bases of the paper come from a factorisation of the Illustris simulation and are not
public; here they are closed forms of the same kind: histories that peak early, in the middle and late, and one that
rises to the present (``sfh_basis``), and a metallicity that grows with time and one that declines
(``metallicity_basis``).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from starling.parameters import Parameter, ParameterSpace
from starling.priors import PowerLaw, Uniform

N_HISTORIES = 4
STICKS = tuple(f"z_fraction_{i}" for i in range(1, N_HISTORIES))
METALS = ("zh_1", "zh_2")
# Gamma distributions in x: (shape, scale), the three that peak; x**6 is the fourth.
_PEAKED = ((2.0, 0.06), (3.0, 0.12), (5.0, 0.14))
_RISING = 6.0


def sfh_basis(x: Float[Array, "*time"]) -> Float[Array, "*time history=4"]:
    """Star-formation rate, not normalised, of each basis history at cosmic time ``x`` (0 to 1); zero at x = 0.

    Three Gamma profiles, ``x**(k - 1) exp(-x / s)``, that peak at 0.06, 0.24 and 0.56 of the age of the universe, and
    ``x**6``.
    """
    x = jnp.clip(x, 0.0, 1.0)[..., None]
    shape, scale = (jnp.asarray(column, x.dtype) for column in zip(*_PEAKED, strict=True))
    peaked = x ** (shape - 1.0) * jnp.exp(-x / scale)
    return jnp.concatenate([peaked, x**_RISING], axis=-1)


def metallicity_basis(x: Float[Array, "*time"]) -> Float[Array, "*time component=2"]:
    """Metallicity components at cosmic time ``x``: one that grows, ``2 x``, and one that declines, ``2 (1 - x)``.

    Metal mass fractions are their sum weighed by ``zh_1`` and ``zh_2``.
    """
    x = jnp.clip(x, 0.0, 1.0)
    return jnp.stack([2.0 * x, 2.0 * (1.0 - x)], axis=-1)


def stick_fractions(sticks: Float[Array, " stick"]) -> Float[Array, " piece"]:
    """Shares of a stick broken as in Prospector's Dirichlet prior: 1 - z1, z1 (1 - z2), ..., z1 z2 ... ; sum 1."""
    kept = jnp.concatenate([jnp.ones(1, sticks.dtype), jnp.cumprod(sticks)])
    return kept * jnp.concatenate([1.0 - sticks, jnp.ones(1, sticks.dtype)])


def desi_bgs(zred: tuple[float, float] = (1e-3, 0.4)) -> ParameterSpace:
    """The DESI model: mass and 8 parameters, of which 4 shares of histories that sum to 1 are 3 here.

    ``zred`` sets the age of the universe (9.5 to 13.7 Gyr for z below 0.4).
    """
    sticks = (
        Parameter(
            name,
            PowerLaw(float(N_HISTORIES - i)),
            rf"$z_{i}$",
            "",
            f"share of the mass that is not in histories 1 to {i} over that not in those before",
        )
        for i, name in enumerate(STICKS, start=1)
    )
    metals = (
        Parameter(name, Uniform(6.9e-5, 7.33e-3), rf"$\gamma_{i}$", "", f"metallicity component {i}")
        for i, name in enumerate(METALS, start=1)
    )
    return ParameterSpace(
        "desi_bgs",
        (
            Parameter(
                "logmass", Uniform(6.0, 12.5), r"$\log M_{\rm formed}$", "log10 Msun", "stellar mass formed"
            ),
            *sticks,
            *metals,
            Parameter(
                "dust2", Uniform(0.0, 3.0), r"$\tau_{\rm ISM}$", "", "optical depth of the dust at 5500 A"
            ),
            Parameter("zred", Uniform(*zred), r"$z$", "", "redshift; sets the age of the universe"),
        ),
    )
