"""The tables of an FSPS, for the exact model: what it was compiled for, without FSPS at run time."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from starling.photometry import LIGHT_AA_S
from starling.sps.fsps.home import FspsWarning, Home, table_cautions
from starling.sps.fsps.pool import PATIENT, Inventory, Pool, Timeouts
from starling.sps.fsps.translate import LOG_U, Settings
from starling.sps.fsps_tables import LSUN, read_dust_emission, read_nebular, read_torus
from starling.sps.grids import SSPGrid, Tables

# As ``starling.sps.fsps.translate`` has it: Chabrier (2003), remnants counted.
_CONSTANTS: dict[str, Any] = {"imf_type": 1, "add_stellar_remnants": True, "sfh": 0}
_IMFS = (
    "Salpeter (1955)",
    "Chabrier (2003)",
    "Kroupa (2001)",
    "van Dokkum (2008)",
    "Dave (2008)",
    "tabulated",
)


def export_tables(
    sps_home: str | Path | None, *, log_u: float = LOG_U, timeouts: Timeouts = PATIENT
) -> tuple[Tables, dict[str, Any]]:
    """The tables of the FSPS that is installed, over a data directory, and what they were made from (JSON-able).

    SSPs at every metallicity and age, in vacuum, per Msun formed; nebulae at ``log_u`` where FSPS has them for its
    isochrones; DL07; the torus. FSPS runs in a process of its own (10 s and more). Raises FspsError where it cannot
    run; warns (FspsWarning) where its tables are made up, or are not what they say.
    """
    pool = Pool(sps_home, Settings((), _CONSTANTS, 1), 1, timeouts)
    try:
        numbers = pool.processes[0].ask_tables(timeouts.start_s)
    finally:
        pool.close()
    assert pool.home is not None  # a pool that has started has checked it
    home, inventory = pool.home, pool.inventory
    for sentence in table_cautions(home):
        warnings.warn(sentence, FspsWarning, stacklevel=2)
    ssp = ssp_grid(home, inventory, numbers)
    nebular = None
    if (home.path / f"nebular/ZAU_ND_{home.libraries.isochrones}.cont").is_file():
        nebular = read_nebular(home.path, home.libraries.isochrones, log_u, ssp.wave_aa, ssp.age_gyr)
    dust = read_dust_emission(home.path, wave_aa=ssp.wave_aa) if home.libraries.dust == "DL07" else None
    header = {
        "libraries": home.libraries._asdict(),
        "fsps_version": pool.version,
        "fsps_parameters": dict(_CONSTANTS),
        "imf": _IMFS[_CONSTANTS["imf_type"]],
        "solar_metal_fraction": inventory.solar,
        "source_sha256": home.sha256,
    }
    return Tables(ssp, nebular, dust, read_torus(home.path, unit=False)), header


def ssp_grid(home: Home, inventory: Inventory, numbers: np.ndarray) -> SSPGrid:
    """What a worker gives (``worker``, frame T) as a table."""
    shape = inventory.metals.size, inventory.log_age.size
    spectra, masses, log_luminosity = np.split(numbers, [-2 * shape[0] * shape[1], -shape[0] * shape[1]])
    spectra = spectra.reshape(*shape, inventory.wave_aa.size)
    return SSPGrid(
        name=f"{home.libraries.isochrones} + {home.libraries.spectra}, Chabrier (FSPS)",
        log_z=np.log10(inventory.metals / inventory.solar),
        age_gyr=10 ** (inventory.log_age - 9.0),
        wave_aa=inventory.wave_aa,
        l_lambda=(spectra * (LSUN * LIGHT_AA_S / inventory.wave_aa**2)).astype(np.float32),
        mass_fraction=masses.reshape(shape),
        remnants=bool(_CONSTANTS["add_stellar_remnants"]),
        surrogate=home.surrogate,
        as_fsps=True,
        bolometric=10 ** log_luminosity.reshape(shape) * LSUN,
    )
