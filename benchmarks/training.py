"""Does training on derivatives help, and does drawing new galaxies? Small networks of the exact model, at equal cost.

    uv run python benchmarks/training.py [--rows 16384] [--seconds 40] [--kinds direct mixture]

The exact model without AGN in 10 bands, 16 parameters, networks of 3 hidden layers of 64 units. Every run has the same
CPU time to train in (its number of epochs is set by what an epoch costs), so the schedule ends in each of them. We
compare training on values; on values and derivatives along one direction per galaxy with several weights; and on the
values of twice as many galaxies, since a galaxy with a derivative costs about twice the simulation. Errors are on
held-out draws from the prior: sigma of magnitudes in the median and worst band, and of directional derivatives (RMS,
magnitudes per unit of prior-whitened coordinates) as a part of the exact ones.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from starling.cli.simulator import build_model, describe_model, make_simulator
from starling.emulators.config import TrainingConfig
from starling.emulators.pipeline import simulate_sets
from starling.emulators.prepare import prepare, rows_of
from starling.emulators.sobolev import WithTangents, tangent_error
from starling.emulators.training import predict_errors, train_model
from starling.execution import Threads
from starling.lines import line_light
from starling.photometry import load_bands

BANDS = (
    *("sdss_u0", "sdss_g0", "sdss_r0", "sdss_i0", "sdss_z0", "twomass_J", "twomass_H", "twomass_Ks"),
    *("spitzer_irac_ch1", "spitzer_irac_ch4"),
)
SMALL: dict[str, Any] = {"width": 64, "depth": 3, "residual": True}
LIGHT = ["logzsol", "gas_logz", "dust2", "dust_index", "dust1_fraction"]
KNOTS = {"logzsol": [-1.699, -0.699, -0.398, 0.0], "gas_logz": [-1.699, -0.699, -0.398, 0.0, 0.398]}
STARS: dict[str, Any] = {
    "parameters": [*LIGHT, "zred"],
    "transforms": {"dust2": ["identity", "log_shifted"], "zred": ["log1p"]},
    "products": [["dust1_fraction", "dust2"], ["dust2", "dust_index"]],
    "knots": KNOTS,
    "redshift_harmonics": 16,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "direct": {
        "kind": "direct",
        **SMALL,
        "features": {**STARS, "parameters": None, "log_bin_masses": True},
    },
    "mixture": {
        "kind": "mixture",
        "stars": {**SMALL, "features": STARS},
        "lines": {
            **SMALL,
            "features": {"parameters": LIGHT, "products": STARS["products"], "knots": KNOTS},
        },
        "dust": {
            **SMALL,
            "features": {
                "parameters": ["duste_qpah", "duste_umin", "log_duste_gamma", "zred"],
                "transforms": {"duste_umin": ["identity", "log"]},
                "redshift_harmonics": 16,
            },
        },
    },
}


def config_for(kind: str, rows: int, epochs: int, weight: float) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "name": kind,
            "seed": 1,
            "bands": BANDS,
            "space": {"agn": False},
            "simulator": {"batch": 64},
            "sets": {"n_train": rows, "n_validation": 2048, "n_test": 4096, "chunk": 2048},
            "network": NETWORKS[kind],
            "training": {
                "stages": [{"epochs": epochs, "batch_size": 512}],
                "sobolev_weight": weight,
                "checkpoint_minutes": 1000.0,
            },
        }
    )


def first_rows(sets: dict[str, Any], share: float) -> dict[str, Any]:
    """The sets with a part of the training rows."""

    def cut(simulated: Any) -> Any:
        n = round(share * len(simulated.theta))
        outputs = {name: array[:n] for name, array in simulated.outputs.items()}
        return simulated._replace(theta=simulated.theta[:n], outputs=outputs)

    return {name: cut(s) if name.startswith("train") else s for name, s in sets.items()}


def trained(config: TrainingConfig, sets: dict[str, Any], light: Any, weight: float, folder: Path) -> Any:
    """A model with the seconds of CPU that its training took, its errors in magnitudes and in derivatives."""
    whole = prepare(config, sets, light)  # always with tangents, which the errors are measured with
    inner = whole.task.task
    task, train, held_out = (
        (whole.task, whole.train, whole.validation)
        if weight
        else (inner, whole.train.rows, whole.validation.rows)
    )
    names = [str(i) for i in range(1000)]
    clock: list[float] = [time.process_time()]
    model = train_model(
        task,
        train,
        held_out,
        config.training,
        seed=1,
        workdir=folder,
        run_hash="one",
        output_names=names,
        resume=False,
        report=lambda _: clock.append(time.process_time()),
    )
    test = rows_of(whole.make, [sets["test_prior"]])
    errors = np.asarray(predict_errors(model, inner, test.rows))[:, : len(BANDS)]
    change = np.asarray(jax.jit(tangent_error)(inner, model, test))[:, : len(BANDS)]
    return np.median(np.diff(clock)[1:]), clock[-1] - clock[1], errors, change, test


def exact_changes(kind: str, test: WithTangents) -> Any:
    """Exact derivatives of the magnitudes along the direction of each galaxy, of the papers' kind of rows."""
    del kind
    return np.asarray(test.tangents.targets)[:, : len(BANDS)]


