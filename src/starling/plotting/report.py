"""One self-contained HTML page about a run: what was run, what passed, how well it fits, the galaxies to look at.

The page loads nothing: style, figures (SVG whose colours follow the light or dark theme) and tables are
inside, there is no script, and its content security policy forbids the network. Its size does not grow with
the run: tables and figures of many galaxies show some of them, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import jinja2
import xarray as xr

from starling.plotting import style
from starling.plotting.comparison import Comparison
from starling.plotting.convergence import by_weights, plot_convergence
from starling.plotting.draws import passed
from starling.plotting.predictive import is_checked
from starling.plotting.report_sections import (
    as_markup,
    comparison_section,
    css_colours,
    findings_section,
    galaxies_section,
    predictive_section,
    recovery_section,
    residuals_section,
)
from starling.plotting.report_tables import (
    COLUMNS,
    IMPROBABLE,
    galaxy_rows,
    number,
    outcomes,
    parameter_columns,
    reasons_of_failure,
    run_facts,
    unexplained,
    worst_first,
)
from starling.plotting.sample import UNUSED, Parts, Sample, gather

if TYPE_CHECKING:
    from starling.catalogues import Finding

_MOST_ROWS = 200
_MOST_NAMED = 6


class About(NamedTuple):
    """What a folder says about its run, beside the tree."""

    facts: Sequence[tuple[str, str]] = ()  # name, value
    notices: Sequence[str] = ()  # what the reader has to know first
    files: Sequence[tuple[str, str, str]] = ()  # name, link from the page, what it is
    rows: Sequence[tuple[str, int]] = ()  # what became of the rows of the input table: meaning, how many
    order: Mapping[str, int] = MappingProxyType({})  # place of each galaxy in the table of all, by its ID


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
    shown = worst_first(tree, fluxes)[:_MOST_ROWS]
    if good.size <= _MOST_ROWS:
        shown = sorted(
            range(good.size), key=lambda row: about.order.get(fluxes.galaxies[row], good.size + row)
        )
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
        light=css_colours({colour: colour for colour in style.VARIABLES}),
        dark=css_colours(dict(style.DARK)),
        about=about,
        n_galaxies=good.size,
        n_passed=int(good.sum()),
        n_bands=len(fluxes.bands),
        n_unexplained=sum(map(bool, unexplained(tree, fluxes))),
        improbable=IMPROBABLE,
        most_named=_MOST_NAMED,
        checked=is_checked(tree),
        facts=[(name, value, []) for name, value in about.facts] + run_facts(tree),
        outcomes=outcomes(tree),
        reasons=reasons_of_failure(tree),
        convergence=as_markup(
            plot_convergence(tree),
            "conv",
            f"Worst R-hat against smallest effective sample size; {int(good.sum())} of {good.size} galaxies passed.",
        ),
        n_weighted=int(by_weights(tree).sum()),
        staged="stage" in tree["diagnostics"],
        residuals=residuals_section(tree, fluxes),
        predictive=predictive_section(tree, fluxes) if is_checked(tree) else None,
        recovery=recovery_section(tree),
        comparisons=[comparison_section(tree, item, number) for number, item in enumerate(comparisons)],
        groups=galaxies_section(source, sample, max_galaxies),
        columns=parameter_columns(tree),
        rows=galaxy_rows(tree, fluxes, shown),
        findings=findings_section(findings),
    )
