"""Small made-up tables for the exact model: nothing to install, nothing to do with real stars."""

import numpy as np

from starling.sps import DustEmissionGrid, NebularGrid, SSPGrid, Tables, TorusGrid


def make_toy_tables() -> Tables:
    """Black bodies that cool with age, a few lines, two-temperature dust and a torus; smooth, not to do with stars."""
    wave = np.geomspace(50.0, 1e7, 1200)
    age = np.geomspace(1e-4, 14.0, 40)
    log_z = np.array([-2.5, -1.0, 0.0, 0.5])

    def planck(temperature: np.ndarray) -> np.ndarray:
        x = np.minimum(1.438777e8 / (wave * temperature[..., None]), 600.0)
        shape = wave**-5.0 / np.expm1(x)
        return shape / np.trapezoid(shape, wave, axis=-1)[..., None]

    temperature = 4e4 * (age / 1e-3 + 1.0) ** -0.22 * 10 ** (-0.03 * log_z[:, None])
    luminosity = 900.0 * (age / 1e-3 + 1.0) ** -0.9 * np.ones((4, 1))
    ssp = SSPGrid(
        "toy stars",
        log_z,
        age,
        wave,
        planck(temperature) * luminosity[..., None],
        0.4 + 0.6 / (1 + age) * np.ones((4, 1)),
    )
    neb_age = np.geomspace(1e-3, 2e-2, 6)
    lines = np.array([1215.67, 3727.0, 4861.3, 5006.8, 6562.8])
    strengths = np.array([3.0, 0.8, 1.0, 2.0, 2.9]) * 1e-46 * np.exp(-(log_z[:, None, None] ** 2) / 8.0)
    flat = np.broadcast_to(np.where(wave > 912, 1e-49 * (5000.0 / wave), 0.0), (4, 6, wave.size))
    nebular = NebularGrid(
        "toy nebulae", -2.0, log_z, neb_age, wave, flat, lines, np.broadcast_to(strengths, (4, 6, 5)) * 1.0
    )
    dust_wave = np.geomspace(1e4, 1e7, 300)
    qpah, umin = np.array([0.5, 2.0, 4.5]), np.array([0.1, 1.0, 5.0, 25.0])
    bump = np.exp(-0.5 * (np.log(dust_wave / 7.7e4) / 0.1) ** 2)
    cold = np.exp(-0.5 * (np.log(dust_wave / (1e6 * umin[:, None] ** -0.1)) / 0.5) ** 2)
    single = umin[:, None] * (cold + 0.05 * qpah[:, None, None] * bump) / dust_wave
    dust = DustEmissionGrid("toy dust", qpah, umin, dust_wave, single, 3.0 * single + single[:, ::-1])
    torus_wave = np.geomspace(1e3, 1e7, 80)
    tau = np.array([5.0, 30.0, 150.0])
    torus = np.exp(-0.5 * (np.log(torus_wave / (1e5 * (tau[:, None] / 30) ** 0.2)) / 0.8) ** 2) / torus_wave
    torus /= np.trapezoid(torus, torus_wave, axis=1)[:, None]
    return Tables(ssp, nebular, dust, TorusGrid("toy torus", tau, torus_wave, torus))