def compare(kind: str, rows: int, seconds: float, weights: Sequence[float], sets: dict[str, Any], light: Any):
    cases = [("values", 0.0, 0.5), *((f"derivatives x {w:g}", w, 0.5) for w in weights)]
    cases.append(("values, twice the galaxies", 0.0, 1.0))
    direct = config_for("direct", 2 * rows, 1, 1.0)
    reference = prepare(direct, sets, light)
    exact = exact_changes(kind, rows_of(reference.make, [sets["test_prior"]]))
    size = np.sqrt(np.mean(exact**2, axis=0))
    for name, weight, share in cases:
        part = first_rows(sets, share)
        with tempfile.TemporaryDirectory() as folder:
            # 1e-9: rows with derivatives also where the loss does not look at them
            trial = config_for(kind, 2 * rows, 4, weight or 1e-9)
            epoch, *_ = trained(trial, part, light, weight, Path(folder))
            config = config_for(kind, 2 * rows, max(4, round(seconds / epoch)), weight or 1e-9)
            _, spent, errors, change, _ = trained(config, part, light, weight, Path(folder))
        sigma = np.std(errors, axis=0)
        slope = np.sqrt(np.mean(change**2, axis=0)) / size
        tail = np.quantile(np.abs(errors), 0.999, axis=0)
        print(
            f"{kind:8s} {name:28s} {config.training.stages[0].epochs:5d} epochs {spent:6.0f} s  "
            f"sigma {np.median(sigma):.4f} {np.max(sigma):.4f}  99.9% {np.median(tail):.3f}  "
            f"derivatives {np.median(slope):.3f} {np.max(slope):.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--seconds", type=float, default=40.0, help="CPU seconds of training per run")
    parser.add_argument("--kinds", nargs="*", default=list(NETWORKS))
    parser.add_argument("--weights", nargs="*", type=float, default=[0.03, 0.3])
    parser.add_argument("--sets", type=Path, help="Folder that keeps the simulated sets.")
    options = parser.parse_args()
    config = config_for("direct", 2 * options.rows, 1, 1.0)
    model = build_model("bagpipes", config.space.build(), BANDS, None)
    description = describe_model(model) | {"tangents": True}
    simulator = make_simulator(model, config.simulator.batch, components=True, tangents=True)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        sets = simulate_sets(
            config, simulator, description, options.sets or Path(folder), executor=Threads(2)
        )
        print(f"simulations with derivatives: {time.process_time() - start:.0f} CPU s", flush=True)
        plain = make_simulator(model, config.simulator.batch, components=True)
        theta = sets["test_prior"].theta[:2048]
        for name, function in (("values", plain), ("values and derivatives", simulator)):
            function(theta)
            start = time.process_time()
            function(theta)
            print(f"{name}: {2048 / (time.process_time() - start):.0f} galaxies per CPU s", flush=True)
    light = line_light(jnp.asarray(model.line_light.wave_aa), load_bands(BANDS), config.space.zred[1])
    for kind in options.kinds:
        compare(kind, options.rows, options.seconds, options.weights, sets, light)


if __name__ == "__main__":
    main()
