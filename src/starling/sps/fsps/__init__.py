"""FSPS (Conroy, Gunn & White 2009; Conroy & Gunn 2010) as a simulator, through python-fsps in processes of its own.

``home``: what an FSPS data directory must hold. ``translate``: points of a ``ParameterSpace`` in FSPS's terms.
``worker``: what runs in a process. ``pool``: the processes, seen from here. ``simulator``: spectra and photometry.
"""

from starling.sps.fsps.home import FspsError, FspsWarning, Home, Libraries, check_home
from starling.sps.fsps.simulator import (
    Fsps,
    FspsSpectra,
    describe_fsps,
    photometry_simulator,
    pixel_simulator,
    spectrum_simulator,
)

__all__ = [
    "Fsps",
    "FspsError",
    "FspsSpectra",
    "FspsWarning",
    "Home",
    "Libraries",
    "check_home",
    "describe_fsps",
    "photometry_simulator",
    "pixel_simulator",
    "spectrum_simulator",
]
