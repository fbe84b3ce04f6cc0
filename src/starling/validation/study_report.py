"""What a study found: costs, power laws, the front and the choice, as JSON and as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import MaskedColumn, Table
from flax import nnx
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from starling.emulators import load_emulator, save_emulator
from starling.emulators.branch import Branch
from starling.emulators.config import DirectConfig
from starling.emulators.direct import ROLE, direct_core
from starling.emulators.networks import Network
from starling.emulators.provenance import provenance
from starling.emulators.schedule import n_epochs
from starling.photometry import load_bands
from starling.simulation.shards import write_atomically
from starling.validation.cost import Cost, measure_files
from starling.validation.scaling import PowerLaw, choose, fit_power_law, front
from starling.validation.study import EMULATOR, LIMIT_MAG, Result, folder_of, read_result
from starling.validation.study_config import StudyConfig, Variation

FORMAT, FORMAT_VERSION = "starling-network-study", 1
ERRORS = ("sigma_median_mag", "sigma_worst_mag")
TIMES = ("value_us", "gradient_us")


class Finished(NamedTuple):
    """A network of a study and what was measured on it."""

    variation: Variation
    result: Result


def finished(study: StudyConfig, workdir: Path) -> list[Finished]:
    """The networks that are trained and measured; ValueError where one has another configuration."""
    pairs = ((v, read_result(workdir, v)) for v in study.variations())
    return [Finished(variation, result) for variation, result in pairs if result is not None]


def study_results(study: StudyConfig, workdir: Path) -> dict[str, Any]:
    """Measure the costs of all finished networks side by side and put together what was found, JSON-able.

    Raises ValueError where nothing is finished. The keys:

    - ``networks``: one mapping per network, the numbers of the table and, over bands, ``sigma_mag``, ``quantiles_mag``
      [9, band] (those of ``starling.emulators.statistics``), ``correlation`` and ``tails``;
    - ``untrained``: the costs of further widths;
    - ``laws``: power laws in the width of what they are named after;
    - ``front``, ``chosen`` and ``missing``: names of networks.
    """
    done = finished(study, workdir)
    if not done:
        raise ValueError(
            f"no network of the study is finished in {workdir}: run it without --report-only first"
        )
    files = {item.variation.name: folder_of(workdir, item.variation) / EMULATOR for item in done}
    untrained = _untrained(study, done, workdir)
    costs = measure_files(files | untrained, study.cost.batch, study.cost.rounds)
    networks = [_network(study, item, costs[item.variation.name]) for item in done]
    further = [{"width": int(name), **costs[name]._asdict()} for name in untrained]
    return _judge(
        study, networks, further, [v.name for v in study.variations() if v.name not in files]
    ) | _about(study, done)


def _about(study: StudyConfig, done: Sequence[Finished]) -> dict[str, Any]:
    bands = load_bands(study.base.bands)
    simulator = done[0].result.simulator
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "name": study.name,
        "bands": list(study.base.bands),
        "wave_effective_um": [band.wave_effective_aa / 1e4 for band in bands],
        "space": study.base.space.build().name,
        "zred": list(study.base.space.zred),
        "surrogate": bool(simulator.get("surrogate", False)),
        "n_test": done[0].result.accuracy["prior"]["n"],
        "n_train": study.whole.sets.n_train,
        "batch": study.cost.batch,
        "config": study.model_dump(mode="json"),
        "config_sha256": study.sha256(),
        **provenance(),
    }


def _network(study: StudyConfig, item: Finished, cost: Cost) -> dict[str, Any]:
    variation, result = item
    network, n_bands = variation.config.network, len(study.base.bands)
    prior, wide = (result.accuracy[name] for name in ("prior", "training"))
    sigma = prior["std"][:n_bands]
    correlation = np.asarray(result.joint["correlation"])
    between = correlation[~np.eye(len(correlation), dtype=bool)]
    direct = network if isinstance(network, DirectConfig) else None
    return {
        "name": variation.name,
        "label": variation.label,
        "kind": network.kind,
        "axes": list(variation.axes),
        "width": direct.width if direct else None,
        "depth": direct.depth if direct else None,
        "activation": direct.activation if direct else None,
        "widths": {role: part.width for role, part in network.networks().items()},
        "n_train": variation.config.sets.n_train,
        "n_epochs": n_epochs(variation.config.training),
        "n_weights": result.n_weights,
        "minutes": result.minutes,
        "sigma_median_mag": float(np.median(sigma)),
        "sigma_worst_mag": float(np.max(sigma)),
        "worst_band": study.base.bands[int(np.argmax(sigma))],
        "sigma_worst_training_mag": float(np.max(wide["std"][:n_bands])),
        "abs_999_worst_mag": float(np.max(prior["abs_999"][:n_bands])),
        "within": result.joint["within"],
        "correlation_rms": float(np.sqrt(np.mean(between**2))) if between.size else 0.0,
        **cost._asdict(),
        "sigma_mag": sigma,
        "quantiles_mag": [row[:n_bands] for row in prior["quantiles"]],
        "correlation": result.joint["correlation"],
        "tails": result.joint["tails"],
    }


def _untrained(study: StudyConfig, done: Sequence[Finished], workdir: Path) -> dict[str, Path]:
    """Files of networks like the reference, of further widths and with random weights."""
    like = next((item for item in done if "width" in item.variation.axes), None)
    if like is None:
        return {}
    emulator = load_emulator(folder_of(workdir, like.variation) / EMULATOR)
    (whole,) = emulator.core.branches().values()
    header = {"name": "random weights", "accuracy": {}, "curve_sha256": []}
    files = {}
    for width in study.cost.widths:
        shape = replace(whole.network.shape, width=width)
        branch = Branch(whole.features, Network(shape, rngs=nnx.Rngs(0)))
        path = workdir / "untrained" / f"width-{width}.safetensors"
        save_emulator(path, replace(emulator, core=direct_core({ROLE: branch}, emulator.softening)), header)
        files[str(width)] = path
    return files


def _judge(
    study: StudyConfig,
    networks: Sequence[Mapping[str, Any]],
    untrained: Sequence[Mapping[str, Any]],
    missing: Sequence[str],
) -> dict[str, Any]:
    """Power laws, front and choice."""
    series = [n for n in networks if "width" in n["axes"]]
    timed = [*series, *untrained]
    laws = {}
    for keys, points, limits in ((ERRORS, series, study.fit.error), (TIMES, timed, study.fit.time)):
        for key in keys:
            law = fit_power_law([n["width"] for n in points], [n[key] for n in points], *limits)
            if law is not None:
                laws[key] = law._asdict()
    cost, error = ([n[key] for n in networks] for key in ("gradient_us", "sigma_worst_mag"))
    chosen = choose(cost, error, study.bar_mag)
    return {
        "networks": list(networks),
        "untrained": list(untrained),
        "laws": laws,
        "front": [networks[i]["name"] for i in front(cost, error)],
        "chosen": networks[chosen]["name"],
        "bar_mag": study.bar_mag,
        "bar_met": error[chosen] <= study.bar_mag,
        "missing": list(missing),
    }


_COLUMNS = (
    *("name", "kind", "width", "depth", "activation", "n_train", "n_epochs", "n_weights", "minutes"),
    *("sigma_median_mag", "sigma_worst_mag", "worst_band", "sigma_worst_training_mag", "abs_999_worst_mag"),
    *("within", "correlation_rms", "value_us", "gradient_us", "value_clock_us", "gradient_clock_us"),
)


def study_table(results: Mapping[str, Any]) -> Table:
    """One row per network: what it is, its errors on draws from the prior, and what it costs per galaxy on one core.

    ``within`` is the share of galaxies within 0.02 mag in every band; ``front`` and ``chosen`` are marks.
    """
    networks = results["networks"]
    table = Table({name: _column([network[name] for network in networks]) for name in _COLUMNS})
    for mark in ("front", "chosen"):
        table[mark] = [_marks(results, network)[mark] for network in networks]
    return table


def _column(values: Sequence[Any]) -> MaskedColumn:
    """Numbers to four digits; what does not apply is masked."""
    known = [float(f"{x:.4g}") if isinstance(x, float) else x for x in values if x is not None]
    blank = type(known[0])() if known else ""
    rest = iter(known)
    return MaskedColumn(
        [blank if x is None else next(rest) for x in values], mask=[x is None for x in values]
    )


def write_study(results: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Write ``study.json`` and ``study.csv``; the path of each."""
    files = {"results": folder / "study.json", "table": folder / "study.csv"}
    write_atomically(files["results"], json.dumps(results).encode())
    study_table(results).write(files["table"], format="ascii.csv", overwrite=True)
    return files


