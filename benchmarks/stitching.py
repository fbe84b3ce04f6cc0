"""Six stitched emulators against one network with expanded redshift features, 0 < z < 12, in the 24 bands of AEGIS.

    uv run python benchmarks/stitching.py train --sps-home DIR [--n-train 16384] [--epochs 48] [--kind mixture]
    uv run python benchmarks/stitching.py compare --sps-home DIR
    uv run python benchmarks/stitching.py cost

Both are trained on the same simulated galaxies and see as many in all: galaxies in overlaps are seen by two domains, so
the one network gets more epochs. Networks are those of configs/train_prospector_alpha.yaml (``direct``: 4 layers of 256
units); the one network has 2.6 times as many cosines of redshift, in proportion to its range, and four times the batch.
``train`` continues where it was stopped; it is done when it says so, and goes on with what is missing if given again.
``compare`` prints errors on new draws from the prior by redshift and draws two figures: these, and what happens
across the overlaps. ``cost`` prints microseconds per galaxy on one core in a batch of 1000. Everything is in --workdir.
"""

import os
import sys

if "cost" in sys.argv:
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import argparse
import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import yaml
from emulator import AEGIS
from jax import Array

from starling.cli.simulator import build_model, describe_model, make_simulator
from starling.emulators import PhotometryEmulator, load_emulator
from starling.emulators.config import TrainingConfig
from starling.emulators.pipeline import Hooks, simulate_sets, train_emulator
from starling.emulators.stitched import StitchedCore
from starling.execution import Threads
from starling.photometry import arsinh_magnitude
from starling.sps import ExactModel
from starling.validation.cost import measure

DOMAINS = [[0.001, 2.25], [1.75, 4.25], [3.75, 6.25], [5.75, 8.25], [7.75, 10.25], [9.75, 12.0]]
# galaxies that the domains see in all, in units of those that there are
SEEN_TWICE = sum(high - low for low, high in DOMAINS) / (DOMAINS[-1][1] - DOMAINS[0][0])
RANGE_RATIO = 2.6  # ln 13, the whole range of ln(1 + z), over that of the configuration (0.5 < z < 3)
VARIANTS = ("stitched", "one network")
BIN = 0.5
BATCH, ROUNDS = 1000, 15
SHOWN = ("acs_wfc_f814w", "wfc3_ir_f160w", "spitzer_irac_ch2")
DIRECT = {
    "kind": "direct",
    "width": 256,
    "depth": 4,
    "residual": True,
    "features": {
        "transforms": {"dust2": ["identity", "log_shifted", "log_near_0"], "zred": ["log1p"]},
        "products": [["dust1_fraction", "dust2"], ["dust2", "dust_index"]],
        "log_bin_masses": True,
        "redshift_harmonics": 48,
    },
}


