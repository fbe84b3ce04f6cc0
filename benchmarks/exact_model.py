"""Cost of one exact model in 25 bands: starling in a batch against Bagpipes, side by side on one core.

    uv run python benchmarks/exact_model.py [TABLES]

Both compute stars (7-bin history), nebulae, dust attenuation and emission, and the IGM, at other parameters every time.
Rounds of the two alternate, so that whatever else the machine does meets both; the figures are medians over rounds.
Bagpipes runs at its default resolution (R = 100), which is off by up to 2% in such bands; starling integrates at the
resolution of its tables (below 0.3%). Times are CPU time. With TABLES, a file of `starling ssp export`, the exact
model on those runs beside them.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import sys
import tempfile
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from starling.photometry import load_bands
from starling.sfh import bin_edges_gyr
from starling.spaces import prospector_alpha
from starling.sps import exact_model, load_ssp_tables, load_tables

BANDS = (
    *(
        "cfht_megacam_us_9301",
        "subaru_suprimecam_B",
        "subaru_suprimecam_V",
        "acs_wfc_f606w",
        "subaru_suprimecam_rp",
    ),
    *("subaru_suprimecam_ip", "acs_wfc_f814w", "subaru_suprimecam_zp", "vista_vircam_Y", "wfc3_ir_f125w"),
    *("vista_vircam_J", "wfc3_ir_f140w", "wfc3_ir_f160w", "vista_vircam_H", "vista_vircam_Ks", "jwst_f200w"),
    *("jwst_f277w", "jwst_f356w", "jwst_f444w", "spitzer_irac_ch1", "spitzer_irac_ch2", "spitzer_irac_ch3"),
    *("spitzer_irac_ch4", "sdss_u0", "sdss_g0"),
)
ROUNDS, BATCH, THEIRS = 9, 512, 40
DL07 = {"qpah": 2.0, "umin": 1.5, "gamma": 0.02}


def _edges_myr(zred: float) -> list[float]:
    """Bin edges in Myr; a little short of the age of the universe, which is another one in Bagpipes' cosmology."""
    return list(np.asarray(bin_edges_gyr(jnp.asarray(zred)), float) * 0.95e3)


def bagpipes_model(folder: Path):
    """A Bagpipes model and the function that moves it to other parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bagpipes
    paths = []
    for band in load_bands(BANDS):
        paths.append(str(folder / f"{band.name}.dat"))
        np.savetxt(paths[-1], np.column_stack([band.wave_aa, band.transmission]))
    edges = _edges_myr(1.0)
    history = {"massformed": 10.5, "metallicity": 0.7, "bin_edges": edges} | {
        f"dsfr{i}": 0.1 for i in range(1, 7)
    }
    components = {
        "redshift": 1.0,
        "continuity": history,
        "dust": {
            "type": "Salim",
            "Av": 0.5,
            "delta": -0.2,
            "B": 2.0,
            "eta": 2.0,
            "qpah": 2.0,
            "umin": 1.5,
            "gamma": 0.02,
        },
        "nebular": {"logU": -2.0},
    }
    model = bagpipes.model_galaxy(components, filt_list=paths, phot_units="mujy")
    random = np.random.default_rng(0)

    def move() -> None:
        components["dust"]["Av"] = random.uniform(0.1, 2.0)
        components["redshift"] = random.uniform(0.6, 2.9)
        for i in range(1, 7):
            history[f"dsfr{i}"] = random.normal(0.0, 0.3)
        history["bin_edges"] = _edges_myr(components["redshift"])

    return model, components, move


def main() -> None:
    models = {"starling": exact_model(load_tables(), BANDS)}
    if len(sys.argv) > 1:
        warnings.simplefilter("ignore")
        # as many components as the others have
        models["starling on TABLES"] = exact_model(load_ssp_tables(sys.argv[1])._replace(torus=None), BANDS)
    thetas = prospector_alpha(agn=False).sample(jax.random.key(0), (BATCH,))
    values = jax.jit(lambda m, t: jax.lax.map(m, t, batch_size=64))
    gradients = jax.jit(lambda m, t: jax.lax.map(jax.jacfwd(m), t, batch_size=16))
    runs = {name: (values, model, thetas) for name, model in models.items()}
    runs |= {f"{name}, jacobian": (gradients, model, thetas[:64]) for name, model in models.items()}
    for run, model, points in runs.values():
        run(model, points).block_until_ready()
    with tempfile.TemporaryDirectory() as folder:
        theirs, components, move = bagpipes_model(Path(folder))
    taken: dict[str, list[float]] = {name: [] for name in (*runs, "bagpipes")}
    for _ in range(ROUNDS):
        for name, (run, model, points) in runs.items():
            start = time.process_time()
            run(model, points).block_until_ready()
            taken[name].append((time.process_time() - start) / len(points))
        spent = 0.0
        for _ in range(THEIRS):
            move()
            start = time.process_time()
            theirs.update(components)
            spent += time.process_time() - start
            if not np.all(theirs.photometry > 0):
                raise RuntimeError("Bagpipes left a model out as unphysical: the comparison would be unfair")
        taken["bagpipes"].append(spent / THEIRS)
    microseconds = {name: 1e6 * np.array(times) for name, times in taken.items()}
    for name, times in microseconds.items():
        print(f"{name:28s} median {np.median(times):7.0f} us  (min {times.min():.0f}, max {times.max():.0f})")
    for name in models:
        ratio = microseconds["bagpipes"] / microseconds[name]
        print(f"bagpipes / {name}, per round: median {np.median(ratio):.1f} (min {ratio.min():.1f}); bar: 10")
    print("jacobian: all 25 bands by all 16 parameters, forward mode")


if __name__ == "__main__":
    main()
