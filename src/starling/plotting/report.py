"""One self-contained HTML page about a run: what was run, what passed, how well it fits, the galaxies to look at.

The page loads nothing: style, figures (SVG whose colours follow the light or dark theme) and tables are
inside, there is no script, and its content security policy forbids the network. Its size does not grow with
the run: tables and figures of many galaxies show some of them, and say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import jinja2
import xarray as xr
from markupsafe import Markup
from matplotlib.figure import Figure

from starling.plotting import style
from starling.plotting.bands import BandFluxes, band_fluxes
from starling.plotting.calibration import Calibration, calibration, plot_calibration
from starling.plotting.comparison import Comparison, agreement, plot_comparison
from starling.plotting.convergence import by_weights, plot_convergence
from starling.plotting.corner import plot_corner
from starling.plotting.draws import galaxy_ids, label, main_first, passed
from starling.plotting.predictive import band_scatter, is_checked, plot_p_values, plot_scatter
from starling.plotting.recovery import LOG_SCALED, plot_recovery, recovery, true_names
from starling.plotting.report_tables import (
    COLUMNS,
    IMPROBABLE,
    GalaxyRow,
    choose_galaxies,
    galaxy_rows,
    number,
    outcomes,
    parameter_columns,
    reasons_of_failure,
    run_facts,
    unexplained,
    worst_first,
)
from starling.plotting.residuals import FALSE_ALARM_RATE, band_residuals, plot_residuals, sample_galaxies
from starling.plotting.sample import UNUSED, Sample, gather
from starling.plotting.sed import plot_sed
from starling.plotting.sfh import plot_sfh

if TYPE_CHECKING:
    from starling.catalogues import Finding

_MOST_ROWS = 200
_MOST_FINDINGS = 100
_MOST_RECOVERED = 9


class Parts(Protocol):
    """A run whose draws stay on disk: ``starling.runs.StoredRun``."""

    def trees(self, leave_out: Sequence[str] = ()) -> Iterable[xr.DataTree]:
        """The parts, one after another."""

    def select(self, identifiers: Iterable[str]) -> xr.DataTree:
        """Some galaxies, in this order."""


class About(NamedTuple):
    """What a folder says about its run, beside the tree."""

    facts: Sequence[tuple[str, str]] = ()  # name, value
    notices: Sequence[str] = ()  # what the reader has to know first
    files: Sequence[tuple[str, str, str]] = ()  # name, link from the page, what it is
    rows: Sequence[tuple[str, int]] = ()  # what became of the rows of the input table: meaning, how many


def write_report(
    source: xr.DataTree | Parts,
    path: str | Path,
    *,
    comparisons: Sequence[Comparison] | None = None,
    findings: Sequence[Finding] | None = None,
    title: str = "Fits of galaxies",
    max_galaxies: int = 12,
    about: About | None = None,
) -> Path:
    """Write the report of a run as one HTML file.

    Args:
        source: the tree of a fit, open or freshly made; or a run in parts, of which one at a time is read.
        path: the file to write; its directory must exist.
        comparisons: values from elsewhere to set against the posterior, in the order of the source's galaxies.
        findings: what was found wrong with the catalogue.
        title: title of the page, plain text.
        max_galaxies: how many galaxies get figures of their own.
        about: what else is known of the run.

    Returns:
        The path written.

    Raises:
        ValueError: a group is missing from the tree, or a comparison does not fit it.
        OSError: the file cannot be written.
    """
    names = (*COLUMNS, *(item.name for item in comparisons or ()))
    parts = [source] if isinstance(source, xr.DataTree) else source.trees(leave_out=UNUSED)
    sample = gather(parts, names)
    path = Path(path)
    path.write_text(
        _page(source, sample, comparisons or (), findings or (), title, max_galaxies, about or About()),
        encoding="utf-8",
    )
    return path


def _page(
    source: xr.DataTree | Parts,
    sample: Sample,
    comparisons: Sequence[Comparison],
    findings: Sequence[Finding],
    title: str,
    max_galaxies: int,
    about: About,
) -> str:
    tree, fluxes = sample
    good = passed(tree)
    shown = list(range(good.size)) if good.size <= _MOST_ROWS else worst_first(tree, fluxes)[:_MOST_ROWS]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("starling.plotting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    return environment.get_template("report.html").render(
        title=title,
        light=_css_colours({colour: colour for colour in style.VARIABLES}),
        dark=_css_colours(dict(style.DARK)),
        about=about,
        n_galaxies=good.size,
        n_passed=int(good.sum()),
        n_bands=len(fluxes.bands),
        n_unexplained=sum(map(bool, unexplained(tree, fluxes))),
        improbable=IMPROBABLE,
        checked=is_checked(tree),
        facts=[(name, value, []) for name, value in about.facts] + run_facts(tree),
        outcomes=outcomes(tree),
        reasons=reasons_of_failure(tree),
        convergence=_figure(
            plot_convergence(tree),
            "conv",
            f"Worst R-hat against smallest effective sample size; {int(good.sum())} of {good.size} galaxies passed.",
        ),
        n_weighted=int(by_weights(tree).sum()),
        staged="stage" in tree["diagnostics"],
        residuals=_residuals(tree, fluxes),
        predictive=_predictive(tree, fluxes) if is_checked(tree) else None,
        recovery=_recovery(tree),
        comparisons=[_comparison(tree, item, number) for number, item in enumerate(comparisons)],
        groups=_galaxies(source, sample, max_galaxies),
        columns=parameter_columns(tree),
        rows=galaxy_rows(tree, fluxes, shown),
        findings=_findings(findings),
    )


def _findings(findings: Sequence[Finding]) -> dict[str, object] | None:
    if not findings:
        return None
    # here, because it imports JAX, which a report without findings does not need
    from starling.catalogues import summarise

    return {"n": len(findings), "kinds": summarise(findings), "rows": findings[:_MOST_FINDINGS]}


def _css_colours(colours: dict[str, str]) -> Markup:
    return Markup("; ".join(f"{style.VARIABLES[name]}: {value}" for name, value in colours.items()))


def _figure(figure: Figure, prefix: str, alternative: str) -> Markup:
    """A drawing as trusted markup: matplotlib and :func:`style.to_svg` escape the text that goes into it."""
    return Markup(style.to_svg(figure, prefix, alternative))


def _residuals(tree: xr.DataTree, fluxes: BandFluxes) -> dict[str, object]:
    galaxies = sample_galaxies(tree)
    found = band_residuals(fluxes, galaxies)
    off = sorted((item for item in found if item.off), key=lambda item: -abs(item.significance))
    named = ", ".join(item.band for item in off) or "none"
    return {
        "figure": _figure(
            plot_residuals(tree, residuals=found),
            "res",
            f"Residuals per band against wavelength. Bands off: {named}.",
        ),
        "bands": found,
        "off": off,
        "n_galaxies": int(galaxies.sum()),
        "all_failed": not passed(tree).any(),
        "rate": FALSE_ALARM_RATE,
    }


def _predictive(tree: xr.DataTree, fluxes: BandFluxes) -> dict[str, object]:
    found = band_scatter(tree, fluxes)
    off = {kind: [item for item in found if item.verdict == kind] for kind in ("too small", "too large")}
    named = "; ".join(f"errors {kind} in {', '.join(one.band for one in items)}" for kind, items in off.items() if items)
    return {
        "scatter": _figure(
            plot_scatter(found), "rms", f"Scatter of the residuals per band. {named or 'All bands are as expected'}."
        ),
        "p_values": _figure(
            plot_p_values(tree), "pval", "Histogram of the posterior predictive p-values of the galaxies."
        ),
        "bands": {item.band: item for item in found},
        "off": [(kind, items) for kind, items in off.items() if items],
    }


def _recovery(tree: xr.DataTree) -> dict[str, object] | None:
    names = true_names(tree)
    if not names:
        return None
    results = [recovery(tree, name) for name in names]
    tests = {item.name: item for item in calibration(tree)}
    text = "; ".join(f"{label(item.name).text} {item.covered} of {item.n}" for item in results)
    return {
        "panels": [
            _figure(
                plot_recovery(tree, [name]),
                f"rec{index}",
                f"Posterior median against truth: {label(name).text}.",
            )
            for index, name in enumerate(main_first(names)[:_MOST_RECOVERED])
        ],
        "calibration": _calibration(list(tests.values())),
        "text": text,
        "off": [label(item.name).text for item in tests.values() if item.off],
        "rows": [
            (
                ("log " if item.name in LOG_SCALED else "") + label(item.name).heading,
                item,
                tests.get(item.name),
            )
            for item in results
            if item.n
        ],
    }


def _calibration(found: list[Calibration]) -> Markup | None:
    if not found:
        return None
    off = ", ".join(label(item.name).text for item in found if item.off) or "none"
    return _figure(
        plot_calibration(found), "cal", f"Distribution of the truths in the posteriors against a uniform one; off: {off}."
    )


def _comparison(tree: xr.DataTree, item: Comparison, number: int) -> dict[str, object]:
    result = agreement(tree, item)
    text = (
        f"{label(item.name).text} of this fit against {item.source}: median offset {result.offset:+.3f}, "
        f"scatter {result.scatter:.3f}, {len(result.outliers)} outliers among {result.n} galaxies."
    )
    return {
        "label": label(item.name).heading,
        "source": item.source,
        "result": result,
        "figure": _figure(plot_comparison(tree, item), f"cmp{number}", text),
    }


def _galaxies(source: xr.DataTree | Parts, sample: Sample, most: int) -> list[dict[str, object]]:
    """Groups of galaxies with their figures: the worst ones and some typical ones."""
    groups = [group for group in choose_galaxies(*sample, most) if group[1]]
    identifiers = galaxy_ids(sample.tree)
    wanted = [position for _, positions in groups for position in positions]
    if not wanted:
        return []
    if isinstance(source, xr.DataTree):
        tree = source.isel(galaxy=wanted)
    else:
        tree = source.select([identifiers[position] for position in wanted])
    fluxes = band_fluxes(tree)
    rows = galaxy_rows(*sample, wanted)
    cards = {row.position: _card(tree, place, fluxes, row) for place, row in enumerate(rows)}
    return [
        {"heading": heading, "cards": [cards[position] for position in positions]}
        for heading, positions in groups
    ]


def _card(tree: xr.DataTree, place: int, fluxes: BandFluxes, row: GalaxyRow) -> dict[str, object]:
    name, prefix = row.identifier, f"g{row.position}"
    drawn = {
        "sed": (plot_sed(tree, place, fluxes=fluxes), f"Observed and predicted fluxes of {name} against wavelength."),
        "corner": (plot_corner(tree, place), f"Joint posterior of the main parameters of {name}."),
    }
    if "derived" in tree.children and "sfh" in tree["derived"]:
        drawn["sfh"] = (plot_sfh(tree, place), f"Star-formation rate of {name} against lookback time.")
    figures = {kind: _figure(figure, prefix + kind, text) for kind, (figure, text) in drawn.items()}
    return {"position": row.position, "row": row, "figures": figures}
