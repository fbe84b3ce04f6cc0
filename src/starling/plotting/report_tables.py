"""The numbers of the report: one row per galaxy, which galaxies to show, why the others failed, what was run."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import NamedTuple

import numpy as np
import xarray as xr
from markupsafe import Markup
from scipy import stats

from starling.plotting.bands import BandFluxes
from starling.plotting.convergence import by_weights, smallest_ess, worst_rhat
from starling.plotting.draws import (
    dataset,
    draws,
    galaxy_ids,
    label,
    passed,
    quantiles,
    redshifts,
    scalar_names,
)

IMPROBABLE = 1e-3
"""A chi2 that a true model exceeds less often than this is marked: the model cannot explain the galaxy."""

_COLUMNS = ("log_stellar_mass", "sfr_100", "log_ssfr_100", "mwa", "a_v", "logzsol")
_SHORT = 160
_CENTRAL = (0.16, 0.5, 0.84)


class GalaxyRow(NamedTuple):
    """What the table says about one galaxy; ``values`` follow :func:`parameter_columns`.

    ``stage`` is empty and ``k_hat`` NaN where no flow proposed the draws.
    """

    position: int
    identifier: str
    zred: float
    values: list[Markup]
    chi2: float
    n_bands: int
    unexplained: bool
    rhat: float
    ess: float
    divergences: int
    passed: bool
    flag: str
    stage: str
    k_hat: float


def parameter_columns(tree: xr.DataTree) -> list[str]:
    """Headings of the parameter columns of the table."""
    return [label(name).heading for name in _column_names(tree)]


def galaxy_rows(tree: xr.DataTree, fluxes: BandFluxes, most: int, *, first: int = 0) -> list[GalaxyRow]:
    """Rows of at most ``most`` galaxies from position ``first`` on, in the order of the tree.

    The chi2 is the smallest of the stored predictions, over the bands that were used and are not upper
    limits. Compared with as many degrees of freedom as bands it is conservative: the fit has made it
    smaller.
    """
    diagnostics = dataset(tree, "diagnostics")
    part = slice(first, first + most)
    columns = [quantiles(draws(tree, name)[:, part], _CENTRAL) for name in _column_names(tree)]
    chi2 = fluxes.chi2
    n_bands = fluxes.detected.sum(axis=1)
    unexplained = stats.chi2.sf(np.nan_to_num(chi2), np.maximum(n_bands, 1)) < IMPROBABLE
    zred, rhat, ess = redshifts(tree), worst_rhat(tree), smallest_ess(tree)
    good = passed(tree)
    identifiers = galaxy_ids(tree)
    n = len(identifiers)
    stage, k_hat = (
        diagnostics[name].values if name in diagnostics else np.full(n, blank)
        for name, blank in (("stage", ""), ("k_hat", np.nan))
    )
    return [
        GalaxyRow(
            position=index,
            identifier=identifiers[index],
            zred=float(zred[index]),
            values=[with_errors(*column[:, index - first]) for column in columns],
            chi2=float(chi2[index]),
            n_bands=int(n_bands[index]),
            unexplained=bool(unexplained[index]),
            rhat=float(rhat[index]),
            ess=float(ess[index]),
            divergences=int(diagnostics["divergences"].values[index]),
            passed=bool(good[index]),
            flag=str(diagnostics["flag"].values[index]),
            stage=str(stage[index]),
            k_hat=float(k_hat[index]),
        )
        for index in range(first, min(first + most, n))
    ]


def choose_galaxies(tree: xr.DataTree, fluxes: BandFluxes, most: int) -> list[tuple[str, list[int]]]:
    """Positions of the galaxies to look at, none twice: a third by chi2 per band, a third by R-hat, the rest typical.

    By R-hat those that failed come first, and one without any is the largest. Galaxies that weighted draws settled have
    none to rank: where they passed they are not among these. Typical ones passed and have a chi2 per band in the middle
    half; they are spread evenly over redshift.
    """
    n_bands = np.maximum(fluxes.detected.sum(axis=1), 1)
    chi2 = fluxes.chi2 / n_bands
    good = passed(tree)
    rhat = np.where(by_weights(tree), -np.inf, np.nan_to_num(worst_rhat(tree), nan=np.inf))
    most = min(most, len(chi2))
    third = -(-most // 3)
    by_chi2 = _largest(np.nan_to_num(chi2, nan=-np.inf), third)
    ranked = [int(index) for index in np.lexsort((-rhat, good)) if not good[index] or rhat[index] > -np.inf]
    by_rhat = [index for index in ranked if index not in by_chi2][: min(third, most - len(by_chi2))]
    taken = {*by_chi2, *by_rhat}
    free = [index for index in np.argsort(redshifts(tree), kind="stable") if int(index) not in taken]
    low, high = np.nanquantile(chi2, (0.25, 0.75)) if np.isfinite(chi2).any() else (np.nan, np.nan)
    middle = [int(index) for index in free if good[index] and low <= chi2[index] <= high]
    rest = middle + [int(index) for index in free if int(index) not in middle]
    wanted = most - len(taken)
    if len(middle) > wanted > 0:
        rest = [middle[int(place)] for place in np.linspace(0, len(middle) - 1, wanted).round()]
    return [
        ("Largest χ² per band", by_chi2),
        ("Failed, or largest R-hat", by_rhat),
        ("Typical galaxies", rest[:wanted]),
    ]


def reasons_of_failure(tree: xr.DataTree) -> list[tuple[str, int]]:
    """The sentences of the flags, without what belongs to single galaxies, and how many galaxies each hit."""
    flags = dataset(tree, "diagnostics")["flag"].values[~passed(tree)]
    counts: Counter[str] = Counter()
    for flag in flags:
        sentences = {_general(sentence) for sentence in str(flag).split("; ")} - {""}
        counts.update(sentences or {"no reason given"})
    return counts.most_common()


def run_facts(tree: xr.DataTree) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What was run, from the attributes of the tree: name, short value, and the items of a structured value."""
    posterior = dataset(tree, "posterior")
    sizes = f"{posterior.sizes['chain']} chains × {posterior.sizes['draw']} draws"
    facts: list[tuple[str, str, list[tuple[str, str]]]] = [("draws kept per galaxy", sizes, [])]
    for name, value in tree.attrs.items():
        items = _structured(value)
        line = ", ".join(f"{key} {item}" for key, item in items) if items else str(value)
        short = not items or len(line) <= _SHORT
        facts.append((str(name).replace("_", " "), line if short else "", [] if short else items))
    return facts


