"""A comparison of two simulators from its configuration to its folder."""

import json
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure

from starling.cli.simulator_sides import Side, open_side
from starling.emulators.provenance import provenance
from starling.photometry import POGSON, load_bands
from starling.plotting.simulators import (
    SpectrumPair,
    example_rows,
    plot_band_differences,
    plot_colour_differences,
    plot_correlations,
    plot_example_spectra,
    plot_trends,
)
from starling.simulation.shards import write_atomically
from starling.sps.files import SurrogateWarning
from starling.sps.fsps import FspsWarning
from starling.validation.simulators import (
    AGE,
    SSFR,
    Fluxes,
    Pair,
    best_scale,
    magnitudes,
    shape_ratio,
    tolerance_mag,
)
from starling.validation.simulators_config import CompareConfig, draw_galaxies
from starling.validation.simulators_report import (
    LIGHT,
    Findings,
    band_table,
    colour_table,
    find,
    galaxy_table,
    page,
    summary,
)
from starling.validation.simulators_run import Run, good_rows, run_simulator

FORMAT, FORMAT_VERSION = "starling-simulator-comparison", 1
_DPI = 120
_TREND_BANDS_UM = (0.6, 1.6, 4.5)
_TREND_QUANTITIES = (AGE, SSFR, "logzsol", "dust2", "zred")
_CAPTIONS = {
    "bands": "Difference in every band, second minus first: median (dots), central 68% (bars) and 99.8% (lines, cut "
    "where they are long). Above as they are, below after the best mass of every galaxy. Grey: the error floor.",
    "colours": "Rest-frame colours of both, and how they differ. Grey: the floor of two bands.",
    "trends": "Differences of shape in three bands against quantities of the galaxies: median and central 68%; rank "
    "correlations.",
    "correlations": "Rank correlation of the difference of shape in every band with quantities of the galaxies.",
    "spectra": "Two galaxies by both simulators: spectra, and their difference after the best mass (dots: bands).",
}


class Compared(NamedTuple):
    """What was compared and found, and the files that say so."""

    pair: Pair
    findings: Findings
    summary: dict[str, Any]
    figures: dict[str, Figure]
    warnings: list[str]
    facts: dict[str, dict[str, str]]
    sides: dict[str, Any]
    files: dict[str, Path]


