"""Speculator's own files (Alsing et al. 2020, github.com/justinalsing/speculator) as JAX functions.

A file is a pickled list: 18 items for spectra (a network to PCA coefficients of ln spectra), 14 for photometry (a
network to magnitudes). The activation is eq. 8 of the paper, with the file's alphas in the place of beta and its betas
in that of gamma.
"""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.emulators.networks import Architecture, Network, network_from_weights
from starling.published.files import read_pickle
from starling.published.items import Items, describe

_COMMON = ("W", "b", "alphas", "betas", "parameters_shift", "parameters_scale")
SPECTRUM_ITEMS = (
    *_COMMON,
    *("pca_shift", "pca_scale", "log_spectrum_shift", "log_spectrum_scale", "pca_transform_matrix"),
    *("n_parameters", "n_wavelengths", "wavelengths", "n_pcas", "n_hidden", "n_layers", "architecture"),
)
PHOTOMETRY_ITEMS = (
    *_COMMON,
    *("magnitudes_shift", "magnitudes_scale", "n_parameters", "n_filters", "filters", "n_hidden", "n_layers"),
    "architecture",
)


class PublishedNetwork(NamedTuple):
    """A network with the shift and the scale of its inputs; outputs are as the file's users get them."""

    network: Network
    shift: Float[Array, " input"]
    scale: Float[Array, " input"]

    def __call__(self, inputs: Float[Array, " input"]) -> Float[Array, " output"]:
        return self.network((inputs - self.shift) / self.scale).astype(inputs.dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SpeculatorSpectrum:
    """``inputs`` in the file's own units -> ln of the spectrum at ``wave_aa``.

    ``coefficients`` gives the PCA coefficients without their mean, which ``mean`` contains: float32 then rounds what
    varies between galaxies only.
    """

    coefficients: PublishedNetwork
    basis: Float[Array, "pca wave"]
    mean: Float[Array, " wave"]
    wave_aa: Float[Array, " wave"]

    def __call__(self, inputs: Float[Array, " input"]) -> Float[Array, " wave"]:
        product = jnp.matmul(self.coefficients(inputs), self.basis, precision="highest")
        return product + self.mean

    @property
    def n_inputs(self) -> int:
        return self.coefficients.shift.size


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SpeculatorPhotometry:
    """``inputs`` in the file's own units, which it does not name -> magnitudes in ``filters``."""

    magnitudes: PublishedNetwork
    filters: tuple[str, ...] = field(metadata={"static": True})

    def __call__(self, inputs: Float[Array, " input"]) -> Float[Array, " filter"]:
        return self.magnitudes(inputs)


def read_speculator(path: Path | str) -> SpeculatorSpectrum | SpeculatorPhotometry:
    """A Speculator file; ValueError names the file and the item that is wrong. Runs no code of the file."""
    path = Path(path)
    values = read_pickle(path)
    layouts = {len(SPECTRUM_ITEMS): SPECTRUM_ITEMS, len(PHOTOMETRY_ITEMS): PHOTOMETRY_ITEMS}
    if not isinstance(values, list | tuple) or len(values) not in layouts:
        raise ValueError(
            f"{path} is no Speculator file: it holds {describe(values)}, not a list of 18 items (spectra) or 14 "
            "(photometry)"
        )
    names = layouts[len(values)]
    items = Items(path, dict(zip(names, values, strict=True)))
    return _spectrum(items) if names is SPECTRUM_ITEMS else _photometry(items)


def _spectrum(items: Items) -> SpeculatorSpectrum:
    n_wave, n_pca = items.integer("n_wavelengths"), items.integer("n_pcas")
    wave_aa = items.array("wavelengths", (n_wave,))
    if np.any(np.diff(wave_aa) <= 0) or wave_aa[0] <= 0:
        raise items.fail("wavelengths", "should be positive and ascend (Angstrom)")
    matrix = items.array("pca_transform_matrix", (n_pca, n_wave))
    log_scale = items.scale("log_spectrum_scale", (n_wave,))
    mean = items.array("pca_shift", (n_pca,)) @ matrix * log_scale
    coefficients = _network(items, n_pca, items.scale("pca_scale", (n_pca,)), np.zeros(n_pca))
    return SpeculatorSpectrum(
        coefficients,
        basis=jnp.asarray(matrix * log_scale, jnp.float32),
        mean=jnp.asarray(mean + items.array("log_spectrum_shift", (n_wave,)), jnp.float32),
        wave_aa=jnp.asarray(wave_aa, jnp.float32),
    )


def _photometry(items: Items) -> SpeculatorPhotometry:
    n_filters = items.integer("n_filters")
    filters = items.values["filters"]
    names = filters.tolist() if isinstance(filters, np.ndarray) else filters
    if not isinstance(names, list | tuple) or len(names) != n_filters:
        raise items.fail("filters", f"should be a list of {n_filters} names, not {describe(filters)}")
    shift, scale = (
        items.array("magnitudes_shift", (n_filters,)),
        items.scale("magnitudes_scale", (n_filters,)),
    )
    return SpeculatorPhotometry(_network(items, n_filters, scale, shift), tuple(str(name) for name in names))


def _network(items: Items, n_outputs: int, scale: np.ndarray, shift: np.ndarray) -> PublishedNetwork:
    """The network with its outputs scaled and shifted; checks every shape against the file's ``architecture``."""
    n_inputs, hidden = items.integer("n_parameters"), items.integers("n_hidden")
    sizes = (n_inputs, *hidden, n_outputs)
    if items.integers("architecture") != sizes or items.integer("n_layers") != len(sizes) - 1:
        raise items.fail(
            "architecture", f"and n_layers should describe layers of {sizes} units, as the other items do"
        )
    if len(set(hidden)) != 1:
        raise items.fail(
            "n_hidden", f"is {hidden}; networks whose hidden layers are all equally wide are read"
        )
    kernels = items.arrays("W", list(itertools.pairwise(sizes)))
    biases = items.arrays("b", [(n,) for n in sizes[1:]])
    alphas, betas = (items.arrays(name, [(n,) for n in hidden]) for name in ("alphas", "betas"))
    weights = {"head.kernel": kernels[-1] * scale, "head.bias": biases[-1] * scale + shift}
    for i in range(len(hidden)):
        weights |= {
            f"hidden.{i}.linear.kernel": kernels[i],
            f"hidden.{i}.linear.bias": biases[i],
            f"hidden.{i}.activation.beta": alphas[i],
            f"hidden.{i}.activation.gamma": betas[i],
        }
    shape = Architecture(n_inputs, n_outputs, hidden[0], len(hidden), "speculator")
    singles = {name: array.astype(np.float32) for name, array in weights.items()}
    return PublishedNetwork(
        network_from_weights(shape, singles),
        jnp.asarray(items.array("parameters_shift", (n_inputs,)), jnp.float32),
        jnp.asarray(items.scale("parameters_scale", (n_inputs,)), jnp.float32),
    )
