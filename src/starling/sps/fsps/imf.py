"""Initial mass functions of FSPS, by name."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from starling.sps.fsps.home import FspsError, check_path

TABULATED = "tabulated"
_TABLE = Path("data") / "imf.dat"


class _Known(NamedTuple):
    imf_type: int
    label: str
    source: str
    defaults: dict[str, float]


_SLOPES = {"imf1": 1.3, "imf2": 2.3, "imf3": 2.3}
_KNOWN = {
    "salpeter": _Known(0, "Salpeter", "Salpeter (1955)", {}),
    "chabrier": _Known(1, "Chabrier", "Chabrier (2003)", {}),
    "kroupa": _Known(2, "Kroupa", "Kroupa (2001)", _SLOPES),
    "van_dokkum": _Known(3, "van Dokkum", "van Dokkum (2008)", {"vdmc": 0.08}),
    "dave": _Known(4, "Dave", "Dave (2008)", {"mdave": 0.5, "imf1": 1.3, "imf2": 2.3}),
    TABULATED: _Known(5, "tabulated IMF", "data/imf.dat", {}),
}
IMFS = tuple(_KNOWN)


class Imf(NamedTuple):
    """An initial mass function from 0.08 to 120 Msun (a tabulated one: as its table has it).

    ``constants`` are FSPS's parameters, ``label`` names it in a few words, ``description`` (JSON-able) wholly.
    """

    constants: dict[str, Any]
    label: str
    description: dict[str, Any]


def choose_imf(name: str, parameters: Mapping[str, float] | None = None) -> Imf:
    """The initial mass function of a name (``IMFS``), with some of its parameters changed.

    ``kroupa``: slopes ``imf1`` (0.08 to 0.5 Msun), ``imf2`` (to 1), ``imf3``; ``van_dokkum``: ``vdmc``; ``dave``:
    ``mdave`` and slopes below and above it, ``imf1``, ``imf2``; ``tabulated``: data/imf.dat of the data directory.
    Raises ValueError for a name or a parameter that there is not.
    """
    if name not in _KNOWN:
        raise ValueError(f"no initial mass function {name!r}; FSPS has {', '.join(IMFS)}")
    known, changed = _KNOWN[name], dict(parameters or {})
    if unknown := sorted(set(changed) - set(known.defaults)):
        raise ValueError(
            f"the initial mass function {name!r} has no {', '.join(unknown)}; it has "
            f"{', '.join(known.defaults) or 'no parameters'}"
        )
    values = known.defaults | changed
    label = ", ".join([known.label, *(f"{key} = {value:g}" for key, value in changed.items())])
    constants = {"imf_type": known.imf_type, **values}
    return Imf(constants, label, {"name": name, "source": known.source, **values})


def imf_table_hash(sps_home: str | Path | None) -> str:
    """The hash of the table of a tabulated one; FspsError where there is none: FSPS would stop its process."""
    path = check_path(sps_home) / _TABLE
    if not path.is_file():
        raise FspsError(f"a tabulated initial mass function is read from {path}, which is not there")
    return hashlib.sha256(path.read_bytes()).hexdigest()
