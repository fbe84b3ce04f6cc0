"""The exact model on tables that FSPS gave against FSPS itself: broad bands, all parameters of Prospector-alpha.

    uv run python benchmarks/parity.py SPS_HOME [N] [--tables FILE] [--conventions]

N galaxies (default 200) from the prior of the 18-parameter model of Mathews et al. (2023), at 0.1 < z < 6. Same
filters, lines and IGM on both sides, so what differs is how a spectrum is made of the tables. Printed: percentiles of
the absolute relative difference of the flux, per band and for all (per cent); for the galaxies as they are and without
torus, dust or recent stars; the worst fluxes, and what of their differences comes of FSPS's attenuating light at the
points of its spectra, with straight lines between them. Bands that look beyond the Lyman limit, where next to nothing
is left, are not counted. With ``--conventions`` instead: the same with each of FSPS's conventions
(``starling.sps.conventions``) switched off.
"""

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.components import RATIOS, SPECTRAL_PROPERTIES
from starling.photometry import load_bands
from starling.sfh import bin_edges_gyr, mass_fractions
from starling.spaces import prospector_alpha
from starling.sps import ExactModel, Tables, exact_model, load_ssp_tables
from starling.sps.conventions import FSPS, OWN, Conventions
from starling.sps.fsps import Fsps, photometry_simulator
from starling.sps.fsps.export import export_tables
from starling.sps.pixels import rebinning
from starling.sps.screens import screens
from starling.sps.stars import age_weights, hat_weights, whole_ionising

SPACE = prospector_alpha(zred=(0.1, 6.0))
BANDS = (
    *("galex_FUV", "galex_NUV", "sdss_u0", "sdss_g0", "sdss_r0", "sdss_i0", "sdss_z0"),
    *("twomass_J", "twomass_H", "twomass_Ks", "spitzer_irac_ch1", "spitzer_irac_ch2", "spitzer_irac_ch4"),
    *("spitzer_mips_24", "herschel_pacs_100", "herschel_spire_250"),
)
BAR, SHARE = 1.0, 99.0  # per cent
LYMAN_LIMIT_AA = 912.0
N_WORST = 16
AS_THEY_ARE = "as they are"
_NEARLY_DARK = 1e20


