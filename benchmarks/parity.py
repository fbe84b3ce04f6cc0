"""The exact model on tables that FSPS gave against FSPS itself: broad bands, all parameters of Prospector-alpha.

    uv run python benchmarks/parity.py SPS_HOME [N]

N galaxies (default 200) from the prior of the 18-parameter model of Mathews et al. (2023), at 0.1 < z < 6. Same
filters, lines and IGM on both sides, so what differs is how a spectrum is made of the tables. Printed: percentiles of
the absolute relative difference of the flux, per band and for all (per cent); for the galaxies as they are and without
torus, dust or recent stars. Bands that look beyond the Lyman limit, where next to nothing is left, are not counted.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from starling.components import SPECTRAL_PROPERTIES
from starling.photometry import load_bands
from starling.spaces import prospector_alpha
from starling.sps import exact_model, load_ssp_tables
from starling.sps.files import save_ssp_tables
from starling.sps.fsps import Fsps, photometry_simulator
from starling.sps.fsps.export import export_tables

SPACE = prospector_alpha(zred=(0.1, 6.0))
BANDS = (
    *("galex_FUV", "galex_NUV", "sdss_u0", "sdss_g0", "sdss_r0", "sdss_i0", "sdss_z0"),
    *("twomass_J", "twomass_H", "twomass_Ks", "spitzer_irac_ch1", "spitzer_irac_ch2", "spitzer_irac_ch4"),
    *("spitzer_mips_24", "herschel_pacs_100", "herschel_spire_250"),
)
BAR, SHARE = 1.0, 99.0  # per cent
LYMAN_LIMIT_AA = 912.0


def variants(theta: np.ndarray) -> dict[str, np.ndarray]:
    """The galaxies, and the same without one of their parts."""

    def with_values(**values: float) -> np.ndarray:
        changed = theta.copy()
        for name, value in values.items():
            changed[:, SPACE.index(name)] = value
        return changed

    return {
        "as they are": theta,
        "without torus": with_values(log_fagn=-30.0),
        "without torus, dust": with_values(log_fagn=-30.0, dust2=0.0),
        "without torus, dust, recent stars": with_values(log_fagn=-30.0, dust2=0.0, logsfr_ratios_1=-5.0),
    }


def report(name: str, difference: np.ndarray, names: tuple[str, ...]) -> None:
    """Percentiles of per cent differences [row, band], NaN where not counted."""
    print(
        f"\n{name}\n{'band':22s} {'bias':>7s} {'50%':>7s} {'90%':>7s} {'99%':>7s} {'max':>7s} {'below 1%':>9s}"
    )
    for band, values in [*zip(names, difference.T, strict=True), ("all", difference.ravel())]:
        counted = values[np.isfinite(values)]
        if counted.size:
            cuts = " ".join(f"{cut:7.3f}" for cut in np.percentile(np.abs(counted), (50, 90, 99, 100)))
            print(
                f"{band:22s} {np.median(counted):+7.3f} {cuts} {100 * np.mean(np.abs(counted) < BAR):8.1f}%"
            )


def main() -> None:
    home, n = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
    warnings.simplefilter("ignore")
    theta = np.array(SPACE.sample(jax.random.key(0), (n,)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(os.environ.get("STARLING_TABLES", f"{folder}/tables.safetensors"))
        if not path.exists():
            save_ssp_tables(path, *export_tables(home))
        model = exact_model(load_ssp_tables(path), BANDS, SPACE)
    print(f"{model.description}{' (SURROGATE)' if model.surrogate else ''}, {n} galaxies")
    rest = jnp.asarray([band.wave_effective_aa for band in load_bands(BANDS)])
    ours = jax.jit(lambda thetas: jax.lax.map(model.rest_flux, thetas, batch_size=8))
    more = jax.jit(lambda thetas: jax.lax.map(model.spectral_properties, thetas, batch_size=8))
    with Fsps(SPACE, home) as fsps:
        simulate = photometry_simulator(fsps, BANDS)
        for name, thetas in variants(theta).items():
            found = simulate(thetas)
            zred = thetas[:, SPACE.index("zred")]
            seen = np.asarray(rest) / (1.0 + zred[:, None]) > LYMAN_LIMIT_AA
            difference = 100.0 * (np.asarray(ours(jnp.asarray(thetas))) / found["rest_flux"] - 1.0)
            report(name, np.where(seen, difference, np.nan), BANDS)
            if name == "as they are":
                derived = more(jnp.asarray(thetas))
                offset = np.abs(
                    np.stack([derived[key] for key in SPECTRAL_PROPERTIES], axis=1) - found["properties"]
                )
                print("50% and 99% of the absolute difference:", ", ".join(SPECTRAL_PROPERTIES))
                print(np.round(np.percentile(offset, (50, 99), axis=0), 4))


if __name__ == "__main__":
    main()