def with_errors(low: float, middle: float, high: float) -> Markup:
    """The median with its 68 % errors, two digits of the smaller one, as HTML."""
    if not np.isfinite([low, middle, high]).all():
        return Markup("–")
    error = min(high - middle, middle - low)
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 3)) if error > 0 else 3
    above, below = f"+{high - middle:.{digits}f}", f"−{middle - low:.{digits}f}"
    value = f"{middle:.{digits}f}".replace("-", "−")
    return Markup(f'{value}<span class="pm"><sup>{above}</sup><sub>{below}</sub></span>')


def number(value: float, form: str = ".3g") -> str:
    """A number for a table, with a real minus sign; a dash where it is not finite."""
    return format(value, form).replace("-", "−") if np.isfinite(value) else "–"


def _column_names(tree: xr.DataTree) -> list[str]:
    available = scalar_names(tree)
    return [name for name in _COLUMNS if name in available] or list(available[:5])


def _largest(values: np.ndarray, count: int) -> list[int]:
    return [int(index) for index in np.argsort(-values, kind="stable")[:count]]


def _general(sentence: str) -> str:
    sentence = sentence.strip().split(" in ")[0]
    return re.sub(r"^[\d.]+ ?%? (of )?", "", sentence)


def _structured(value: object) -> list[tuple[str, str]]:
    """Items of a mapping or of JSON text, nested keys joined by dots; empty for anything else."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return []
    items: list[tuple[str, str]] = []

    def walk(prefix: str, inner: object) -> None:
        if isinstance(inner, dict) and inner:
            for key, item in inner.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        elif isinstance(inner, list) and any(isinstance(item, dict) for item in inner):
            for index, item in enumerate(inner):
                walk(f"{prefix}.{item.get('name', index) if isinstance(item, dict) else index}", item)
        else:
            text = ", ".join(map(str, inner)) if isinstance(inner, list) else str(inner)
            items.append((prefix, text))

    if isinstance(value, dict | list):
        walk("", value)
    return items