def variants(theta: np.ndarray) -> dict[str, np.ndarray]:
    """The galaxies, and the same without one of their parts."""

    def with_values(**values: float) -> np.ndarray:
        changed = theta.copy()
        for name, value in values.items():
            changed[:, SPACE.index(name)] = value
        return changed

    return {
        AS_THEY_ARE: theta,
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


def at_the_points(model: ExactModel, tables: Tables, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What it is worth, per cent [row, band], that FSPS draws straight lines between the points of its spectra.

    Stars alone, attenuated at the points of the tables and then put into pixels, as FSPS's are, against attenuated in
    pixels, as the exact model's are. And log10 of the part of the stars' light that gets through the dust.
    """
    stars, ssp, pixels = model.prepared.stars, tables.ssp, model.pixels
    operator = rebinning(ssp.wave_aa, pixels)
    n_young = stars.young.shape[1]
    n_gas = stars.photon_rate.shape[1]
    # the nodes that galaxies of the space touch, as the model has them
    first = int(np.argmin(np.abs(ssp.log_z - float(stars.log_z[0]))))
    spectra = ssp.l_lambda[first : first + stars.log_z.size, : stars.log_age.size].astype(float)
    spectra[:, :n_gas, whole_ionising(ssp.wave_aa)] = 0.0
    project = jax.jit(lambda zred, spectrum: model._project(spectrum, zred))
    off, passed = np.empty((2, len(theta), len(BANDS)))
    for row, point in enumerate(theta):
        values = SPACE.unpack(jnp.asarray(point))
        edges = bin_edges_gyr(values["zred"])
        ratios = jnp.stack([values[name] for name in RATIOS])
        formed = age_weights(mass_fractions(ratios, edges), edges, stars.log_age, stars.log_step)
        weights = np.outer(hat_weights(values["logzsol"], stars.log_z), np.asarray(formed, float))
        young = np.tensordot(weights[:, :n_young], spectra[:, :n_young], 2)
        old = np.tensordot(weights[:, n_young:], spectra[:, n_young:], 2)

        def through(wave_aa: np.ndarray, values: Mapping[str, Array] = values) -> np.ndarray:
            return np.asarray(screens(model.attenuation, FSPS, values, jnp.asarray(wave_aa)), float)

        (clouds, diffuse), (clouds_in_pixels, diffuse_in_pixels) = (
            through(ssp.wave_aa),
            through(pixels.wave_aa),
        )
        theirs = operator @ (young * clouds + old * diffuse)
        own = (operator @ young) * clouds_in_pixels + (operator @ old) * diffuse_in_pixels
        scale = _NEARLY_DARK  # the dustiest leave numbers that float32 has not
        fluxes = [
            np.asarray(project(values["zred"], jnp.asarray(each * factor, jnp.float32)), float) / factor
            for each, factor in ((theirs, scale), (own, scale), (operator @ (young + old), 1.0))
        ]
        off[row], passed[row] = 100.0 * (fluxes[1] / fluxes[0] - 1.0), np.log10(fluxes[0] / fluxes[2])
    return off, passed


def report_worst(difference: np.ndarray, model: ExactModel, tables: Tables, theta: np.ndarray) -> None:
    """The worst fluxes, and what of their differences is the straight lines'."""
    worst = np.argsort(-np.nan_to_num(np.abs(difference)).ravel())[:N_WORST]
    rows, columns = np.unravel_index(worst, difference.shape)
    off, passed = at_the_points(model, tables, theta[rows])
    print(
        f"\nthe {N_WORST} worst, per cent; of it by straight lines between FSPS's points (stars); light that passes"
    )
    for k, (row, column) in enumerate(zip(rows, columns, strict=True)):
        zred, dust2, index = (theta[row, SPACE.index(name)] for name in ("zred", "dust2", "dust_index"))
        print(
            f"{BANDS[column]:18s} z {zred:.2f} dust2 {dust2:.2f} index {index:+.2f}: {difference[row, column]:+.2f}, "
            f"{off[k, column]:+.2f}, 10^{passed[k, column]:.1f}"
        )


def report_conventions(tables: Tables, theta: np.ndarray, found: np.ndarray, seen: np.ndarray) -> None:
    """The same with each of FSPS's conventions switched off by itself, and with none."""
    print(
        f"\n{'without the convention':24s} {'50%':>7s} {'99%':>7s} {'max':>8s} {'below 1%':>9s}   worst band"
    )
    cases = {"(all of them on)": FSPS}
    cases |= {name: FSPS._replace(**{name: False}) for name in Conventions._fields}
    for name, conventions in (cases | {"all of them": OWN}).items():
        model = exact_model(tables, BANDS, SPACE, conventions=conventions)
        off = np.abs(np.where(seen, relative(model, theta, found), np.nan))
        cuts = np.nanpercentile(off, (50, 99, 100))
        shares = [100.0 * np.mean(column[np.isfinite(column)] < BAR) for column in off.T]
        worst = int(np.argmin(shares))
        print(
            f"{name:24s} {cuts[0]:7.3f} {cuts[1]:7.3f} {cuts[2]:8.2f} "
            f"{100.0 * np.mean(off[np.isfinite(off)] < BAR):8.1f}%   {BANDS[worst]} {shares[worst]:.1f}%"
        )


def relative(model: ExactModel, theta: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The exact model's fluxes over FSPS's, less 1, per cent."""
    ours = jax.jit(lambda model, thetas: jax.lax.map(model.rest_flux, thetas, batch_size=8))
    return 100.0 * (np.asarray(ours(model, jnp.asarray(theta)), float) / found - 1.0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sps_home", help="FSPS data directory")
    parser.add_argument("n", nargs="?", type=int, default=200, help="galaxies")
    parser.add_argument("--tables", type=Path, help="file of `starling ssp export`; default: export now")
    parser.add_argument(
        "--conventions", action="store_true", help="switch FSPS's conventions off, one by one"
    )
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    warnings.simplefilter("ignore")
    theta = np.array(SPACE.sample(jax.random.key(0), (asked.n,)))
    tables = load_ssp_tables(asked.tables) if asked.tables else export_tables(asked.sps_home)[0]
    model = exact_model(tables, BANDS, SPACE)
    print(f"{model.description}{' (SURROGATE)' if model.surrogate else ''}, {asked.n} galaxies")
    rest = jnp.asarray([band.wave_effective_aa for band in load_bands(BANDS)])
    seen = np.asarray(rest) / (1.0 + theta[:, [SPACE.index("zred")]]) > LYMAN_LIMIT_AA
    with Fsps(SPACE, asked.sps_home) as fsps:
        simulate = photometry_simulator(fsps, BANDS)
        if asked.conventions:
            report_conventions(tables, theta, simulate(theta)["rest_flux"], seen)
            return
        for name, thetas in variants(theta).items():
            found = simulate(thetas)
            difference = np.where(seen, relative(model, thetas, found["rest_flux"]), np.nan)
            report(name, difference, BANDS)
            if name == AS_THEY_ARE:
                report_properties(model, thetas, found["properties"])
                report_worst(difference, model, tables, thetas)


def report_properties(model: ExactModel, theta: np.ndarray, found: np.ndarray) -> None:
    """Differences of what only a spectrum tells."""
    derive = jax.jit(lambda thetas: jax.lax.map(model.spectral_properties, thetas, batch_size=8))
    derived = derive(jnp.asarray(theta))
    offset = np.abs(np.stack([derived[key] for key in SPECTRAL_PROPERTIES], axis=1) - found)
    print("50% and 99% of the absolute difference:", ", ".join(SPECTRAL_PROPERTIES))
    print(np.round(np.percentile(offset, (50, 99), axis=0), 4))


if __name__ == "__main__":
    main()