def compare(
    config: CompareConfig,
    folder: Path | None,
    sps_home: Path | None,
    workers: int = 1,
    *,
    say: Callable[[str], None] = lambda _: None,
    figures: bool = True,
) -> Compared:
    """Run both simulators, and write what is found into ``folder`` (None: nothing is written).

    ``figures`` are part of the result, or not drawn. Warnings on tables and FSPS become sentences of the result.
    ValueError where the two do not fit, or no galaxy is left.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)  # before minutes are spent
    space = config.space.build()
    theta = draw_galaxies(space, config.n, config.seed, config.fixed)
    wave_um = np.array([band.wave_effective_aa / 1e4 for band in load_bands(config.bands)])
    with ExitStack() as stack, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", SurrogateWarning)
        warnings.simplefilter("always", FspsWarning)
        sides = [
            stack.enter_context(open_side(config, which, sps_home, workers)) for which in ("first", "second")
        ]
        runs = [_run(side, theta, say) for side in sides]
        labels = (sides[0].label, sides[1].label)
        good = good_rows(labels, (runs[0], runs[1]))
        first, second = (Fluxes(run.fluxes.flux[good], run.fluxes.properties[good]) for run in runs)
        pair = Pair(labels, space, config.bands, wave_um, theta[good], first, second)
        found = find(pair, config.colours, config.floor)
        examples = _examples(pair, found, sides[0], sides[1]) if figures else []
    _say_again(said)
    cautions = _cautions(sides, [str(w.message) for w in said if _known(w)], runs, len(theta))
    result = Compared(
        pair,
        found,
        summary(pair, found),
        _figures(pair, found, examples) if figures else {},
        cautions,
        {side.label: side.facts for side in sides},
        {side.label: side.description for side in sides},
        {},
    )
    return result if folder is None else result._replace(files=_write(result, config, folder))


def _run(side: Side, theta: np.ndarray, say: Callable[[str], None]) -> Run:
    start = time.monotonic()
    run = run_simulator(side.simulate, theta)
    failed = f", {len(run.failed)} failed" if run.failed else ""
    say(f"{side.label}: {len(theta)} galaxies in {time.monotonic() - start:.0f} s{failed}")
    return run


def _known(warning: warnings.WarningMessage) -> bool:
    return issubclass(warning.category, SurrogateWarning | FspsWarning)


def _say_again(said: list[warnings.WarningMessage]) -> None:
    """Warnings of others."""
    for warning in said:
        if not _known(warning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _cautions(sides: list[Side], said: list[str], runs: list[Run], n: int) -> list[str]:
    made_up = [
        f"SURROGATE: {side.label} is computed on stand-ins. What differs is not astrophysics."
        for side in sides
        if side.surrogate
    ]
    lost = [
        f"{len(run.failed)} of {n} galaxies failed in {side.label}: {next(iter(run.failed.values()))}"
        for side, run in zip(sides, runs, strict=True)
        if run.failed
    ]
    return [*made_up, *dict.fromkeys(said), *lost]


def _examples(pair: Pair, found: Findings, first: Side, second: Side) -> list[SpectrumPair]:
    """Two galaxies, where both sides have spectra."""
    if first.spectra is None or second.spectra is None:
        return []
    rows = example_rows(found.chi2 / np.maximum(found.degrees, 1))
    theta = pair.theta[list(rows.values())]
    (wave, light), (other_wave, other_light) = first.spectra(theta), second.spectra(theta)
    ratio, zred = pair.ratio, pair.theta[:, pair.space.index("zred")]
    return [
        SpectrumPair(
            f"{title}: χ²/dof = {found.chi2[row] / max(found.degrees[row], 1):.2g}, z = {zred[row]:.2f}",
            float(zred[row]),
            (wave, light[place]),
            (other_wave, other_light[place]),
            pair.wave_um,
            magnitudes(shape_ratio(ratio[[row]]))[0],
            float(best_scale(ratio[[row]])[0]),
        )
        for place, (title, row) in enumerate(rows.items())
    ]


def _figures(pair: Pair, found: Findings, examples: list[SpectrumPair]) -> dict[str, Figure]:
    tolerance = tolerance_mag(found.floor)
    shown = [pair.bands[int(np.argmin(np.abs(np.log(pair.wave_um / wave))))] for wave in _TREND_BANDS_UM]
    figures = {
        "bands": plot_band_differences(pair, found.raw, found.shape, tolerance),
        "colours": plot_colour_differences(pair, tolerance_mag(found.floor, 2)),
    }
    if found.quantities:
        names = [name for name in _TREND_QUANTITIES if name in found.quantities] or list(found.quantities[:5])
        figures["trends"] = plot_trends(pair, list(dict.fromkeys(shown)), names, tolerance)
        figures["correlations"] = plot_correlations(pair, found.quantities, found.correlations)
    if examples:
        figures["spectra"] = plot_example_spectra(pair, examples, tolerance)
    return figures


def _write(result: Compared, config: CompareConfig, folder: Path) -> dict[str, Path]:
    files = {"page": folder / "comparison.md"}
    for name, figure in result.figures.items():
        files[name] = folder / f"{name}.png"
        figure.savefig(files[name], dpi=_DPI, metadata={"Software": None}, pil_kwargs={"optimize": True})
    pair, found = result.pair, result.findings
    tables: dict[str, Table] = {
        "bands": band_table(pair, found),
        "colours": colour_table(found),
        "galaxies": galaxy_table(pair, found),
    }
    for name, table in tables.items():
        table.meta = {"difference": f"{pair.labels[1]} minus {pair.labels[0]}", "warnings": result.warnings}
        files[f"{name} (table)"] = folder / f"{name}.ecsv"
        table.write(files[f"{name} (table)"], overwrite=True)
    files["json"] = folder / "comparison.json"
    write_atomically(files["json"], json.dumps(_plain(_content(result, config)), indent=1).encode())
    figures = {name: (f"{name}.png", _CAPTIONS[name]) for name in result.figures}
    text = page(
        f"{pair.labels[1]} against {pair.labels[0]}",
        result.warnings,
        result.facts,
        _setting(config),
        pair,
        found,
        figures,
    )
    write_atomically(files["page"], text.encode())
    return files


def _content(result: Compared, config: CompareConfig) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "surrogate": any(bool(side.get("surrogate")) for side in result.sides.values()),
        "warnings": result.warnings,
        "summary": result.summary,
        "facts": result.facts,
        "simulators": result.sides,
        "config": config.model_dump(mode="json"),
        **provenance(),
    }


def _setting(config: CompareConfig) -> dict[str, str]:
    fixed = ", ".join(f"{name} = {value:g}" for name, value in config.fixed.items())
    scales = {
        "own": "relative to the solar one of each, as in a fit",
        "first": "on the solar scale of the first: the same metal fraction",
    }
    scale = scales.get(str(config.solar), f"exact models on a solar scale of {config.solar}")
    return {
        "galaxies": f"{config.n} draws from the prior of `{config.space.build().name}`, seed {config.seed}"
        + (f", with {fixed}" if fixed else ""),
        "redshift": f"{config.space.zred[0]:g} to {config.space.zred[1]:g}",
        "light": LIGHT[config.light],
        "stellar metallicity": scale,
        "error floor": f"{100 * config.floor:g}% of the flux, {POGSON * config.floor:.3f} mag",
    }


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
