"""What a comparison of two simulators found: a summary, tables, and a page in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table

from starling.components import SPECTRAL_PROPERTIES
from starling.validation.card import table
from starling.validation.simulators import (
    LEVELS,
    Pair,
    Statistics,
    Trend,
    band_statistics,
    best_scale,
    chi2_cost,
    colour_statistics,
    magnitudes,
    neighbours,
    quantities,
    rank_correlations,
    rest_colours,
    shape_ratio,
    strongest,
    tolerance_mag,
)

_QUANTILES = ("q0001", "q16", "median", "q84", "q999")
LIGHT = {
    "all": "all light",
    "no_lines": "light without emission lines (FSPS through networks has none)",
    "stars": "light of stars alone, behind dust: no nebulae, no dust emission, no torus",
}


class Findings(NamedTuple):
    """Statistics of a pair; ``correlations`` are of shape differences with ``quantities``."""

    floor: float
    raw: Statistics
    shape: Statistics
    colours: Statistics
    quantities: tuple[str, ...]
    correlations: np.ndarray
    trends: list[Trend]
    colour_trends: list[Trend]
    chi2: np.ndarray
    chi2_fixed_mass: np.ndarray
    degrees: np.ndarray
    mass_dex: np.ndarray
    surviving_dex: np.ndarray
    cost_trends: list[tuple[str, float]]


def find(pair: Pair, colours: Sequence[tuple[str, str]] = (), floor: float = 0.05) -> Findings:
    """All statistics of a pair; ``colours`` in addition to those of bands that follow each other."""
    values = quantities(pair)
    names = tuple(values)
    ratio = pair.ratio
    pairs = [*dict.fromkeys([*neighbours(pair), *colours])]
    of_colours = colour_statistics(pair, pairs, floor)
    shape = band_statistics(pair, floor, shape=True)
    correlations = rank_correlations(values, magnitudes(shape_ratio(ratio)))
    cost = chi2_cost(ratio, floor)
    with_cost = rank_correlations(values, cost[:, None])[:, 0]
    column = SPECTRAL_PROPERTIES.index("log_mass_fraction")
    return Findings(
        floor=floor,
        raw=band_statistics(pair, floor),
        shape=shape,
        colours=of_colours,
        quantities=names,
        correlations=correlations,
        trends=strongest(names, correlations, shape.n),
        colour_trends=strongest(
            names, rank_correlations(values, _colour_differences(pair, pairs)), of_colours.n
        ),
        chi2=cost,
        chi2_fixed_mass=chi2_cost(ratio, floor, free_mass=False),
        degrees=pair.seen.sum(axis=1) - 1,
        mass_dex=np.log10(best_scale(ratio)),
        surviving_dex=pair.second.properties[:, column].astype(float) - pair.first.properties[:, column],
        cost_trends=sorted(
            zip(names, with_cost.tolist(), strict=True), key=lambda item: -abs(np.nan_to_num(item[1]))
        ),
    )


def _colour_differences(pair: Pair, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    rest = rest_colours(pair.second) - rest_colours(pair.first)
    difference = magnitudes(pair.ratio)
    blue, red = ([pair.bands.index(each[side]) for each in pairs] for side in (0, 1))
    return np.hstack([np.where(np.isfinite(rest), rest, np.nan), difference[:, blue] - difference[:, red]])


def band_table(pair: Pair, found: Findings) -> Table:
    """A row per band: second minus first in magnitudes, as they are and of shape."""
    out = Table({"band": pair.bands, "wave_effective_um": pair.wave_um, "n": found.raw.n})
    for prefix, these in (("", found.raw), ("shape_", found.shape)):
        for name, values in zip(_QUANTILES, these.quantiles, strict=True):
            out[f"{prefix}{name}_mag"] = values
        out[f"{prefix}beyond"] = these.beyond
    out["shape_scatter_mag"] = found.shape.scatter
    _add_trends(out, found.trends)
    return _rounded(out)


def colour_table(found: Findings) -> Table:
    """A row per colour: second minus first in magnitudes."""
    out = Table({"colour": found.colours.names, "n": found.colours.n})
    for name, values in zip(_QUANTILES, found.colours.quantiles, strict=True):
        out[f"{name}_mag"] = values
    out["scatter_mag"], out["beyond"] = found.colours.scatter, found.colours.beyond
    _add_trends(out, found.colour_trends)
    return _rounded(out)


def galaxy_table(pair: Pair, found: Findings) -> Table:
    """A row per galaxy: parameters, quantities, the difference in every band, what it costs."""
    out = Table({name: pair.theta[:, i] for i, name in enumerate(pair.space.names)})
    for name, values in quantities(pair).items():
        out[name] = values
    for band, values in zip(pair.bands, magnitudes(pair.ratio).T, strict=True):
        out[f"dmag_{band}"] = values.astype(np.float32)
    rest = (rest_colours(pair.second) - rest_colours(pair.first)).T
    out["d_u_minus_v"], out["d_v_minus_j"] = rest
    out["chi2"], out["degrees"], out["mass_dex"] = found.chi2, found.degrees, found.mass_dex
    return out


def summary(pair: Pair, found: Findings) -> dict[str, Any]:
    """The numbers that say most, plain ones."""
    tolerance = tolerance_mag(found.floor)
    per_degree = found.chi2 / np.maximum(found.degrees, 1)
    shape = magnitudes(shape_ratio(pair.ratio))
    return {
        "labels": list(pair.labels),
        "n": len(pair.theta),
        "n_bands": len(pair.bands),
        "floor": found.floor,
        "tolerance_mag": tolerance,
        "bands_with_median_beyond": int(np.sum(np.abs(found.raw.median) > tolerance)),
        "bands_with_shape_median_beyond": int(np.sum(np.abs(found.shape.median) > tolerance)),
        "shape_scatter_median_band_mag": float(np.nanmedian(found.shape.scatter)),
        "shape_scatter_worst_mag": float(np.nanmax(found.shape.scatter)),
        "fluxes_beyond": float(np.mean(np.abs(shape[np.isfinite(shape)]) > tolerance)),
        "chi2_per_degree_median": float(np.nanmedian(per_degree)),
        "chi2_per_degree_84": float(np.nanquantile(per_degree, 0.84)),
        "galaxies_above_1": float(np.nanmean(per_degree > 1.0)),
        "mass_dex": [float(x) for x in np.nanquantile(found.mass_dex, LEVELS[1:4])],
        "surviving_dex": [float(x) for x in np.nanquantile(found.surviving_dex, LEVELS[1:4])],
        "cost_follows": [[name, value] for name, value in found.cost_trends[:3]],
    }


def sentences(said: Mapping[str, Any]) -> list[str]:
    """The summary in words."""
    first, second = said["labels"]
    low, middle, high = said["mass_dex"]
    survive_low, survive, survive_high = said["surviving_dex"]
    scatter, worst = said["shape_scatter_median_band_mag"], said["shape_scatter_worst_mag"]
    cost, high_cost = said["chi2_per_degree_median"], said["chi2_per_degree_84"]
    follows = ", ".join(f"{name} ({value:+.2f})" for name, value in said["cost_follows"])
    found = [
        (
            f"{said['n']} galaxies with the same parameters in {said['n_bands']} bands; differences are {second} "
            f"minus {first}."
        ),
        (
            f"As they are, the median difference is beyond the floor ({said['tolerance_mag']:.3f} mag) in "
            f"{said['bands_with_median_beyond']} of {said['n_bands']} bands; after the best mass of every galaxy in "
            f"{said['bands_with_shape_median_beyond']}."
        ),
        (
            f"After the best mass the scatter over galaxies (half of the central 68%) is {scatter:.3f} mag in the "
            f"median band and {worst:.3f} in the worst; {100 * said['fluxes_beyond']:.0f}% of all fluxes are beyond "
            "the floor."
        ),
        (
            f"A noiseless galaxy of {first} fitted by {second} at the same parameters but mass, with errors of "
            f"{100 * said['floor']:g}%, costs chi^2 = {cost:.2f} per degree of freedom in the median and "
            f"{high_cost:.2f} at 84%; {100 * said['galaxies_above_1']:.0f}% of the galaxies cost more than 1. A fit "
            "would move other parameters and pay less chi^2, and its parameters would be off instead."
        ),
        f"That best mass is {middle:+.3f} dex (68%: {low:+.3f} to {high:+.3f}) relative to the one given.",
        (
            f"Surviving mass per mass formed: {survive:+.3f} dex (68%: {survive_low:+.3f} to {survive_high:+.3f}), "
            "conventions on remnants included."
        ),
    ]
    return found + ([f"The cost follows most (rank correlation): {follows}."] if follows else [])


def page(
    title: str,
    warnings: Sequence[str],
    facts: Mapping[str, Mapping[str, str]],
    setting: Mapping[str, str],
    pair: Pair,
    found: Findings,
    figures: Mapping[str, tuple[str, str]],
) -> str:
    """The comparison in Markdown; ``figures`` are file names and captions."""
    said = sentences(summary(pair, found))
    keys = list(dict.fromkeys(key for each in facts.values() for key in each))
    rows = [(key, *(each.get(key, "") for each in facts.values())) for key in keys]
    tolerance, of_colours = tolerance_mag(found.floor), tolerance_mag(found.floor, 2)
    parts = [
        f"# {title}",
        *(f"> **{sentence}**" for sentence in warnings),
        "\n".join(f"- {sentence}" for sentence in said),
        "## What is compared\n\n" + table(("", *facts), rows),
        table(("setting", "value"), list(setting.items())),
        *(f"![{caption}]({name})\n\n*{caption}*" for name, caption in figures.values()),
        "## Every band\n\nMagnitudes, second minus first: positive where the second is fainter. Of shape: after the "
        "best mass of every galaxy. Beyond: share of galaxies that differ by more than the floor, "
        f"{tolerance:.3f} mag. Follows: the quantity with the largest rank correlation with the difference of shape. "
        "Bands blueward of Lyman alpha in a galaxy's rest frame are left out.\n\n" + _bands(pair, found),
        "## Colours\n\nMagnitudes, second minus first: positive where the second is redder. Beyond: "
        f"{of_colours:.3f} mag, the floor of two bands.\n\n" + _colours(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bands(pair: Pair, found: Findings) -> str:
    rows = []
    for i in np.argsort(pair.wave_um):
        raw, shape = found.raw.quantiles[:, i], found.shape.quantiles[:, i]
        rows.append(
            (
                f"`{pair.bands[i]}`",
                f"{pair.wave_um[i]:.3g}",
                str(found.raw.n[i]),
                _signed(raw[2]),
                _range(raw[1], raw[3]),
                _signed(shape[2]),
                _range(shape[1], shape[3]),
                _range(shape[0], shape[4]),
                f"{100 * found.shape.beyond[i]:.0f}%",
                _follows(found.trends[i]),
            )
        )
    headings = (
        "band",
        "um",
        "galaxies",
        "median",
        "68%",
        "of shape: median",
        "68%",
        "0.1 to 99.9%",
        "beyond",
    )
    return table((*headings, "follows"), rows)


def _colours(found: Findings) -> str:
    these = found.colours
    rows = [
        (
            name,
            str(these.n[i]),
            _signed(these.median[i]),
            _range(these.quantiles[1, i], these.quantiles[3, i]),
            _range(these.quantiles[0, i], these.quantiles[4, i]),
            f"{100 * these.beyond[i]:.0f}%",
            _follows(found.colour_trends[i]),
        )
        for i, name in enumerate(these.names)
    ]
    return table(("colour", "galaxies", "median", "68%", "0.1 to 99.9%", "beyond", "follows"), rows)


def _add_trends(out: Table, trends: Sequence[Trend]) -> None:
    out["follows"] = [trend.name for trend in trends]
    out["rank_correlation"] = [trend.correlation for trend in trends]


def _rounded(out: Table) -> Table:
    """Four decimals where a table is shown or written."""
    for name in out.colnames:
        if out[name].dtype.kind == "f":
            out[name].info.format = ".4f"
    return out


def _follows(trend: Trend) -> str:
    return f"`{trend.name}` {trend.correlation:+.2f}" if trend.name else ""


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _range(low: float, high: float) -> str:
    return f"{low:+.3f} to {high:+.3f}"
