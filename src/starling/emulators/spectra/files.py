"""Spectrum emulators on disk: one safetensors file with a JSON header, as ``starling.emulators.files`` writes."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from starling.emulators.archive import branch_arrays, branch_header, build_branch, read_archive, write_archive
from starling.emulators.spectra.basis import Basis
from starling.emulators.spectra.model import SpectrumEmulator
from starling.parameters import ParameterSpace

FORMAT = "starling-spectrum-emulator"
FORMAT_VERSION = 1
_LINES, _LINE_PIXELS, _EDGES = "line_wave_aa", "line_pixels", "edges_aa"


def save_spectrum_emulator(
    path: Path,
    emulator: SpectrumEmulator,
    header: dict[str, Any],
    quantiles: dict[str, Float[np.ndarray, "level pixel"]],
) -> None:
    """Write ``path`` (.safetensors) and the header beside it (.json).

    ``quantiles`` of the absolute fractional error by set of draws, as ``statistics.spectrum_statistics`` gives them.
    """
    content = {
        **header,
        "networks": {role: branch_header(branch) for role, branch in emulator.branches.items()},
        "bases": {
            role: [{"starts": list(basis.starts)} for basis in bases]
            for role, bases in emulator.bases.items()
        },
        "space": emulator.space.to_dict(),
        "units": {
            "spectrum": "mean L_lambda in pixels, Lsun / Angstrom per Msun formed",
            "wavelength": "Angstrom, rest frame, vacuum",
        },
    }
    arrays: dict[str, Any] = {
        _EDGES: emulator.edges_aa,
        _LINES: emulator.line_wave_aa,
        _LINE_PIXELS: emulator.line_pixels,
    }
    for name, values in quantiles.items():
        arrays[f"quantiles.{name}"] = values
    for role, branch in emulator.branches.items():
        arrays |= branch_arrays(role, branch)
    for role, bases in emulator.bases.items():
        for number, basis in enumerate(bases):
            arrays |= {f"{role}.{number}.mean": basis.mean, f"{role}.{number}.floor": basis.floor}
            arrays |= {f"{role}.{number}.vectors.{i}": v for i, v in enumerate(basis.vectors)}
    write_archive(path, FORMAT, FORMAT_VERSION, content, arrays)


def load_spectrum_emulator(path: Path | str) -> SpectrumEmulator:
    """Read a spectrum emulator; ValueError says what is wrong with a file and what to do."""
    header, arrays = read_archive(Path(path), FORMAT, FORMAT_VERSION)
    try:
        return _build(header, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: header and weights do not fit ({error}); download or train it again"
        ) from error


def read_quantiles(path: Path | str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header of a file, and quantiles of the error by set of draws."""
    header, arrays = read_archive(Path(path), FORMAT, FORMAT_VERSION)
    prefix = "quantiles."
    return header, {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def _build(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> SpectrumEmulator:
    space = ParameterSpace.from_dict(header["space"])
    n_pixels = arrays[_EDGES].size - 1
    bases = {
        role: tuple(_build_basis(f"{role}.{i}", entry, arrays, n_pixels) for i, entry in enumerate(entries))
        for role, entries in header["bases"].items()
    }
    branches = {
        role: build_branch(space, role, content, arrays) for role, content in header["networks"].items()
    }
    if arrays[_LINE_PIXELS].shape != (arrays[_LINES].size, n_pixels):
        raise ValueError(f"{arrays[_LINES].size} lines, but {_LINE_PIXELS} has {arrays[_LINE_PIXELS].shape}")
    for role, branch in branches.items():
        least = sum(basis.n_coefficients for basis in bases.get(role, ()))
        if branch.n_outputs < least:
            raise ValueError(f"the network of {role} has {branch.n_outputs} outputs for {least} components")
    return SpectrumEmulator(
        branches=branches,
        bases=bases,
        line_wave_aa=jnp.asarray(arrays[_LINES]),
        line_pixels=jnp.asarray(arrays[_LINE_PIXELS]),
        space=space,
        edges_aa=jnp.asarray(arrays[_EDGES], jnp.float32),
    )


def _build_basis(prefix: str, entry: dict[str, Any], arrays: dict[str, np.ndarray], n_pixels: int) -> Basis:
    starts = tuple(int(start) for start in entry["starts"])
    mean, floor = (jnp.asarray(arrays[f"{prefix}.{name}"]) for name in ("mean", "floor"))
    vectors = tuple(jnp.asarray(arrays[f"{prefix}.vectors.{i}"]) for i in range(len(starts)))
    ends = [start + v.shape[1] for start, v in zip(starts, vectors, strict=True)]
    if (mean.size, floor.size) != (n_pixels, n_pixels) or max(ends) > n_pixels:
        raise ValueError(f"the basis {prefix} does not fit {n_pixels} pixels")
    return Basis(mean, floor, vectors, starts)
