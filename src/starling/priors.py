"""One-dimensional priors with closed-form quantiles: the distributions that the SED models need.

A prior is a frozen value with methods that take and return JAX arrays of any one shape and are differentiable:
``cdf(x)``, ``icdf(p)`` (the quantile function), ``log_prob(x)`` (normalised on ``[low, high]``, minus infinity outside)
and ``to_dict()`` (JSON-able). Its fields are numbers, or arrays that broadcast against x. ``MassMetallicity`` is
conditional: it becomes a prior once the values that it ``depends_on`` are given.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike
from scipy.special import ndtr as constant_ndtr

_LOG_SQRT_2PI = 0.9189385332046727


@runtime_checkable
class Prior(Protocol):
    """A distribution on the interval [low, high]; in the units of its parameter."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    def cdf(self, x: ArrayLike) -> Array: ...
    def icdf(self, p: ArrayLike) -> Array: ...
    def log_prob(self, x: ArrayLike) -> Array: ...
    def to_dict(self) -> dict[str, Any]: ...


@runtime_checkable
class ConditionalPrior(Protocol):
    """A prior whose shape depends on other parameters, all of which come earlier in the space."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def depends_on(self) -> tuple[str, ...]: ...
    def given(self, values: Mapping[str, Array]) -> Prior: ...
    def to_dict(self) -> dict[str, Any]: ...


def _check_interval(prior: Any) -> None:
    if not np.all(np.less(prior.low, prior.high)):
        raise ValueError(
            f"{type(prior).__name__}: low ({prior.low}) must be below high ({prior.high}); swap or widen the two"
        )


def _inside(x: ArrayLike, low: Any, high: Any, log_density: Array) -> Array:
    x = jnp.asarray(x)
    return jnp.where((x >= low) & (x <= high), log_density, -jnp.inf)


def _open_unit(p: Array) -> Array:
    """Keep a probability off 0 and 1, where quantile functions of unbounded distributions have no gradient."""
    info = jnp.finfo(p.dtype)
    return jnp.clip(p, info.tiny, 1.0 - info.epsneg)


@dataclass(frozen=True)
class Uniform:
    """Constant density on [low, high]."""

    low: Any
    high: Any
    kind: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        _check_interval(self)

    def cdf(self, x: ArrayLike) -> Array:
        return jnp.clip((jnp.asarray(x) - self.low) / (self.high - self.low), 0.0, 1.0)

    def icdf(self, p: ArrayLike) -> Array:
        return self.low + jnp.asarray(p) * (self.high - self.low)

    def log_prob(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return _inside(x, self.low, self.high, jnp.full(x.shape, -jnp.log(self.high - self.low)))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal(mean, sigma) restricted to [low, high]."""

    mean: Any
    sigma: Any
    low: Any
    high: Any
    kind: ClassVar[str] = "truncated_normal"

    def __post_init__(self) -> None:
        _check_interval(self)

    def _limits(self) -> tuple[Array, Array]:
        ends = (self.low - self.mean) / self.sigma, (self.high - self.mean) / self.sigma
        # an erf is a page of the compiled program: constants stay out of it, and two ends share one
        if all(isinstance(end, Array) for end in ends):
            below, above = ndtr(jnp.stack(jnp.broadcast_arrays(*ends)))
            return below, above
        below, above = (
            ndtr(end) if isinstance(end, Array) else jnp.asarray(constant_ndtr(end)) for end in ends
        )
        return below, above

    def cdf(self, x: ArrayLike) -> Array:
        below, above = self._limits()
        z = (jnp.clip(jnp.asarray(x), self.low, self.high) - self.mean) / self.sigma
        return (ndtr(z) - below) / (above - below)

    def icdf(self, p: ArrayLike) -> Array:
        below, above = self._limits()
        z = ndtri(_open_unit(below + jnp.asarray(p) * (above - below)))
        return jnp.clip(self.mean + self.sigma * z, self.low, self.high)

    def log_prob(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        below, above = self._limits()
        z = (x - self.mean) / self.sigma
        return _inside(
            x, self.low, self.high, -0.5 * z**2 - _LOG_SQRT_2PI - jnp.log(self.sigma * (above - below))
        )

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class StudentT2:
    """Student's t with 2 degrees of freedom, centred on 0 with a scale, restricted to [low, high].

    With 2 degrees of freedom both functions are closed: F(t) = 1/2 + t / (2 sqrt(2 + t^2)) and
    t(p) = (2p - 1) / sqrt(2 p (1 - p)).
    """

    scale: Any
    low: Any
    high: Any
    kind: ClassVar[str] = "student_t2"

    def __post_init__(self) -> None:
        _check_interval(self)

    @staticmethod
    def _standard_cdf(t: Array) -> Array:
        return 0.5 + 0.5 * t / jnp.sqrt(2.0 + t**2)

    def _limits(self) -> tuple[Array, Array]:
        return (
            self._standard_cdf(jnp.asarray(self.low / self.scale)),
            self._standard_cdf(jnp.asarray(self.high / self.scale)),
        )

    def cdf(self, x: ArrayLike) -> Array:
        below, above = self._limits()
        t = jnp.clip(jnp.asarray(x), self.low, self.high) / self.scale
        return (self._standard_cdf(t) - below) / (above - below)

    def icdf(self, p: ArrayLike) -> Array:
        below, above = self._limits()
        q = _open_unit(below + jnp.asarray(p) * (above - below))
        return jnp.clip(self.scale * (2.0 * q - 1.0) / jnp.sqrt(2.0 * q * (1.0 - q)), self.low, self.high)

    def log_prob(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        below, above = self._limits()
        t = x / self.scale
        log_density = -1.5 * jnp.log(2.0 + t**2) - jnp.log(self.scale * (above - below))
        return _inside(x, self.low, self.high, log_density)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class PowerLaw:
    """Density proportional to ``((x - low) / (high - low))**(index - 1)``: Beta(index, 1) on [low, high].

    Breaking a stick of N pieces with ``index`` N - 1, N - 2, ..., 1 makes all divisions of it equally likely.
    """

    index: Any
    low: Any = 0.0
    high: Any = 1.0
    kind: ClassVar[str] = "power_law"

    def __post_init__(self) -> None:
        _check_interval(self)

    def cdf(self, x: ArrayLike) -> Array:
        u = jnp.clip((jnp.asarray(x) - self.low) / (self.high - self.low), 0.0, 1.0)
        return u**self.index

    def icdf(self, p: ArrayLike) -> Array:
        return self.low + (self.high - self.low) * _open_unit(jnp.asarray(p)) ** (1.0 / self.index)

    def log_prob(self, x: ArrayLike) -> Array:
        width = self.high - self.low
        u = _open_unit((jnp.asarray(x) - self.low) / width)
        return _inside(x, self.low, self.high, jnp.log(self.index / width) + (self.index - 1.0) * jnp.log(u))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


# Gallazzi et al. (2005), table 2, masses shifted to a Chabrier IMF: log10 M*/Msun, then the 50th, 16th and 84th
# percentile of log10 Z/Zsun.
_GALLAZZI = (
    (8.87, -0.60, -1.11, -0.00),
    (9.07, -0.61, -1.07, -0.00),
    (9.27, -0.65, -1.10, -0.05),
    (9.47, -0.61, -1.03, -0.01),
    (9.68, -0.52, -0.97, 0.05),
    (9.87, -0.41, -0.90, 0.09),
    (10.07, -0.23, -0.80, 0.14),
    (10.27, -0.11, -0.65, 0.17),
    (10.47, -0.01, -0.41, 0.20),
    (10.68, 0.04, -0.24, 0.22),
    (10.87, 0.07, -0.14, 0.24),
    (11.07, 0.10, -0.09, 0.25),
    (11.27, 0.12, -0.06, 0.26),
    (11.47, 0.13, -0.04, 0.28),
    (11.68, 0.14, -0.03, 0.29),
    (11.87, 0.15, -0.03, 0.30),
)


@dataclass(frozen=True)
class MassMetallicity:
    """Truncated normal in log10 Z/Zsun whose mean and width follow Gallazzi et al. (2005) at the given ``logmass``.

    The width is the 84th minus the 16th percentile, twice the observed scatter (Leja et al. 2019); linear
    interpolation in mass, constant outside the table.
    """

    low: float = -1.98
    high: float = 0.19
    kind: ClassVar[str] = "mass_metallicity"
    depends_on: ClassVar[tuple[str, ...]] = ("logmass",)

    def __post_init__(self) -> None:
        _check_interval(self)

    def given(self, values: Mapping[str, Array]) -> TruncatedNormal:
        mass, median, lower, upper = (jnp.asarray(column) for column in zip(*_GALLAZZI, strict=True))
        logmass = jnp.asarray(values["logmass"])
        return TruncatedNormal(
            mean=jnp.interp(logmass, mass, median),
            sigma=jnp.interp(logmass, mass, upper - lower),
            low=self.low,
            high=self.high,
        )

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


_KINDS: dict[str, Callable[..., Any]] = {
    cls.kind: cls for cls in (Uniform, TruncatedNormal, StudentT2, PowerLaw, MassMetallicity)
}


def prior_from_dict(description: Mapping[str, Any]) -> Prior | ConditionalPrior:
    """The prior that ``to_dict`` described. Raises ValueError for an unknown kind or unknown fields."""
    fields = dict(description)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"unknown prior kind {kind!r}; known kinds: {', '.join(sorted(_KINDS))}")
    try:
        return _KINDS[kind](**fields)
    except TypeError as error:
        raise ValueError(f"prior {kind!r}: {error}") from error
