"""Tables of the exact model on disk: one file (``starling.archives``)."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from starling.archives import Kind, read_arrays, read_header_of, write_arrays
from starling.sps.grids import DustEmissionGrid, NebularGrid, SSPGrid, Tables, TorusGrid

KIND = Kind(
    "starling-ssp-tables", 1, "file of tables", "starling ssp export --out FILE", "export the tables again"
)
UNITS = {
    "wave_aa": "Angstrom, vacuum, rest frame",
    "age_gyr": "Gyr",
    "log_z": "log10 of the metallicity over solar",
    "ssp.l_lambda": "Lsun/Angstrom per Msun formed (Lsun = 3.828e33 erg/s)",
    "ssp.mass_fraction": "Msun that survive per Msun formed",
    "ssp.bolometric": "Lsun per Msun formed",
    "nebular.continuum": "Lsun/Angstrom per (hydrogen-ionising photon / s)",
    "nebular.lines": "Lsun per (hydrogen-ionising photon / s)",
    "dust_emission": "any unit per Angstrom, the same in all templates",
    "torus.l_lambda": "1/Angstrom, of unit luminosity",
}
_PARTS: dict[str, Any] = {
    "ssp": SSPGrid,
    "nebular": NebularGrid,
    "dust_emission": DustEmissionGrid,
    "torus": TorusGrid,
}
_AXES = ("log_z", "age_gyr", "wave_aa", "qpah", "umin", "tau")


class SurrogateWarning(UserWarning):
    """Tables are stand-ins: nothing that is computed on them is astrophysics."""


def save_ssp_tables(path: Path, tables: Tables, header: Mapping[str, Any]) -> None:
    """Write ``path`` and its header beside it (.json); ``header`` says what the tables were made from."""
    arrays, said = dict[str, np.ndarray](), dict[str, dict[str, Any]]()
    for part, table in tables._asdict().items():
        if table is None:
            continue
        values = table._asdict()
        arrays |= {
            f"{part}.{name}": np.ascontiguousarray(value)
            for name, value in values.items()
            if isinstance(value, np.ndarray)
        }
        said[part] = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
    content = {
        **header,
        "surrogate": tables.surrogate,
        "tables": said,
        "units": UNITS,
    }
    write_arrays(path, KIND, content, arrays)


def load_ssp_tables(path: str | os.PathLike[str]) -> Tables:
    """Tables that ``starling ssp export`` wrote; ValueError says what is wrong with a file and what to do.

    Made-up tables warn (``SurrogateWarning``).
    """
    header, arrays = read_arrays(Path(path), KIND)
    try:
        parts = {
            part: _PARTS[part](
                **said,
                **{
                    name.removeprefix(f"{part}."): a
                    for name, a in arrays.items()
                    if name.startswith(f"{part}.")
                },
            )
            for part, said in header["tables"].items()
        }
        tables = Tables(**parts)
        _check(tables)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: header and arrays do not fit ({error}); {KIND.again}") from error
    if tables.surrogate:
        warnings.warn(
            f"{path} holds SURROGATE tables: nothing that is computed on them is astrophysics",
            SurrogateWarning,
            stacklevel=2,
        )
    return tables


def read_ssp_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file of tables was made from."""
    return read_header_of(Path(path), KIND)


def _check(tables: Tables) -> None:
    """ValueError unless axes ascend and shapes fit."""
    ssp = tables.ssp
    if ssp.l_lambda.shape != (ssp.log_z.size, ssp.age_gyr.size, ssp.wave_aa.size):
        raise ValueError(f"spectra have the shape {ssp.l_lambda.shape}")
    if ssp.mass_fraction.shape != ssp.l_lambda.shape[:2]:
        raise ValueError(f"masses have the shape {ssp.mass_fraction.shape}")
    for part, table in tables._asdict().items():
        for name, value in () if table is None else table._asdict().items():
            if name in _AXES and np.any(np.diff(value) <= 0):
                raise ValueError(f"{part}.{name} does not ascend")
