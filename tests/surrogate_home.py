"""A data directory that FSPS (MIST + C3K_LR + DL07) runs on, made of black bodies: real code, made-up numbers.

Every file has the shape that FSPS's reader counts on: tables that it reads row by row have their number of rows, most
of them beyond all wavelengths and zero. Metallicity makes stars redder and lines stronger; age makes populations
fainter.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

LIGHT, LSUN, SIGMA = 2.9979e18, 3.839e33, 5.6704e-5
FEH = np.arange(-2.5, 0.51, 0.25)
N_OPENED = 11  # metallicities of the stellar library that FSPS opens
LOG_AGES = np.arange(107) * 0.05 + 5.0
C3K_WAVE = np.concatenate(
    [
        start * np.exp(step * np.arange(count))
        for start, step, count in (
            (100.0, 0.005, 461),
            (1000.0, 0.005, 220),
            (3001.0, 0.005, 58),
            (4000.0, 0.005, 322),
            (20000.0, 0.005, 45),
            (25000.0, 0.01, 830),
        )
    ]
)
LOG_T, LOG_G = np.linspace(3.398, 4.699, 80), np.arange(-1.0, 5.6, 0.5)
QPAH = (0.47, 1.12, 1.77, 2.50, 3.19, 3.90, 4.58)
UMIN = (
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.7,
    0.8,
    1.0,
    1.2,
    1.5,
    2.0,
    2.5,
    3.0,
    4.0,
    5.0,
    7.0,
    8.0,
    12.0,
    15.0,
    20.0,
    25.0,
)
GAS_LOGZ = (-1.98, -1.5, -0.98, -0.58, -0.39, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2)
GAS_AGES = (5e5, 1e6, 2e6, 3e6, 4e6, 5e6, 6e6, 7e6, 1e7, 2e7)
GAS_LOGU = (-4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0)
# Wavelength (A), luminosity over that of H beta at solar metallicity.
STRONG_LINES = (
    (1215.67, 23.0),
    (3727.1, 1.5),
    (4862.7, 1.0),
    (5008.2, 2.0),
    (6564.6, 2.9),
    (6585.3, 0.4),
    (18756.0, 0.34),
)
_COARSE = np.geomspace(60.0, 1e8, 160)


def make_surrogate_home(home: Path) -> Path:
    """Write the directory (about 110 MB, 10 s)."""
    for writer in (_stars, _isochrones, _hot_stars, _cool_stars, _standards, _dust, _torus, _nebulae, _data):
        writer(home)
    (home / "SURROGATE.json").write_text(json.dumps({"surrogate": True, "warning": "black bodies"}))
    return home


def planck(wave: np.ndarray, temperature: np.ndarray | float) -> np.ndarray:
    """B_nu, cgs."""
    x = np.minimum(1.43878e8 / (wave * temperature), 600.0)
    return 2.0 * 6.6261e-27 * (LIGHT / wave) ** 3 / 2.9979e10**2 / np.expm1(x)


def _star(temperature: float, feh: float = 0.0) -> np.ndarray:
    """L_nu per unit of luminosity, on the coarse grid."""
    return np.pi * planck(_COARSE, temperature) * _blanketing(_COARSE, feh) / (SIGMA * temperature**4)


def _blanketing(wave: np.ndarray, feh: float) -> np.ndarray:
    return np.exp(-0.3 * 10 ** (0.3 * feh) * np.exp(-(((wave - 3000.0) / 1500.0) ** 2)))


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _numbers(values: Iterable[float], form: str = "%.4e") -> str:
    return " ".join(form % value for value in values)


def _columns(
    path: Path, wave: np.ndarray, columns: np.ndarray, n_rows: int, header: tuple[str, ...] = ()
) -> None:
    """Rows of wavelength and columns, and empty rows far away until there are ``n_rows``."""
    rows = [_numbers((w, *row)) for w, row in zip(wave, columns, strict=True)]
    empty = [f"{2e9 + 1e5 * i:.6e} {columns.shape[1]}*0" for i in range(n_rows - len(rows))]
    _write(path, (*header, *rows, *empty))


def _stars(home: Path) -> None:
    folder = home / "SPECTRA/C3K/c3k_lr"
    _write(folder / "c3k_lr.lambda", (f"{wave:.9g}" for wave in C3K_WAVE))
    _write(folder / "c3k_lr.res", ("1000.0" for _ in C3K_WAVE))
    _write(folder / "logt.dat", (f"{value:.4f}" for value in LOG_T))
    _write(folder / "logg.dat", (f"{value:.1f}" for value in LOG_G))
    _write(folder / "c3k_lr_zlegend.dat", (f"{feh + 0.0:+.2f}" for feh in FEH))
    bodies = planck(C3K_WAVE, 10 ** LOG_T[:, None]) / 4.0
    for feh in FEH[:N_OPENED]:
        spectra = np.broadcast_to(bodies * _blanketing(C3K_WAVE, feh), (LOG_G.size, *bodies.shape))
        spectra.astype("<f4").tofile(folder / f"c3k_lr_feh{feh + 0.0:+.2f}_afe+0.0.spec.bin")


def _isochrones(home: Path) -> None:
    folder = home / "ISOCHRONES/MIST"
    names = [f"{'m' if feh < -0.01 else 'p'}{round(abs(feh) * 100):03d}" for feh in FEH]
    _write(folder / "zlegend.dat", (f"{name} {feh + 0.0:5.2f}" for name, feh in zip(names, FEH, strict=True)))
    for name, feh in zip(names, FEH, strict=True):
        lines = []
        for log_age in LOG_AGES:
            lines.append("# log_age initial_mass mass log_L log_T log_g C/O phase log_mdot")
            lines += [_numbers((log_age, *row), "%.6f") for row in _isochrone(log_age, feh)]
        _write(folder / f"isoc_feh_{name}_afe_p0_vvcrit0.4_full.dat", lines)


def _isochrone(log_age: float, feh: float) -> list[tuple[float, ...]]:
    """A main sequence up to the mass that lives that long, and a giant branch."""
    turn_off = np.clip(10 ** ((10.0 - log_age) / 2.5), 0.15, 100.0)
    sequence = np.geomspace(0.09, turn_off, 40)
    log_l = np.where(
        sequence < 20.0, 3.5 * np.log10(sequence), 3.5 * np.log10(20.0) + 1.6 * np.log10(sequence / 20.0)
    )
    log_t = np.minimum(np.log10(5700.0) + 0.55 * np.log10(sequence) - 0.03 * feh, 4.68)
    rows = [(m, m, light, t, 0.0) for m, light, t in zip(sequence, log_l, log_t, strict=True)]
    for s in np.linspace(0.1, 1.0, 10):
        mass = turn_off * (1.0 + 0.05 * s)
        rows.append((mass, mass, log_l[-1] + 1.5 * s, log_t[-1] + s * (3.62 - 0.04 * feh - log_t[-1]), 2.0))
    return [
        (
            initial,
            mass,
            light,
            t,
            np.log10(mass / 4.13e10) - light + 4.0 * t + 20.616 - 10.0,
            0.5,
            phase,
            -20.0,
        )
        for initial, mass, light, t, phase in rows
    ]


def _hot_stars(home: Path) -> None:
    folder = home / "SPECTRA/Hot_spectra"
    temperatures = np.linspace(25e3, 50e3, 11)
    metals = (
        "0.0001",
        "0.0010",
        "0.0020",
        "0.0030",
        "0.0040",
        "0.0060",
        "0.0080",
        "0.0100",
        "0.0140",
        "0.0200",
        "0.0300",
        "0.0400",
    )
    _write(folder / "WMBASIC.teff", (f"{np.log10(t):.5f}" for t in temperatures))
    _write(folder / "WMBASIC_zlegend.dat", metals)
    spectra = np.stack([_star(t) for _ in range(3) for t in temperatures], axis=1)
    first = folder / f"WMBASIC_z{metals[0]}.spec"
    _columns(first, _COARSE, spectra, 5508)
    for z in metals[1:]:
        os.link(first, folder / f"WMBASIC_z{z}.spec")
    _write(folder / "ipagb.teff", (f"{t:.0f}" for t in np.linspace(5e4, 1.8e5, 14)))
    spectra = np.stack([_star(t) for t in np.linspace(5e4, 1.8e5, 14)], axis=1)
    for kind in ("solar", "halo"):
        _columns(folder / f"ipagb_{kind}.spec", _COARSE, spectra, 9281)
    padding = np.linspace(1e9, 2e9, 1963 - _COARSE.size)
    temperatures = np.logspace(4.48, 5.08, 12)
    for kind in ("WN", "WC"):
        blocks = [
            f"{np.log10(t):.4f} {z}\n{_numbers(np.maximum(_star(t), 1e-60))} {padding.size}*1e-60"
            for z in (0.001, 0.004, 0.008, 0.02, 0.04)
            for t in temperatures
        ]
        _write(folder / f"CMFGEN_{kind}.teff", (f"{np.log10(t):.4f}" for t in temperatures))
        _write(folder / f"CMFGEN_{kind}_Zall.spec", (_numbers((*_COARSE, *padding), "%.6e"), *blocks))


def _cool_stars(home: Path) -> None:
    folder = home / "SPECTRA/AGB_spectra"
    oxygen, carbon = np.linspace(2500.0, 4000.0, 9), np.array([2000.0, 2400.0, 2800.0, 3000.0, 3200.0])
    metals = np.linspace(-1.98, 0.2, 22)
    _write(
        folder / "Orich.teff", ("#", _numbers((0.0, *metals)), *(_numbers([1.0] + [t] * 22) for t in oxygen))
    )
    _write(folder / "Crich.teff", ("#", *(_numbers((1.0, t)) for t in carbon)))
    _write(folder / "Crich_Aringer.teff", (f"{t:.1f}" for t in np.linspace(2400.0, 4000.0, 9)))
    per_aa = LIGHT / _COARSE**2
    _columns(folder / "Orich.spec", _COARSE, np.stack([_star(t) * per_aa for t in oxygen], axis=1), 6146)
    _columns(folder / "Crich.spec", _COARSE, np.stack([_star(t) * per_aa for t in carbon], axis=1), 6146)
    aringer = np.stack([_star(t) for t in np.linspace(2400.0, 4000.0, 9)], axis=1)
    _columns(folder / "Crich_Aringer.spec", _COARSE, aringer, 9032)
    wave = np.geomspace(1000.0, 2e8, 40)
    for kind, first, last in (("O", 2000.0, 4000.0), ("C", 2400.0, 3900.0)):
        blocks = [
            f"{t:.1f} {tau:.4f}\n{_numbers(np.exp(-(10.0**tau) * (1e4 / wave)))}"
            for t in np.linspace(first, last, 6)
            for tau in np.linspace(-3.5, 1.4, 50)
        ]
        _write(home / f"dust/dusty/{kind}rich_dusty.spec", (f"{wave.size}", _numbers(wave, "%.6e"), *blocks))


def _standards(home: Path) -> None:
    wave = np.geomspace(91.0, 1.6e6, 1221)
    for name, temperature, header in (("A0V_KURUCZ_92", 9400.0, ("#",)), ("SUN_STScI", 5777.0, ())):
        body = planck(wave, temperature)[:, None]
        _columns(home / f"SPECTRA/{name}.SED", wave, np.maximum(body, 1e-60), 1221, header)
    _write(home / "SPECTRA/xrb/xsp.lambda", (f"{wave:.4f}" for wave in np.linspace(1.0, 29999.0, 15000)))
    for feh in (
        "-1.30",
        "-1.00",
        "-0.80",
        "-0.70",
        "-0.50",
        "-0.40",
        "-0.30",
        "-0.20",
        "+0.00",
        "+0.20",
        "+0.30",
    ):
        _write(home / f"SPECTRA/xrb/xsp_feh{feh}.spec", ["15000*0"] * 10)


def _dust(home: Path) -> None:
    wave_um = np.geomspace(1.0, 1e4, 1001)
    wave = wave_um * 1e4

    def unit(light: np.ndarray) -> np.ndarray:
        return light / -np.trapezoid(light, LIGHT / wave)

    def glow(field: float, qpah: float) -> np.ndarray:
        cold = planck(wave, 18.0 * field ** (1 / 6)) * wave**-1.5
        warm = planck(wave, 90.0) * wave**-1.0
        bump = np.exp(-0.5 * (np.log(wave_um / 7.7) / 0.15) ** 2) * wave
        return field * ((0.9 - 0.05 * qpah) * unit(cold) + 0.1 * unit(warm) + 0.05 * qpah * unit(bump))

    for k, qpah in enumerate(QPAH):
        columns = []
        for u in UMIN:
            fields = np.geomspace(u, 1e6, 12)
            spread = np.stack([glow(field, qpah) / field**2 for field in fields])
            mean = np.trapezoid(spread, fields, axis=0) / np.trapezoid(fields**-2.0, fields)
            columns += [glow(u, qpah), mean]
        rows = np.stack(columns, axis=1)
        lines = [_numbers((um, *row)) for um, row in zip(wave_um, rows, strict=True)]
        _write(home / f"dust/dustem/DL07_MW3.1_{k}0.dat", ("#", "#", *lines))
    law = np.geomspace(1000.0, 3e4, 25)
    for kind in "hc":
        rows = [_numbers((w, 0.0, *[0.25 + 0.5 * i] * 6)) for i in range(18) for w in law]
        _write(home / f"dust/alldirty_{kind}.dat", ("#", "#", "#", *rows))
    table = np.geomspace(2.2, 0.1, 30)
    _write(home / "dust/Gordon03_table4.dat", (_numbers((w, 1 / w, (w / 0.55) ** -1.2)) for w in table))


def _torus(home: Path) -> None:
    wave, tau = np.geomspace(100.0, 1e8, 125), (5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0)
    columns = []
    for depth in tau:
        light = planck(wave, 1100.0) / 1100.0**4 + planck(wave, 400.0 * depth**-0.1) / 400.0**4
        columns.append(light / -np.trapezoid(light, LIGHT / wave))
    rows = [_numbers((w, *row)) for w, row in zip(wave, np.stack(columns, axis=1), strict=True)]
    _write(home / "dust/Nenkova08_y010_torusg_n10_q2.0.dat", ("#", "#", "#", _numbers(tau, "%.1f"), *rows))


def _nebulae(home: Path) -> None:
    weak = [(7000.0 + 50.0 * i, 1e-4) for i in range(166 - len(STRONG_LINES))]
    lines = sorted((*STRONG_LINES, *weak))
    wave = np.unique(np.concatenate([[50.0, 911.0, 912.5, 3640.0, 3650.0], np.geomspace(930.0, 2e8, 90)]))
    padding = np.linspace(1e9, 2e9, 1963 - wave.size)
    shape = np.where(wave > 912.0, 4e-40 * (1.0 + (wave < 3646.0)) * np.exp(-1000.0 / wave), 0.0)
    grid = [(z, age, u) for z in GAS_LOGZ for age in GAS_AGES for u in GAS_LOGU]
    continuum, luminosity = [], []
    for z, age, u in grid:
        at = _numbers((z, age, u))
        continuum.append(f"{at}\n{_numbers(shape / LSUN * 10 ** (-0.1 * z))} {padding.size}*0")
        strength = 4.78e-13 / LSUN * 10 ** (0.4 * z) * (age / 1e6) ** -0.1 * 10 ** (0.1 * (u + 2.0))
        luminosity.append(f"{at}\n{_numbers(strength * value for _, value in lines)}")
    _write(home / "nebular/ZAU_ND_mist.cont", ("#", _numbers((*wave, *padding), "%.6e"), *continuum))
    _write(home / "nebular/ZAU_ND_mist.lines", ("#", _numbers((w for w, _ in lines), "%.4f"), *luminosity))
    _write(home / "data/emlines_info.dat", (f"{w:.3f},line at {w:.0f}" for w, _ in lines))


def _data(home: Path) -> None:
    centres = np.geomspace(1300.0, 3e4, 159)
    _write(home / "data/FILTER_LIST", (f"{i + 1} BOX{i + 1} a box" for i in range(159)))
    boxes = (
        "#\n" + "\n".join(f"{c * x:.2f} {y}" for x, y in ((0.92, 0), (0.93, 1), (1.07, 1), (1.08, 0)))
        for c in centres
    )
    _write(home / "data/allfilters.dat", boxes)
    indices = (
        _numbers((c, c + 40, c - 60, c - 10, c + 50, c + 100, 1), "%.0f") for c in np.linspace(4e3, 7e3, 30)
    )
    _write(home / "data/allindices.dat", ("#", "#", "#", "#", *indices))
