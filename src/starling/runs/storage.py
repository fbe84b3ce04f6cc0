"""What is kept of the draws of a part, and how small: fewer draws, fewer quantities, fewer digits, compression."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr

from starling.catalogues.config import OutputConfig, Quantity

_HISTORY = ("sfh", "sfh_edges_gyr")
_BITS_PER_DIGIT = np.log2(10.0)
_MANTISSA = 23  # bits of a float32
_CHUNK = 1 << 20  # values in a chunk of a file: more than a part has of most variables
_LARGE_DRAWS = 500  # 2% of a posterior's width is their noise in a percentile 16 or 84
_LARGE_DIGITS = 5


@dataclass(frozen=True)
class Storage:
    """What is kept of a part; by default all of it, compressed without loss.

    ``draws`` per galaxy are kept at least: every n-th of each chain. ``leave_out`` are what can be computed again from
    the parameters: derived quantities, of those the star-formation history alone, predicted fluxes. Draws are rounded
    to ``significant_digits``, in bits, so that they compress better. ``compression`` is zlib's, 0 to 9.
    """

    draws: int | None = None
    leave_out: tuple[Quantity, ...] = ()
    significant_digits: int | None = None
    compression: int = 4

    def __post_init__(self) -> None:
        if self.draws is not None and self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")
        if self.significant_digits is not None and not 2 <= self.significant_digits <= 7:
            raise ValueError(f"significant_digits must be 2 to 7, got {self.significant_digits}")
        if not 0 <= self.compression <= 9:
            raise ValueError(f"compression must be 0 to 9, got {self.compression}")

    def reduce(self, tree: xr.DataTree) -> xr.DataTree:
        """What is kept of a tree; the root's attribute ``storage`` says so where it is less than all."""
        if self.draws is None and not self.leave_out and self.significant_digits is None:
            return tree
        found = [
            (node.path, self._reduce(node.path, node.to_dataset(inherit=False))) for node in tree.subtree
        ]
        kept = {path: data for path, data in found if data is not None}
        smaller = xr.DataTree.from_dict(_thin(kept, self.draws))
        smaller.attrs["storage"] = json.dumps(asdict(self))
        return smaller

    def _reduce(self, path: str, data: xr.Dataset) -> xr.Dataset | None:
        name = path.strip("/")
        if name == "posterior_predictive" and "predicted" in self.leave_out:
            return None
        if name == "derived" and "derived" in self.leave_out:
            return None
        if name == "derived" and "sfh" in self.leave_out:
            data = data.drop_vars([one for one in _HISTORY if one in data])
        if self.significant_digits is None:
            return data
        digits = self.significant_digits
        rounded = {
            name: value.copy(data=round_bits(value.values, digits))
            for name, value in data.data_vars.items()
            if "draw" in value.dims and value.dtype.kind == "f"
        }
        return data.assign(rounded)

    def encode(self, tree: xr.DataTree) -> bytes:
        """The netCDF file of a tree."""
        encoding = {
            node.path: {
                name: {
                    "zlib": self.compression > 0,
                    "complevel": self.compression,
                    "shuffle": True,
                    "chunksizes": _chunk(value.shape),
                }
                for name, value in node.data_vars.items()
                if value.dtype.kind in "fiub" and value.size
                and value.ndim
            }
            for node in tree.subtree
        }  # fmt: skip
        return bytes(tree.to_netcdf(None, engine="h5netcdf", encoding=encoding))


def storage_of(output: OutputConfig, n_galaxies: int) -> Storage:
    """What a configuration keeps of the draws of so many galaxies."""
    large = n_galaxies > output.whole
    draws = output.draws or (_LARGE_DRAWS if large else None)
    digits = output.significant_digits or (_LARGE_DIGITS if large else None)
    return Storage(None if draws == "all" else draws, output.leave_out, digits, output.compression)


def round_bits(values: np.ndarray, digits: int) -> np.ndarray:
    """Single-precision values with the bits beyond so many decimal digits set to 0, rounded to the nearest.

    The relative error is at most half of 10**-digits.
    """
    values = np.asarray(values, np.float32)
    dropped = _MANTISSA - int(np.ceil(digits * _BITS_PER_DIGIT))
    if dropped < 1:
        return values
    bits = values.view(np.uint32)
    half = np.uint32((1 << (dropped - 1)) - 1)
    odd = (bits >> np.uint32(dropped)) & np.uint32(1)  # halves go to even
    with np.errstate(over="ignore"):
        rounded = (bits + half + odd) & ~np.uint32((1 << dropped) - 1)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)


def _thin(groups: dict[str, xr.Dataset], draws: int | None) -> dict[str, xr.Dataset]:
    """Every n-th draw of every chain, so that at least ``draws`` are left; predictions of those draws."""
    posterior = groups.get("/posterior")
    if draws is None or posterior is None:
        return groups
    n_chains, n_draws = posterior.sizes["chain"], posterior.sizes["draw"]
    step = max(1, n_chains * n_draws // draws)
    labels = _labels(posterior)[::step]
    return {
        path: data.isel(draw=np.flatnonzero(np.isin(_labels(data), labels))) if "draw" in data.dims else data
        for path, data in groups.items()
    }


def _labels(data: xr.Dataset) -> np.ndarray:
    return data["draw"].values  # numbers from 0 where there is no coordinate


def _chunk(shape: tuple[int, ...]) -> tuple[int, ...]:
    """All of a variable, or as much of its first axes as makes a chunk."""
    chunk = list(shape)
    for axis in range(len(chunk)):
        rest = int(np.prod(chunk[axis + 1 :], dtype=int))
        chunk[axis] = min(chunk[axis], max(1, _CHUNK // max(rest, 1)))
        if rest * chunk[axis] <= _CHUNK and chunk[axis] > 1:
            break
    return tuple(chunk)
