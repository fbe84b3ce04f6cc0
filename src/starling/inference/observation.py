"""What was observed of galaxies: fluxes, errors and what is known beforehand. One galaxy, or a leading axis of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from starling.forward import ForwardModel


class Observation(NamedTuple):
    """Photometry of one galaxy, or of many with a leading galaxy axis on every array.

    ``flux`` and ``flux_err`` are maggies. ``mask`` is True where a band is used; what stands in an unused band, NaN
    included, never matters. Where ``upper_limit`` is True, ``flux`` is the limit and ``flux_err`` its 1-sigma width.
    ``fixed`` gives the parameters that are known, redshift above all: name -> value (per galaxy).
    """

    flux: Float[Array, "*galaxy band"]
    flux_err: Float[Array, "*galaxy band"]
    mask: Bool[Array, "*galaxy band"]
    upper_limit: Bool[Array, "*galaxy band"]
    fixed: dict[str, Float[Array, "*galaxy"]]


def observe(
    flux: ArrayLike,
    flux_err: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    upper_limit: ArrayLike | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
) -> Observation:
    """An ``Observation`` from arrays [band] or [galaxy, band], maggies.

    Without a ``mask``, bands with a finite flux and a finite positive error are used; without ``upper_limit`` none is
    one. Raises ValueError when shapes do not fit together.
    """
    values, errors = np.asarray(flux, float), np.asarray(flux_err, float)
    good = (
        np.isfinite(values) & np.isfinite(errors) & (errors > 0) if mask is None else np.asarray(mask, bool)
    )
    limits = np.zeros(values.shape, bool) if upper_limit is None else np.asarray(upper_limit, bool)
    for name, array in (("flux_err", errors), ("mask", good), ("upper_limit", limits)):
        if array.shape != values.shape:
            raise ValueError(
                f"{name} has shape {array.shape}, flux has {values.shape}: give both [galaxy, band]"
            )
    known: dict[str, Array] = {}
    for name, given in (fixed or {}).items():
        value = np.asarray(given, float)
        if value.shape != values.shape[:-1]:
            raise ValueError(
                f"fixed[{name!r}] has shape {value.shape}: give one value per galaxy, shape {values.shape[:-1]}"
            )
        known[name] = jnp.asarray(value, jnp.float32)
    return Observation(
        jnp.asarray(values, jnp.float32),
        jnp.asarray(errors, jnp.float32),
        jnp.asarray(good),
        jnp.asarray(limits),
        known,
    )


def stack(observations: Sequence[Observation]) -> Observation:
    """One batch from single galaxies; ValueError unless all fix the same parameters and have the same bands."""
    if not observations:
        raise ValueError("no galaxies to stack")
    names = {tuple(sorted(one.fixed)) for one in observations}
    if len(names) > 1:
        raise ValueError(
            f"all galaxies of a batch must fix the same parameters, got {sorted(names)}: split the batch"
        )
    shapes = {one.flux.shape for one in observations}
    if len(shapes) > 1:
        raise ValueError(
            f"all galaxies of a batch need the same bands (mask the missing ones), got shapes {shapes}"
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *observations)


def take(observations: Observation, index: int | Sequence[int] | np.ndarray) -> Observation:
    """The galaxies of a batch at these positions; repeats pad a batch to a fixed size."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[np.asarray(index)], observations)


def check(observations: Observation, forward_model: ForwardModel) -> list[str]:
    """Per galaxy what makes it unfit to be fitted, in words; empty where nothing does.

    Raises ValueError where the batch as a whole does not belong to the forward model: band count, unknown fixed names.
    """
    if observations.flux.ndim != 2:
        raise ValueError(
            f"fluxes must be [galaxy, band], got shape {observations.flux.shape}: use stack([...])"
        )
    if observations.flux.shape[1] != len(forward_model.bands):
        raise ValueError(
            f"the observations have {observations.flux.shape[1]} bands, the forward model has"
            f" {len(forward_model.bands)}: call forward_model.select(bands) first"
        )
    if not forward_model.space.free(observations.fixed):
        raise ValueError("every parameter is fixed: nothing to fit")
    flux, error, mask = (np.asarray(leaf) for leaf in observations[:3])
    problems: list[list[str]] = [[] for _ in flux]

    def note(rows: np.ndarray, sentence: str) -> None:
        for row in np.flatnonzero(rows):
            bands = np.asarray(forward_model.bands)[where[row]] if (where := bad).ndim == 2 else ()
            problems[row].append(sentence.format(", ".join(bands)))

    bad = ~mask.any(axis=1)
    note(bad, "no band is used, so the posterior is the prior")
    bad = mask & ~np.isfinite(flux)
    note(bad.any(axis=1), "the flux is not finite in {}")
    bad = mask & ~(np.isfinite(error) & (error > 0))
    note(bad.any(axis=1), "the error is not a positive number in {}")
    for name, value in observations.fixed.items():
        low, high = (float(end[forward_model.space.index(name)]) for end in forward_model.space.bounds)
        bad = ~((np.asarray(value) >= low) & (np.asarray(value) <= high))
        note(bad, f"the fixed {name} lies outside {low:g} to {high:g}")
    return ["; ".join(words) for words in problems]