def configuration(variant: str, kind: str, n_train: int, epochs: int, agn: bool) -> TrainingConfig:
    """The configuration of one of the ``VARIANTS``, from the one of the package's own emulator."""
    base = Path(__file__).parents[1] / "configs" / "train_prospector_alpha.yaml"
    content: dict[str, Any] = yaml.safe_load(base.read_text())
    if kind == "direct":
        content["network"] = DIRECT
    if not agn:
        content["network"].pop("torus", None)
    stitched = variant == "stitched"
    size = 256 if stitched else 1024
    epochs = epochs if stitched else round(SEEN_TWICE * epochs)
    last = epochs // 4
    stages = [
        {"epochs": epochs - last, "batch_size": size},
        {"epochs": last, "batch_size": 4 * size},
    ]
    content |= {
        "name": f"{kind}_{variant.replace(' ', '_')}",
        "bands": AEGIS,
        "space": {"agn": agn, "zred": [DOMAINS[0][0], DOMAINS[-1][1]]},
        "sets": {
            "n_train": n_train,
            "n_validation": max(512, n_train // 16),
            "n_test": max(512, n_train // 8),
            "chunk": 512,
        },
        "training": content["training"] | {"stages": stages, "checkpoint_minutes": 0.5},
    }
    if stitched:
        content["stitch"] = {"domains": DOMAINS}
    else:
        networks = [content["network"]] if kind == "direct" else content["network"].values()
        for network in networks:
            features = network.get("features", {}) if isinstance(network, dict) else {}
            if features.get("redshift_harmonics"):
                features["redshift_harmonics"] = round(RANGE_RATIO * features["redshift_harmonics"])
    return TrainingConfig.model_validate(content)


def train(options: argparse.Namespace) -> None:
    """Simulate what is missing, then train both variants; each part is kept as it is finished."""
    for variant in VARIANTS:
        config = configuration(
            variant, options.kind, options.n_train, options.epochs, options.sps_home is not None
        )
        model = build_model(config.simulator.tables, config.space.build(), config.bands, options.sps_home)
        description = describe_model(model)
        simulator = make_simulator(model, config.simulator.batch, components=True)
        hooks = Hooks(say=print, simulated=print, epoch=_say_some)
        sets = simulate_sets(
            config,
            simulator,
            description,
            options.workdir / "sets",
            executor=Threads(options.workers),
            hooks=hooks,
        )
        start = time.monotonic()
        folder = options.workdir / config.name
        out = options.workdir / f"{config.name}.safetensors"
        train_emulator(config, sets, description, workdir=folder, out=out, hooks=hooks)
        print(f"{config.name}: trained in {time.monotonic() - start:.0f} s in this call")


def _say_some(report: Any) -> None:
    if report.epoch % 8 == 0 or report.epoch == report.n_epochs:
        print(report, flush=True)


def trained(options: argparse.Namespace) -> dict[str, PhotometryEmulator]:
    """The emulators that ``train`` left, by variant."""
    names = {v: f"{options.kind}_{v.replace(' ', '_')}.safetensors" for v in VARIANTS}
    return {variant: load_emulator(options.workdir / name) for variant, name in names.items()}


@jax.jit
def magnitudes(model: PhotometryEmulator, theta: Array) -> Array:
    """Arsinh magnitudes at 10 pc per Msun formed."""
    return arsinh_magnitude(jax.lax.map(model.rest_flux, theta, batch_size=1024), model.softening)


@jax.jit
def exact_magnitudes(model: ExactModel, theta: Array, softening: Array) -> Array:
    return arsinh_magnitude(jax.lax.map(model.rest_flux, theta, batch_size=64), softening)


@jax.jit
def slopes(model: PhotometryEmulator, theta: Array) -> Array:
    """d magnitude / dz."""

    def one(theta: Array) -> Array:
        return arsinh_magnitude(model.rest_flux(theta), model.softening)

    index = model.space.index("zred")
    tangent = jnp.zeros(theta.shape[-1]).at[index].set(1.0)
    return jax.lax.map(lambda t: jax.jvp(one, (t,), (tangent,))[1], theta, batch_size=1024)


def compare(options: argparse.Namespace) -> None:
    """Errors by redshift and what happens across overlaps: tables, errors.json and two figures."""
    emulators = trained(options)
    space = emulators["stitched"].space
    exact = build_model("bagpipes", space, AEGIS, options.sps_home)
    theta = space.sample(jax.random.key(12345), (options.n_test,))
    truth = exact_magnitudes(exact, theta, jnp.asarray(emulators["stitched"].softening))
    errors = {name: np.asarray(magnitudes(model, theta) - truth) for name, model in emulators.items()}
    report = errors_by_redshift(errors, np.asarray(theta[:, space.index("zred")]), options.workdir)
    (options.workdir / f"errors_{options.kind}.json").write_text(json.dumps(report, indent=1))
    across_overlaps(emulators, exact, options)


def errors_by_redshift(errors: dict[str, np.ndarray], zred: np.ndarray, workdir: Path) -> dict[str, Any]:
    """Standard deviation and 99.9% quantile per band in bins of redshift; the medians over bands are printed."""
    edges = np.arange(0.0, 12.0 + BIN, BIN)
    report: dict[str, Any] = {"n": len(zred), "edges": edges.tolist()}
    for name, error in errors.items():
        by_bin = [error[(zred >= low) & (zred < low + BIN)] for low in edges[:-1]]
        whole = error.std(axis=0)
        report[name] = {
            "sigma": whole.tolist(),
            "abs_999": np.quantile(np.abs(error), 0.999, axis=0).tolist(),
            "median_band": [float(np.median(part.std(axis=0))) for part in by_bin],
            "worst_band": [float(part.std(axis=0).max()) for part in by_bin],
        }
        print(
            f"{name:12s} sigma, mag: median band {np.median(whole):.4f}, worst {AEGIS[int(whole.argmax())]} "
            f"{whole.max():.4f}; 99.9% within, median band: {np.median(report[name]['abs_999']):.3f}"
        )
    print("\nsigma by redshift, mag: median band (worst band)")
    print("   z       " + "".join(f"{name:>22s}" for name in errors))
    for i, low in enumerate(edges[:-1]):
        cells = [f"{report[n]['median_band'][i]:.4f} ({report[n]['worst_band'][i]:.4f})" for n in errors]
        print(f"{low:4.1f}-{low + BIN:4.1f}  " + "".join(f"{cell:>22s}" for cell in cells))
    figure, axes = plt.subplots(figsize=(8, 4), constrained_layout=True)
    for number, name in enumerate(errors):
        for kind, style in (("median_band", "-"), ("worst_band", ":")):
            axes.stairs(report[name][kind], edges, color=f"C{number}", ls=style, label=f"{name}, {kind}")
    for low, high in overlaps():
        axes.axvspan(low, high, color="0.9", zorder=0)
    axes.set(xlabel="redshift", ylabel="sigma (mag)", yscale="log")
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(workdir / "errors_by_redshift.png", dpi=120)
    return report


def overlaps() -> list[tuple[float, float]]:
    return [(above[0], below[1]) for below, above in pairwise(DOMAINS)]


def across_overlaps(
    emulators: dict[str, PhotometryEmulator], exact: ExactModel, options: argparse.Namespace
) -> None:
    """One galaxy through every overlap: errors of the magnitudes and their slopes, members alone dashed."""
    stitched = emulators["stitched"]
    assert isinstance(stitched.core, StitchedCore)
    index = stitched.space.index("zred")
    galaxy = stitched.space.sample(jax.random.key(options.galaxy))
    figure, axes = plt.subplots(2, 5, figsize=(17, 6), sharex="col", constrained_layout=True)
    for column, (low, high) in enumerate(overlaps()):
        zred = np.linspace(low - 0.2, high + 0.2, 361)
        theta = jnp.tile(galaxy, (len(zred), 1)).at[:, index].set(jnp.asarray(zred))
        truth = np.asarray(exact_magnitudes(exact, theta, jnp.asarray(stitched.softening)))
        error = np.asarray(magnitudes(stitched, theta)) - truth
        slope = np.asarray(slopes(stitched, theta))
        # the largest step between neighbours beyond what the slope says, and the largest step of the slope
        steps = np.abs(np.diff(np.asarray(magnitudes(stitched, theta)), axis=0))
        print(
            f"overlap {low:.2f}-{high:.2f}: largest step of a magnitude over dz = {zred[1] - zred[0]:.4f}: "
            f"{steps.max():.4f}, of the slope: {np.abs(np.diff(slope, axis=0)).max():.3f}"
        )
        for number, band in enumerate(SHOWN):
            at = AEGIS.index(band)
            axes[0, column].plot(zred, error[:, at], f"C{number}", label=band)
            axes[1, column].plot(zred, slope[:, at], f"C{number}")
            for member in (column, column + 1):
                alone = replace(stitched, core=stitched.core.at((member,)))
                own = (zred >= DOMAINS[member][0]) & (zred <= DOMAINS[member][1])
                part = np.asarray(magnitudes(alone, theta))[own, at] - truth[own, at]
                axes[0, column].plot(zred[own], part, f"C{number}", ls="--", lw=0.7)
        for row in axes[:, column]:
            row.axvspan(low, high, color="0.93", zorder=0)
        axes[1, column].set_xlabel("redshift")
    axes[0, 0].set_ylabel("emulated - exact (mag)")
    axes[1, 0].set_ylabel("d mag / dz, emulated")
    axes[0, 0].legend(fontsize="small")
    figure.savefig(options.workdir / "across_overlaps.png", dpi=100)


def cost(options: argparse.Namespace) -> None:
    """Microseconds per galaxy, values and values with gradients."""
    emulators = trained(options)
    stitched = emulators["stitched"]
    assert isinstance(stitched.core, StitchedCore)
    models = {
        "one network": emulators["one network"],
        "stitched, z known, outside overlaps": replace(stitched, core=stitched.core.at((1,))),
        "stitched, z known, in an overlap": replace(stitched, core=stitched.core.at((1, 2))),
        "stitched, z free": stitched,
    }
    costs = measure(models, BATCH, ROUNDS)
    print(f"{options.kind}, {len(AEGIS)} bands, microseconds of CPU per galaxy on one core, batch of {BATCH}")
    print(f"{'':38s} {'value':>8s} {'value and gradient':>20s}   medians of {ROUNDS}")
    for name, found in costs.items():
        print(f"{name:38s} {found.value_us:8.1f} {found.gradient_us:20.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("train", "compare", "cost"))
    parser.add_argument("--kind", choices=("mixture", "direct"), default="mixture")
    parser.add_argument("--workdir", type=Path, default=Path("runs/stitching"))
    parser.add_argument("--sps-home", type=Path, help="FSPS data directory; without it there is no AGN torus")
    parser.add_argument("--n-train", type=int, default=16384, help="simulated galaxies to train on")
    parser.add_argument("--epochs", type=int, default=48, help="epochs of the stitched networks")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--n-test", type=int, default=8192, help="new draws from the prior to compare on")
    parser.add_argument("--galaxy", type=int, default=0, help="seed of the galaxy of the second figure")
    options = parser.parse_args()
    {"train": train, "compare": compare, "cost": cost}[options.step](options)


if __name__ == "__main__":
    main()
