"""The sections of the report: figures as markup, and the numbers and words that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xarray as xr
from markupsafe import Markup
from matplotlib.figure import Figure

from starling.plotting import style
from starling.plotting.bands import BandFluxes, band_fluxes
from starling.plotting.calibration import Calibration, calibration, plot_calibration
from starling.plotting.comparison import Comparison, agreement, plot_comparison
from starling.plotting.corner import plot_corner
from starling.plotting.draws import galaxy_ids, label, main_first, passed
from starling.plotting.predictive import band_scatter, plot_p_values, plot_scatter
from starling.plotting.recovery import LOG_SCALED, plot_recovery, recovery, true_names
from starling.plotting.report_tables import GalaxyRow, choose_galaxies, galaxy_rows
from starling.plotting.residuals import FALSE_ALARM_RATE, band_residuals, plot_residuals, sample_galaxies
from starling.plotting.sample import Parts, Sample
from starling.plotting.sed import plot_sed
from starling.plotting.sfh import plot_sfh

if TYPE_CHECKING:
    from starling.catalogues import Finding

_MOST_FINDINGS = 100
_MOST_RECOVERED = 9


def findings_section(findings: Sequence[Finding]) -> dict[str, object] | None:
    """What was found wrong in the input; None where nothing was."""
    if not findings:
        return None
    # here, because it imports JAX, which a report without findings does not need
    from starling.catalogues import summarise

    return {"n": len(findings), "kinds": summarise(findings), "rows": findings[:_MOST_FINDINGS]}


def css_colours(colours: dict[str, str]) -> Markup:
    """Custom properties of the style sheet."""
    return Markup("; ".join(f"{style.VARIABLES[name]}: {value}" for name, value in colours.items()))


def as_markup(figure: Figure, prefix: str, alternative: str) -> Markup:
    """A drawing as trusted markup: matplotlib and :func:`style.to_svg` escape the text that goes into it."""
    return Markup(style.to_svg(figure, prefix, alternative))


def residuals_section(tree: xr.DataTree, fluxes: BandFluxes) -> dict[str, object]:
    """Residuals of every band."""
    galaxies = sample_galaxies(tree)
    found = band_residuals(fluxes, galaxies)
    off = sorted((item for item in found if item.off), key=lambda item: -abs(item.significance))
    named = ", ".join(item.band for item in off) or "none"
    return {
        "figure": as_markup(
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


def predictive_section(tree: xr.DataTree, fluxes: BandFluxes) -> dict[str, object]:
    """Posterior predictive checks of the sample."""
    found = band_scatter(tree, fluxes)
    off = {kind: [item for item in found if item.verdict == kind] for kind in ("too small", "too large")}
    named = "; ".join(
        f"errors {kind} in {', '.join(one.band for one in items)}" for kind, items in off.items() if items
    )
    return {
        "scatter": as_markup(
            plot_scatter(found),
            "rms",
            f"Scatter of the residuals per band. {named or 'All bands are as expected'}.",
        ),
        "p_values": as_markup(
            plot_p_values(tree), "pval", "Histogram of the posterior predictive p-values of the galaxies."
        ),
        "bands": {item.band: item for item in found},
        "off": [(kind, items) for kind, items in off.items() if items],
    }


def recovery_section(tree: xr.DataTree) -> dict[str, object] | None:
    """Posteriors against true values; None where none are known."""
    names = true_names(tree)
    if not names:
        return None
    results = [recovery(tree, name) for name in names]
    tests = {item.name: item for item in calibration(tree)}
    text = "; ".join(f"{label(item.name).text} {item.covered} of {item.n}" for item in results)
    return {
        "panels": [
            as_markup(
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
    return as_markup(
        plot_calibration(found),
        "cal",
        f"Distribution of the truths in the posteriors against a uniform one; off: {off}.",
    )


def comparison_section(tree: xr.DataTree, item: Comparison, number: int) -> dict[str, object]:
    """The posterior against values from elsewhere."""
    result = agreement(tree, item)
    text = (
        f"{label(item.name).text} of this fit against {item.source}: median offset {result.offset:+.3f}, "
        f"scatter {result.scatter:.3f}, {len(result.outliers)} outliers among {result.n} galaxies."
    )
    return {
        "label": label(item.name).heading,
        "source": item.source,
        "result": result,
        "figure": as_markup(plot_comparison(tree, item), f"cmp{number}", text),
    }


def galaxies_section(source: xr.DataTree | Parts, sample: Sample, most: int) -> list[dict[str, object]]:
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
        "sed": (
            plot_sed(tree, place, fluxes=fluxes),
            f"Observed and predicted fluxes of {name} against wavelength.",
        ),
        "corner": (plot_corner(tree, place), f"Joint posterior of the main parameters of {name}."),
    }
    if "derived" in tree.children and "sfh" in tree["derived"]:
        drawn["sfh"] = (plot_sfh(tree, place), f"Star-formation rate of {name} against lookback time.")
    figures = {kind: as_markup(figure, prefix + kind, text) for kind, (figure, text) in drawn.items()}
    return {"position": row.position, "row": row, "figures": figures}
