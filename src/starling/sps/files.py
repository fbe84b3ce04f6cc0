"""Tables of the exact model on disk: one safetensors file, its header (JSON) in the metadata and beside it."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from starling.simulation.shards import write_atomically
from starling.sps.grids import DustEmissionGrid, NebularGrid, SSPGrid, Tables, TorusGrid

FORMAT = "starling-ssp-tables"
FORMAT_VERSION = 1
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
_KEY = "starling"


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
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "surrogate": tables.surrogate,
        "tables": said,
        "units": UNITS,
    }
    write_atomically(path, save(arrays, metadata={_KEY: json.dumps(content)}))
    write_atomically(path.with_suffix(".json"), json.dumps(content, indent=1).encode())


def load_ssp_tables(path: str | os.PathLike[str]) -> Tables:
    """Tables that ``starling ssp export`` wrote; ValueError says what is wrong with a file and what to do.

    Made-up tables warn (``SurrogateWarning``).
    """
    header, arrays = _read(Path(path))
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
        raise ValueError(f"{path}: header and arrays do not fit ({error}); export it again") from error
    if tables.surrogate:
        warnings.warn(
            f"{path} holds SURROGATE tables: nothing that is computed on them is astrophysics",
            SurrogateWarning,
            stacklevel=2,
        )
    return tables


def read_ssp_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file of tables was made from."""
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not path.is_file():
        raise ValueError(f"there is no file of tables {path}; `starling ssp export` makes one")
    try:
        with safe_open(path, framework="numpy") as handle:
            header = json.loads((handle.metadata() or {}).get(_KEY, "{}"))
            arrays = {name: handle.get_tensor(name) for name in handle.offset_keys()}
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}); export it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file but not one of SSP tables")
    if header.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {header.get('format_version')}, this starling reads {FORMAT_VERSION}: "
            "export it again"
        )
    return header, arrays


def _check(tables: Tables) -> None:
    """ValueError unless axes ascend, shapes fit and numbers are finite."""
    ssp = tables.ssp
    if ssp.l_lambda.shape != (ssp.log_z.size, ssp.age_gyr.size, ssp.wave_aa.size):
        raise ValueError(f"spectra have the shape {ssp.l_lambda.shape}")
    if ssp.mass_fraction.shape != ssp.l_lambda.shape[:2]:
        raise ValueError(f"masses have the shape {ssp.mass_fraction.shape}")
    for part, table in tables._asdict().items():
        for name, value in () if table is None else table._asdict().items():
            if not isinstance(value, np.ndarray):
                continue
            if not np.all(np.isfinite(value)):
                raise ValueError(f"{part}.{name} has numbers that are not finite")
            if name in ("log_z", "age_gyr", "wave_aa", "qpah", "umin", "tau") and np.any(np.diff(value) <= 0):
                raise ValueError(f"{part}.{name} does not ascend")
