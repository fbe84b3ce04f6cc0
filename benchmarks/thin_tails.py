"""Training sets drawn from the prior fail in its tails (Mathews et al. 2023, section 4.2), shown on the exact model.

    uv run python benchmarks/thin_tails.py [--rows 32768] [--epochs 200] [--sps-home DIR]

Two networks of the papers' kind, alike in all but their training sets: one drawn from the prior ("thin tails"), one
from ``starling.spaces.training_space`` ("thick tails"). They are evaluated along a line in the star-formation
history: all six log SFR ratios are t, everything else is at the median of the prior, at redshift 1. At t = 0 there is
the paper's galaxy A, with a constant history; far along the line is its galaxy B, whose history declines fast and has
hardly any draw of the prior near it (t < 0: each bin forms less than the older one before it). The figure that counts
is the largest error of the bands, emulated minus exact. With --sps-home, the emulator in the package is put on the
same line; it has the AGN torus, whose table is there, and it learns no SFR ratios.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from starling.cli.simulator import build_model, make_simulator
from starling.components import RATIOS
from starling.emulators import load_default
from starling.emulators.branch import Branch
from starling.emulators.config import OptimizerConfig
from starling.emulators.direct import ROLE, DirectCore, direct_core, direct_rows, direct_task
from starling.emulators.features import FeatureRecipe, fit_features
from starling.emulators.networks import Architecture
from starling.emulators.training import train_model
from starling.forward import ForwardModel
from starling.lines import line_light
from starling.parameters import ParameterSpace
from starling.photometry import POGSON, load_bands
from starling.simulation import DrawPlan, SimulatedSet, Simulator, draw_chunk
from starling.spaces import prospector_alpha, training_space

BANDS = (
    *("cfht_megacam_us_9301", "cfht_megacam_gs_9401", "acs_wfc_f606w", "acs_wfc_f814w", "wfc3_ir_f125w"),
    *("wfc3_ir_f160w", "cfht_wircam_Ks_8302", "spitzer_irac_ch1"),
)
ALONG = np.array([0.0, -0.25, -0.5, -0.75, -1.0, -1.5, -2.0])
SOFTENING = 10.0 ** (-0.4 * 18.0)
CHUNK, ZRED = 2048, 1.0


def line(space: ParameterSpace) -> np.ndarray:
    """Galaxies from A to B and beyond."""
    middle = space.from_unit_cube(jnp.full(len(space), 0.5))
    values = space.unpack(jnp.tile(middle, (len(ALONG), 1))) | {"zred": jnp.full(len(ALONG), ZRED)}
    values |= {name: jnp.asarray(ALONG, jnp.float32) for name in RATIOS}
    return np.asarray(space.pack({name: values[name] for name in space.names}))


def simulated(simulate: Simulator, space: ParameterSpace, n: int, seed: int) -> SimulatedSet:
    plan = DrawPlan(space, n, seed, chunk=CHUNK)
    theta = [draw_chunk(plan, i) for i in range(plan.n_chunks)]
    parts = [simulate(t) for t in theta]
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return SimulatedSet(np.concatenate(theta), outputs, 0)


def trained(
    space: ParameterSpace, train: SimulatedSet, held_out: SimulatedSet, width: int, epochs: int, light
) -> tuple[DirectCore, float]:
    """An emulator, and its sigma (median band) on draws like those that it was trained on."""
    theta = jnp.asarray(train.theta)
    features = fit_features(FeatureRecipe(log_bin_masses=False), space, theta)
    rows, others = (
        direct_rows(
            features,
            light,
            space,
            SOFTENING,
            jnp.asarray(s.theta),
            {k: jnp.asarray(v) for k, v in s.outputs.items()},
        )
        for s in (train, held_out)
    )
    task = direct_task(Architecture(features.shift.size, rows.targets.shape[1], width, 5), rows)
    settings = OptimizerConfig.model_validate(
        {
            "optimizer": "nadam",
            "learning_rate": 2e-3,
            "stages": [{"epochs": epochs, "batch_size": 256}],
            "checkpoint_minutes": 1000.0,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        model = train_model(
            task,
            rows,
            others,
            settings,
            seed=1,
            workdir=Path(folder),
            run_hash="",
            output_names=[*BANDS, "mass", "u-v", "v-j", "lir"],
        )
    error = np.asarray(task.error(model, others))[:, : len(BANDS)]
    return direct_core({ROLE: Branch(features, task.finish(model))}, SOFTENING), float(
        np.median(np.std(error, axis=0))
    )


def errors_of(model, exact: ForwardModel, theta: np.ndarray) -> np.ndarray:
    """Emulated minus exact magnitudes."""
    theta = jnp.asarray(theta)
    emulated, true = (jax.jit(jax.vmap(m.rest_flux))(theta) for m in (model, exact))
    return -POGSON * np.log(np.asarray(emulated) / np.asarray(true))


def share_beyond(space: ParameterSpace, t: float) -> float:
    """The share of draws of one SFR ratio that are further out."""
    prior = space.parameters[space.index(RATIOS[0])].prior
    return float(prior.cdf(jnp.asarray(t)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32768)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--sps-home", type=Path, help="FSPS data directory, for the emulator in the package.")
    options = parser.parse_args()
    prior = prospector_alpha(agn=False)
    exact = build_model("bagpipes", prior, BANDS, None)
    simulate = make_simulator(exact, 64, components=False)
    light = line_light(exact.line_light.wave_aa, load_bands(BANDS), 3.0)
    columns: dict[str, np.ndarray] = {}
    for name, space in (("thin tails", prior), ("thick tails", training_space(prior))):
        train, held_out = (simulated(simulate, space, n, s) for n, s in ((options.rows, 1), (2048, 2)))
        core, sigma = trained(prior, train, held_out, options.width, options.epochs, light)
        print(f"{name}: sigma {sigma:.4f} mag in the median band, on draws like its own", flush=True)
        columns[name] = errors_of(core, exact, line(prior))
    if options.sps_home is not None:
        package = load_default().select(BANDS)
        whole = build_model("bagpipes", package.space, BANDS, options.sps_home)
        columns["the package's"] = errors_of(package, whole, line(package.space))
    print("\nlargest error of the bands, magnitudes")
    print(f"{'t':>6s} {'draws beyond, %':>16s} " + " ".join(f"{name:>14s}" for name in columns))
    for i, t in enumerate(ALONG):
        worst = " ".join(f"{np.max(np.abs(errors[i])):14.3f}" for errors in columns.values())
        print(f"{t:6.2f} {100 * share_beyond(prior, t):16.2f} {worst}")


if __name__ == "__main__":
    main()
