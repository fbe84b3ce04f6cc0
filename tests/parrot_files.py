"""Parrot emulators that the tests write themselves: brightness follows mass exactly, the rest is a random network."""

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from starling.spaces import prospector_alpha

FILTERS = ("spitzer_irac_ch2", "acs_wfc_f606w", "hsc_zpp", "wfc3_ir_f160w", "1d3mm", "herschel_pacs_100")
LIMITS = [(float(low), float(high)) for low, high in zip(*prospector_alpha().bounds, strict=True)]
_WIDTH = 12


class Net(NamedTuple):
    """One network as a file has it: weights are [out, in]."""

    mean: np.ndarray
    sigma: np.ndarray
    weights: list[np.ndarray]
    biases: list[np.ndarray]
    out_mean: np.ndarray
    out_sigma: np.ndarray


def parrot_net(seed: int, n_filters: int = len(FILTERS)) -> Net:
    """Six layers of which the first unit of each carries log mass: GELU is the identity at large values."""
    rng = np.random.default_rng(seed)
    sizes = (18, *(_WIDTH,) * 5, n_filters)
    weights = [0.3 * rng.normal(size=(b, a)) / np.sqrt(a) for a, b in pairwise(sizes)]
    for weight in weights:
        weight[:, 0] = 0.0
    for weight in weights[:-1]:
        weight[0] = 0.0
        weight[0, 0] = 1.0
    weights[-1][:, 0] = -2.5
    biases = [0.1 * rng.normal(size=b) for b in sizes[1:]]
    for bias in biases[:-1]:
        bias[0] = 0.0
    biases[0][0] = 10.0  # 16 and more: far into the linear part
    mean, sigma = np.zeros(18), np.ones(18)
    mean[14], sigma[14] = 1.5, 0.7
    return Net(
        mean, sigma, [w.astype("f4") for w in weights], [b.astype("f4") for b in biases], np.full(n_filters, 67.0),
        np.ones(n_filters),
    )  # fmt: skip


def residuals(sigma: float, n_filters: int = len(FILTERS)) -> np.ndarray:
    """Statistics of the errors of a test set with this standard deviation."""
    row = [*(sigma * np.arange(-4, 5)), 0.0, sigma]
    return np.tile(row, (n_filters, 1))


def save_object(path: Path, value: Any) -> Path:
    """As the authors did: ``numpy.save`` of an array of objects."""
    array = np.empty(len(value) if isinstance(value, list) else (), object)
    if isinstance(value, list):
        for i, item in enumerate(value):
            array[i] = item
    else:
        array[()] = value
    np.save(path, array, allow_pickle=True)
    return path


def single() -> list[Any]:
    """The six objects of a single emulator for 0.5 < z < 3."""
    net = parrot_net(3)
    return [
        {name: i + 1 for i, name in enumerate(FILTERS)},
        (net.mean, net.sigma),
        (net.weights, net.biases),
        (net.out_mean, net.out_sigma),
        residuals(0.02),
        [np.array(limit) for limit in LIMITS],
    ]


def stitched() -> dict[str, Any]:
    """Three networks over 0 < z < 6.25 with overlaps of 0.5."""
    rows = [(0.0, 0.5, 2.0, 0.5), (2.0, 0.5, 4.0, 0.5), (4.0, 0.5, 6.25, 0.5)]
    nets = []
    for seed in range(3):
        net = parrot_net(seed)
        nets.append(((net.mean, net.sigma), (net.out_mean, net.out_sigma), net.weights, net.biases, "gelu"))
    limits = [np.array(limit) for limit in LIMITS]
    limits[14] = np.array([0.0, 6.25])
    return {
        "filters": list(FILTERS),
        "filter_redir": {name: i for i, name in enumerate(FILTERS)},
        "parameters": ["massmet_1", "massmet_2", *prospector_alpha().names[2:]],
        "parameter_limits": limits,
        "zred_index": 14,
        "emulator_limits": rows,
        "nets": nets,
        "resid_quants": np.stack([residuals(s) for s in (0.01, 0.03, 0.02)], axis=2),
        "resid_quants_labels": [*(f"{i:+d}" for i in range(-4, 5)), "mean", "std"],
    }


def reference(net: Net, theta: np.ndarray) -> np.ndarray:
    """Arsinh magnitudes by plain numpy in double precision."""
    x = (theta - net.mean) / net.sigma
    for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
        h = weight.astype(float) @ x + bias
        x = 0.5 * h * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (h + 0.044715 * h**3)))
    return (net.weights[-1].astype(float) @ x + net.biases[-1]) * net.out_sigma + net.out_mean
