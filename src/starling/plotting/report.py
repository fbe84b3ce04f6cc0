"""One self-contained HTML page about a run: what was run, what passed, how well it fits, the galaxies to look at.

The page loads nothing: style, figures (SVG whose colours follow the light or dark theme) and tables are
inside, there is no script, and its content security policy forbids the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import xarray as xr
from markupsafe import Markup
from matplotlib.figure import Figure

from starling.plotting import style
from starling.plotting.bands import BandFluxes, band_fluxes
from starling.plotting.comparison import Comparison, agreement, plot_comparison
from starling.plotting.convergence import by_weights, plot_convergence
from starling.plotting.corner import plot_corner
from starling.plotting.draws import galaxy_ids, label, passed
from starling.plotting.recovery import LOG_SCALED, plot_recovery, recovery, true_names
from starling.plotting.report_tables import (
    choose_galaxies,
    galaxy_rows,
    number,
    parameter_columns,
    reasons_of_failure,
    run_facts,
)
from starling.plotting.residuals import FALSE_ALARM_RATE, band_residuals, plot_residuals, sample_galaxies
from starling.plotting.sed import plot_sed
from starling.plotting.sfh import plot_sfh

if TYPE_CHECKING:
    from starling.catalogues import Finding

_MOST_ROWS = 200
_MOST_FINDINGS = 100


def write_report(
    tree: xr.DataTree,
    path: str | Path,
    *,
    comparisons: Sequence[Comparison] | None = None,
    findings: Sequence[Finding] | None = None,
    title: str = "Fits of galaxies",
    max_galaxies: int = 12,
) -> Path:
    """Write the report of a run as one HTML file.

    Args:
        tree: the tree of a fit, open or freshly made.
        path: the file to write; its directory must exist.
        comparisons: values from elsewhere to set against the posterior.
        findings: what was found wrong with the catalogue.
        title: title of the page, plain text.
        max_galaxies: how many galaxies get figures of their own.

    Returns:
        The path written.

    Raises:
        ValueError: a group is missing from the tree, or a comparison does not fit it.
        OSError: the file cannot be written.
    """
    fluxes = band_fluxes(tree)
    rows = galaxy_rows(tree, fluxes, _MOST_ROWS)
    good = passed(tree)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("starling.plotting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    page = environment.get_template("report.html").render(
        title=title,
        light=_css_colours({colour: colour for colour in style.VARIABLES}),
        dark=_css_colours(dict(style.DARK)),
        n_galaxies=len(good),
        n_passed=int(good.sum()),
        n_bands=len(fluxes.bands),
        facts=run_facts(tree),
        reasons=reasons_of_failure(tree),
        convergence=_figure(
            plot_convergence(tree),
            "conv",
            f"Worst R-hat against smallest effective sample size; {int(good.sum())} of {len(good)} galaxies passed.",
        ),
        n_weighted=int(by_weights(tree).sum()),
        staged="stage" in tree["diagnostics"],
        residuals=_residuals(tree, fluxes),
        recovery=_recovery(tree),
        comparisons=[_comparison(tree, item, number) for number, item in enumerate(comparisons or ())],
        groups=_galaxies(tree, fluxes, max_galaxies),
        columns=parameter_columns(tree),
        rows=rows,
        findings=_findings(findings or ()),
    )
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


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


def _recovery(tree: xr.DataTree) -> dict[str, object] | None:
    names = true_names(tree)
    if not names:
        return None
    results = [recovery(tree, name) for name in names]
    text = "; ".join(f"{label(item.name).text} {item.covered} of {item.n}" for item in results)
    return {
        "figure": _figure(
            plot_recovery(tree), "rec", f"Posterior against truth. Truths in the 68 % interval: {text}."
        ),
        "rows": [
            (("log " if item.name in LOG_SCALED else "") + label(item.name).heading, item)
            for item in results
            if item.n
        ],
    }


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


def _galaxies(tree: xr.DataTree, fluxes: BandFluxes, most: int) -> list[dict[str, object]]:
    """Groups of galaxies with their figures: the worst ones and some typical ones."""
    identifiers = galaxy_ids(tree)
    groups: list[dict[str, object]] = []
    for heading, positions in choose_galaxies(tree, fluxes, most):
        cards = []
        for position in positions:
            name, prefix = identifiers[position], f"g{position}"
            cards.append(
                {
                    "position": position,
                    "row": galaxy_rows(tree, fluxes, 1, first=position)[0],
                    "sed": _figure(
                        plot_sed(tree, position, fluxes=fluxes),
                        f"{prefix}s",
                        f"Observed and predicted fluxes of {name} against wavelength.",
                    ),
                    "sfh": _figure(
                        plot_sfh(tree, position),
                        f"{prefix}h",
                        f"Star-formation rate of {name} against lookback time.",
                    ),
                    "corner": _figure(
                        plot_corner(tree, position),
                        f"{prefix}c",
                        f"Joint posterior of the main parameters of {name}.",
                    ),
                }
            )
        if cards:
            groups.append({"heading": heading, "cards": cards})
    return groups
