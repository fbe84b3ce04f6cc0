"""Parrot's files (Mathews et al. 2023, github.com/elijahmathews/MathewsEtAl2023): networks to arsinh magnitudes.

``read_parrot`` tells the two layouts apart. A single emulator is a .npy array of 6 objects: filter -> number from 1;
mean and sigma of the inputs; weights [out, in] and biases; mean and sigma of the outputs; statistics of the residuals
[filter, 11]; ranges of the parameters. A stitched one is a dictionary, with filters numbered from 0 and one network
per domain of redshift. Activations are GELU in its tanh form, as Flux and JAX have it.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from starling.published.files import read_object_npy
from starling.published.items import Items, describe

# What the inputs are, in order, by Prospector's names.
PARAMETERS = (
    *("logmass", "logzsol"),
    *(f"logsfr_ratios_{i}" for i in range(1, 7)),
    *("dust2", "dust_index", "dust1_fraction", "log_fagn", "log_agn_tau", "gas_logz", "zred"),
    *("duste_qpah", "duste_umin", "log_duste_gamma"),
)
# The joint prior of mass and metallicity goes by one name in the authors' code.
_ALIASES = {"massmet_1": "logmass", "massmet_2": "logzsol"}
_SINGLE = ("filters", "inputs", "layers", "outputs", "residuals", "parameter_ranges")
_STITCHED = (
    *("filters", "filter_redir", "parameters", "parameter_limits", "zred_index", "emulator_limits", "nets"),
    *("resid_quants", "resid_quants_labels"),
)
_STATISTICS = 11  # quantiles at -4 to +4 sigma, mean, standard deviation
_STD = "std"


class ParrotNet(NamedTuple):
    """One network as arrays: kernels are [in, out]; float64."""

    input_mean: np.ndarray
    input_sigma: np.ndarray
    kernels: list[np.ndarray]
    biases: list[np.ndarray]
    output_mean: np.ndarray
    output_sigma: np.ndarray


class Parrot(NamedTuple):
    """What a file holds. ``sigma_mag`` [filter] is the standard deviation of the residuals on the authors' test set.

    ``overlaps`` [net - 1, 2] has the centre and the width in redshift of each overlap of neighbouring networks.
    """

    filters: tuple[str, ...]
    nets: list[ParrotNet]
    overlaps: np.ndarray
    limits: np.ndarray
    sigma_mag: np.ndarray


def read_parrot(path: Path | str) -> Parrot:
    """A Parrot file, single or stitched; ValueError names the file and the item. Runs no code of the file."""
    path = Path(path)
    content = read_object_npy(path)
    if isinstance(content, dict):
        missing = [name for name in _STITCHED if name not in content]
        if missing:
            raise ValueError(f"{path} is no stitched Parrot emulator: it lacks {', '.join(missing)}")
        return _stitched(Items(path, content))
    if isinstance(content, np.ndarray) and content.shape == (len(_SINGLE),):
        return _single(Items(path, dict(zip(_SINGLE, content, strict=True))))
    raise ValueError(
        f"{path} is no Parrot emulator: it holds {describe(content)}, not 6 objects (single) or a dictionary (stitched)"
    )


def _single(items: Items) -> Parrot:
    filters = _filters(items, "filters", 1)
    net = (items.values["inputs"], items.values["outputs"], *items.sequence("layers", 2, "lists"))
    residuals = items.array("residuals", (len(filters), _STATISTICS))
    return Parrot(
        filters,
        [_net(Items(items.path, {"net": net}), len(filters))],
        np.zeros((0, 2)),
        _limits(items, "parameter_ranges"),
        residuals[:, -1],
    )


def _stitched(items: Items) -> Parrot:
    filters = _filters(items, "filter_redir", 0)
    if [str(name) for name in items.sequence("filters", len(filters), "names")] != list(filters):
        raise items.fail("filters", "is in another order than filter_redir")
    names = [
        _ALIASES.get(str(name), str(name)) for name in items.sequence("parameters", len(PARAMETERS), "names")
    ]
    if tuple(names) != PARAMETERS:
        raise items.fail("parameters", f"should be {', '.join(PARAMETERS)}, in this order")
    if items.integer("zred_index") != PARAMETERS.index("zred"):
        raise items.fail("zred_index", "is not the place of zred among the parameters")
    nets = items.values["nets"]
    if not isinstance(nets, list | tuple | np.ndarray) or len(nets) < 2:
        raise items.fail("nets", f"should be two networks or more, not {describe(nets)}")
    read = [_net(Items(items.path, {f"nets[{i}]": net}), len(filters)) for i, net in enumerate(nets)]
    if len({tuple(kernel.shape for kernel in net.kernels) for net in read}) != 1:
        raise items.fail("nets", "are not all of one architecture")
    return Parrot(
        filters,
        read,
        _overlaps(items, len(read)),
        _limits(items, "parameter_limits"),
        _sigma(items, filters, len(read)),
    )


def _sigma(items: Items, filters: tuple[str, ...], n_nets: int) -> np.ndarray:
    """Standard deviation of the residuals: the median over the networks, as the authors take it."""
    labels = items.values["resid_quants_labels"]
    names = [str(label) for label in labels] if isinstance(labels, list | tuple | np.ndarray) else []
    if _STD not in names:
        raise items.fail(
            "resid_quants_labels", f"should be a list with {_STD!r} in it, not {describe(labels)}"
        )
    statistics = items.array("resid_quants", (len(filters), len(names), n_nets))
    return np.median(statistics[:, names.index(_STD)], axis=1)


def _filters(items: Items, name: str, first: int) -> tuple[str, ...]:
    """Names of the filters in the order of the outputs, which the dictionary numbers from ``first``."""
    numbers = items.values[name]
    if not isinstance(numbers, dict) or not numbers:
        raise items.fail(name, f"should be a dictionary of filters, not {describe(numbers)}")
    by_number = {number: str(key) for key, number in numbers.items() if isinstance(number, int | np.integer)}
    wanted = range(first, first + len(numbers))
    if sorted(by_number) != list(wanted):
        raise items.fail(name, f"should number its {len(numbers)} filters from {first} on, each once")
    return tuple(by_number[number] for number in wanted)


def _limits(items: Items, name: str) -> np.ndarray:
    """Lowest and highest value of each parameter in the training set."""
    rows = items.sequence(name, len(PARAMETERS), "ranges")
    limits = np.stack([items.array(f"{name}[{i}]", (2,), np.asarray(row)) for i, row in enumerate(rows)])
    if np.any(limits[:, 0] >= limits[:, 1]):
        raise items.fail(name, "has a lower end that is not below the upper one")
    return limits


def _overlaps(items: Items, n_nets: int) -> np.ndarray:
    """Centre and width of every overlap, from rows of (centre, width) on the left and on the right of each network."""
    rows = items.sequence("emulator_limits", n_nets, "rows of four numbers")
    limits = [items.array(f"emulator_limits[{i}]", (4,), np.asarray(row)) for i, row in enumerate(rows)]
    right, left = np.stack(limits)[:-1, 2:], np.stack(limits)[1:, :2]
    if not np.allclose(left, right, atol=1e-6) or np.any(right[:, 1] <= 0):
        raise items.fail(
            "emulator_limits", "should give neighbouring networks the same overlaps, of a width above 0"
        )
    low, high = right[:, 0] - 0.5 * right[:, 1], right[:, 0] + 0.5 * right[:, 1]
    if np.any(low[1:] < high[:-1] - 1e-6):
        raise items.fail(
            "emulator_limits", "makes more than two networks overlap, or networks that do not ascend"
        )
    return right


def _net(items: Items, n_filters: int) -> ParrotNet:
    """A network of (inputs, outputs, weights, biases), with or without the name of its activation after them."""
    (name,) = items.values
    net = items.values[name]
    if not isinstance(net, list | tuple | np.ndarray) or len(net) not in (4, 5):
        raise items.fail(name, f"should be inputs, outputs, weights and biases, not {describe(net)}")
    if len(net) == 5 and "gelu" not in str(net[4]).lower():
        raise items.fail(name, f"has the activation {str(net[4])[:40]!r}; only GELU is known")
    inputs, outputs, weights, biases = (
        _pair(items, name, part, n) for part, n in zip(net, (2, 2, 0, 0), strict=False)
    )
    kernels = _kernels(items, name, weights, len(biases), n_filters)
    n_inputs = len(PARAMETERS)
    vectors = [
        items.vector(f"{name}.{what}", n, value)
        for what, n, value in (
            ("input mean", n_inputs, inputs[0]),
            ("input sigma", n_inputs, inputs[1]),
            ("output mean", n_filters, outputs[0]),
            ("output sigma", n_filters, outputs[1]),
        )
    ]
    if np.any(vectors[1] == 0.0):
        raise items.fail(name, "has an input sigma of zero")
    named = zip(biases, kernels, strict=True)
    vectors_b = [
        items.vector(f"{name}.biases[{i}]", k.shape[1], np.asarray(b)) for i, (b, k) in enumerate(named)
    ]
    return ParrotNet(vectors[0], vectors[1], kernels, vectors_b, vectors[2], vectors[3])


def _pair(items: Items, name: str, part: Any, n: int) -> list[Any]:
    if not isinstance(part, list | tuple | np.ndarray) or len(part) < 2 or (n and len(part) != n):
        raise items.fail(name, f"should have lists of arrays in it, not {describe(part)}")
    return list(part)


def _kernels(items: Items, name: str, weights: list[Any], n_layers: int, n_filters: int) -> list[np.ndarray]:
    """Weights turned to [in, out], each fitting the one before."""
    if len(weights) != n_layers:
        raise items.fail(name, f"has {len(weights)} arrays of weights and {n_layers} of biases")
    kernels, before = [], len(PARAMETERS)
    for i, array in enumerate(weights):
        n_out = n_filters if i == n_layers - 1 else (array.shape[0] if np.ndim(array) == 2 else -1)
        kernels.append(items.array(f"{name}.weights[{i}]", (n_out, before), array).T)
        before = n_out
    if len({kernel.shape[1] for kernel in kernels[:-1]}) != 1:
        raise items.fail(name, "has hidden layers of different widths; equally wide ones are read")
    return kernels
