"""The tables of an FSPS, for the exact model: what it was compiled for, without FSPS at run time."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from starling.photometry import LIGHT_AA_S
from starling.sps.fsps.home import BPASS, FspsError, FspsWarning, Home, table_cautions
from starling.sps.fsps.imf import TABULATED, Imf, choose_imf, imf_table_hash
from starling.sps.fsps.pool import PATIENT, Inventory, Pool, Timeouts
from starling.sps.fsps.translate import LOG_U, Settings
from starling.sps.fsps_tables import DUST_NODES, LSUN, read_dust_emission, read_nebular, read_torus
from starling.sps.grids import DustEmissionGrid, NebularGrid, SSPGrid, Tables

# As ``starling.sps.fsps.translate`` has it: remnants counted.
_CONSTANTS: dict[str, Any] = {"add_stellar_remnants": True, "sfh": 0}
CHABRIER = choose_imf("chabrier")


def export_tables(
    sps_home: str | Path | None,
    *,
    log_u: float = LOG_U,
    imf: Imf = CHABRIER,
    timeouts: Timeouts = PATIENT,
) -> tuple[Tables, dict[str, Any]]:
    """The tables of the FSPS that is installed, over a data directory, and what they were made from (JSON-able).

    SSPs at every metallicity and age, in vacuum, per Msun formed; nebulae at ``log_u`` where FSPS has them for its
    isochrones; DL07; the torus. FSPS runs in a process of its own (10 s and more). Raises FspsError where it cannot
    run; warns (FspsWarning) where its tables are made up, or are not what they say.
    """
    constants = _CONSTANTS | imf.constants
    described = imf.description
    if described["name"] == TABULATED:
        described = described | {"sha256": imf_table_hash(sps_home)}
    pool = Pool(sps_home, Settings((), constants, 1), 1, timeouts)
    try:
        numbers = pool.processes[0].ask_tables(timeouts.start_s)
    finally:
        pool.close()
    assert pool.home is not None  # a pool that has started has checked it
    home, inventory = pool.home, pool.inventory
    if home.libraries.isochrones == BPASS:
        imf = _imf_of_bpass(imf)
        described = imf.description
    ssp = ssp_grid(home, inventory, numbers, imf.label)
    nebular = None
    if (home.path / f"nebular/ZAU_ND_{home.libraries.isochrones}.cont").is_file():
        nebular = read_nebular(home.path, home.libraries.isochrones, log_u, ssp.wave_aa, ssp.age_gyr)
    dust = None
    if home.libraries.dust in DUST_NODES:
        dust = read_dust_emission(home.path, home.libraries.dust, ssp.wave_aa)
    for sentence in table_cautions(home) + _left_out(home, nebular, dust):
        warnings.warn(sentence, FspsWarning, stacklevel=2)
    header = {
        "libraries": home.libraries._asdict(),
        "fsps_version": pool.version,
        "fsps_parameters": constants,
        "imf": described,
        "solar_metal_fraction": inventory.solar,
        "source_sha256": home.sha256,
    }
    return Tables(ssp, nebular, dust, read_torus(home.path, unit=False)), header


def _imf_of_bpass(asked: Imf) -> Imf:
    """BPASS comes as finished SSPs; FspsError where another initial mass function than the default was asked for."""
    if asked != CHABRIER:
        raise FspsError(
            "FSPS was compiled for BPASS, whose SSPs have one initial mass function: leave out --imf"
        )
    return Imf({}, "Salpeter to 100 Msun", {"name": "bpass", "source": "bpass_v2.2_salpeter100"})


def _left_out(home: Home, nebular: NebularGrid | None, dust: DustEmissionGrid | None) -> list[str]:
    """What a model on these tables will not have; sentences."""
    said = []
    if nebular is None:
        said.append(
            f"FSPS has no nebulae for the isochrones {home.libraries.isochrones}: the tables are without"
        )
    if dust is None:
        said.append(
            f"FSPS was compiled with the dust emission {home.libraries.dust}; only that of Draine & Li (2007) is "
            "exported: the tables are without"
        )
    return said


def ssp_grid(home: Home, inventory: Inventory, numbers: np.ndarray, imf: str) -> SSPGrid:
    """What a worker gives (``worker``, frame T) as a table; ``imf`` is a label."""
    shape = inventory.metals.size, inventory.log_age.size
    spectra, masses, log_luminosity = np.split(numbers, [-2 * shape[0] * shape[1], -shape[0] * shape[1]])
    spectra = spectra.reshape(*shape, inventory.wave_aa.size)
    return SSPGrid(
        name=f"{home.libraries.isochrones} + {home.libraries.spectra}, {imf} (FSPS)",
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