def read_study(path: Path) -> dict[str, Any]:
    """The results in a ``study.json``; ValueError where it is none."""
    try:
        results: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if results.get("format") != FORMAT or results.get("version") != FORMAT_VERSION:
        raise ValueError(f"{path} is no result of `starling study` of version {FORMAT_VERSION}")
    return results


def say_study(console: Console, results: Mapping[str, Any]) -> None:
    """Print the networks, the power laws and the choice."""
    table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("network", no_wrap=True)
    for heading in ("median", "worst", "99.9%", "<0.02", "value", "grad.", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for n in results["networks"]:
        marks = [word for word, is_so in _marks(results, n).items() if is_so][-1:]
        errors = (n[key] for key in (*ERRORS, "abs_999_worst_mag"))
        table.add_row(
            n["label"],
            *(f"{x:.4f}" for x in errors),
            f"{100 * n['within']:.1f}%",
            *(f"{n[key]:.1f}" for key in TIMES),
            *(marks or [""]),
            style="bold" if marks == ["chosen"] else None,
        )
    console.print(table)
    console.print(
        f"{results['n_test']} held-out draws from the prior: sigma of the errors in the median and the worst band, "
        f"their 99.9% quantile in the worst, mag; galaxies within {LIMIT_MAG} mag in every band. CPU microseconds per "
        f"galaxy of a value, and of a value with its gradient; one core, batches of {results['batch']}",
        soft_wrap=True,
    )
    for key, law in results["laws"].items():
        console.print(f"{key} ~ {PowerLaw(**law)} ({law['n']} widths)", highlight=False)
    met = "the cheapest with sigma" if results["bar_met"] else "the most accurate; none has sigma"
    console.print(
        f"chosen: {results['chosen']}, {met} ≤ {results['bar_mag']:g} mag in every band", highlight=False
    )
    if results["missing"]:
        console.print(f"not finished: {', '.join(results['missing'])}", highlight=False)


def _marks(results: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, bool]:
    return {"front": network["name"] in results["front"], "chosen": network["name"] == results["chosen"]}
