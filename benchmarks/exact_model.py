"""Cost of one exact model in 25 bands: starling in a batch against Bagpipes, side by side on one core.

    uv run python benchmarks/exact_model.py

Both compute stars (7-bin history), nebulae, dust attenuation and emission, and the IGM, at other parameters every time.
Rounds of the two alternate, so that whatever else the machine does meets both; the figures are medians over rounds.
Bagpipes runs at its default resolution (R = 100), which is off by up to 2% in such bands; starling integrates at the
resolution of its tables (below 0.3%).
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

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
from starling.sps import exact_model, load_tables

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
    ours = exact_model(load_tables(), BANDS)
    thetas = prospector_alpha(agn=False).sample(jax.random.key(0), (BATCH,))
    values = jax.jit(lambda m, t: jax.lax.map(m, t, batch_size=64))
    gradients = jax.jit(lambda m, t: jax.lax.map(jax.jacfwd(m), t, batch_size=16))
    values(ours, thetas).block_until_ready()
    gradients(ours, thetas[:64]).block_until_ready()
    with tempfile.TemporaryDirectory() as folder:
        theirs, components, move = bagpipes_model(Path(folder))
    taken: dict[str, list[float]] = {"starling": [], "bagpipes": [], "jacobian": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        values(ours, thetas).block_until_ready()
        taken["starling"].append((time.perf_counter() - start) / BATCH)
        start = time.perf_counter()
        gradients(ours, thetas[:64]).block_until_ready()
        taken["jacobian"].append((time.perf_counter() - start) / 64)
        spent = 0.0
        for _ in range(THEIRS):
            move()
            start = time.perf_counter()
            theirs.update(components)
            spent += time.perf_counter() - start
            if not np.all(theirs.photometry > 0):
                raise RuntimeError("Bagpipes left a model out as unphysical: the comparison would be unfair")
        taken["bagpipes"].append(spent / THEIRS)
    milliseconds = {name: 1e3 * np.array(times) for name, times in taken.items()}
    for name, times in milliseconds.items():
        print(f"{name:9s} median {np.median(times):7.3f} ms  (min {times.min():.3f}, max {times.max():.3f})")
    ratio = milliseconds["bagpipes"] / milliseconds["starling"]
    print(f"bagpipes / starling, per round: median {np.median(ratio):.1f} (min {ratio.min():.1f}); bar: 10")
    print("jacobian: all 25 bands by all 16 parameters, forward mode")


if __name__ == "__main__":
    main()
