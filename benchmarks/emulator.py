"""Cost of one galaxy's fluxes and of their gradient: the emulator in the package against the papers' kind of network.

    uv run python benchmarks/emulator.py [--all-bands]

Values, and values with the gradient of a sum of squares of fluxes in all parameters, in a batch of 1000, on one core.
The rivals are networks of the architecture of Mathews et al. (2023), 5 hidden layers of GELU units, with random
weights: their values do not matter to the cost. Rounds alternate; the figures are medians over rounds of the time
on the processor.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import argparse

import jax
from flax import nnx

from starling.components import SPECTRAL_PROPERTIES
from starling.emulators import PhotometryEmulator, load_default
from starling.emulators.branch import Branch
from starling.emulators.direct import ROLE, direct_core
from starling.emulators.features import FeatureRecipe, fit_features
from starling.emulators.networks import Architecture, Network
from starling.validation.cost import measure

AEGIS = (
    *("cfht_megacam_us_9301", "cfht_megacam_gs_9401", "acs_wfc_f606w", "cfht_megacam_rs_9601"),
    *("cfht_megacam_is_9701", "acs_wfc_f814w", "cfht_megacam_zs_9801", "wfc3_ir_f125w", "mayall_newfirm_J1"),
    *("mayall_newfirm_J2", "mayall_newfirm_J3", "cfht_wircam_J_8101", "wfc3_ir_f140w", "mayall_newfirm_H1"),
    *("cfht_wircam_H_8201", "wfc3_ir_f160w", "mayall_newfirm_H2", "mayall_newfirm_K", "cfht_wircam_Ks_8302"),
    *("spitzer_irac_ch1", "spitzer_irac_ch2", "spitzer_irac_ch3", "spitzer_irac_ch4", "spitzer_mips_24"),
)
WIDTHS, BATCH, ROUNDS = (128, 256, 512), 1000, 15


def direct_network(like: PhotometryEmulator, width: int) -> PhotometryEmulator:
    """An emulator of the papers' kind for the same bands, with random weights."""
    theta = like.space.sample(jax.random.key(1), (1000,))
    features = fit_features(FeatureRecipe(), like.space, theta)
    n_outputs = len(like.bands) + len(SPECTRAL_PROPERTIES)
    shape = Architecture(features.shift.size, n_outputs, width, 5)
    branch = Branch(features, Network(shape, rngs=nnx.Rngs(0)))
    core = direct_core({ROLE: branch}, like.softening)
    return PhotometryEmulator(
        core,
        like.sigma_mag,
        like.wave_effective_aa,
        like.space,
        like.bands,
        like.softening,
        like.observed_softening,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all-bands", action="store_true", help="all bands of the emulator, not 24 of AEGIS")
    whole = load_default()
    ours = whole if parser.parse_args().all_bands else whole.select(AEGIS)
    models = {"package": ours} | {f"5 x {width}": direct_network(ours, width) for width in WIDTHS}
    costs = measure(models, BATCH, ROUNDS)
    print(
        f"{len(ours.bands)} bands, microseconds of CPU per galaxy on one core, batch of {BATCH}, median of {ROUNDS}"
    )
    print(f"{'emulator':10s} {'value':>8s} {'value and gradient':>20s}")
    for name, cost in costs.items():
        print(f"{name:10s} {cost.value_us:8.2f} {cost.gradient_us:20.2f}")


if __name__ == "__main__":
    main()
