"""The numbers of the report: one row per galaxy, which galaxies to show, why the others failed, what was run."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from markupsafe import Markup
from scipy import stats

from starling.plotting.bands import BandFluxes
from starling.plotting.convergence import by_weights, smallest_ess, worst_rhat
from starling.plotting.draws import (
    central,
    dataset,
    galaxy_ids,
    label,
    passed,
    redshifts,
    scalar_names,
)

IMPROBABLE = 1e-3
"""A galaxy with a smaller p-value is marked: the model cannot explain it."""

COLUMNS = ("log_stellar_mass", "sfr_100", "log_ssfr_100", "mwa", "a_v", "logzsol")
_SHORT = 160
_REASONS = 30


class GalaxyRow(NamedTuple):
    """What the table says about one galaxy; ``values`` follow :func:`parameter_columns`.

    ``stage`` is empty and ``k_hat`` NaN where no flow proposed the draws; ``unexplained`` is empty where the model
    explains the galaxy, ``unlike_training`` where it is like those that the flow was trained for.
    """

    position: int
    identifier: str
    zred: float
    values: list[Markup]
    chi2: float
    n_bands: int
    p_value: float
    unexplained: str
    rhat: float
    ess: float
    divergences: int
    passed: bool
    flag: str
    stage: str
    k_hat: float
    unlike_training: str


class Outcome(NamedTuple):
    """How many galaxies one stage settled, and how many of them passed."""

    stage: str
    n: int
    passed: int


def parameter_columns(tree: xr.DataTree) -> list[str]:
    """Headings of the parameter columns of the table."""
    return [label(name).heading for name in _column_names(tree)]


def galaxy_rows(tree: xr.DataTree, fluxes: BandFluxes, positions: Sequence[int]) -> list[GalaxyRow]:
    """Rows of the galaxies at these positions.

    The chi2 is the smallest of the stored predictions, over the bands that were used and are not upper limits.
    """
    diagnostics = dataset(tree, "diagnostics")
    columns = [central(tree, name) for name in _column_names(tree)]
    n_bands, p_values, warnings = (
        fluxes.detected.sum(axis=1),
        probabilities(tree, fluxes),
        unexplained(tree, fluxes),
    )
    zred, rhat, ess = redshifts(tree), worst_rhat(tree), smallest_ess(tree)
    good, identifiers = passed(tree), galaxy_ids(tree)
    n = len(identifiers)
    stage, k_hat, unlike = (
        diagnostics[name].values if name in diagnostics else np.full(n, blank)
        for name, blank in (("stage", ""), ("k_hat", np.nan), ("unlike_training", ""))
    )
    return [
        GalaxyRow(
            position=index,
            identifier=identifiers[index],
            zred=float(zred[index]),
            values=[with_errors(*column[:, index]) for column in columns],
            chi2=float(fluxes.chi2[index]),
            n_bands=int(n_bands[index]),
            p_value=float(p_values[index]),
            unexplained=warnings[index],
            rhat=float(rhat[index]),
            ess=float(ess[index]),
            divergences=int(diagnostics["divergences"].values[index]),
            passed=bool(good[index]),
            flag=str(diagnostics["flag"].values[index]),
            stage=str(stage[index]),
            k_hat=float(k_hat[index]),
            unlike_training=str(unlike[index]),
        )
        for index in positions
    ]


def probabilities(tree: xr.DataTree, fluxes: BandFluxes) -> np.ndarray:
    """The smaller of the posterior predictive p-values, for two tests; NaN where no band was used.

    Of a tree without them the tail probability of the smallest chi2, for as many degrees of freedom as bands: larger
    than that of a true model, since the fit has made the chi2 smaller.
    """
    diagnostics = dataset(tree, "diagnostics")
    if "p_value" in diagnostics:
        both = np.fmin(diagnostics["p_value"].values, diagnostics["p_value_band"].values)
        return np.minimum(2.0 * both.astype(float), 1.0)
    n_bands = fluxes.detected.sum(axis=1)
    tail = stats.chi2.sf(np.nan_to_num(fluxes.chi2), np.maximum(n_bands, 1))
    return np.where(np.isfinite(fluxes.chi2), tail, np.nan)


def unexplained(tree: xr.DataTree, fluxes: BandFluxes) -> list[str]:
    """Per galaxy what the model does not explain in the data; empty where there is nothing to say."""
    diagnostics = dataset(tree, "diagnostics")
    if "unexplained" in diagnostics:
        return [str(text) for text in diagnostics["unexplained"].values]
    improbable = np.nan_to_num(probabilities(tree, fluxes), nan=1.0) < IMPROBABLE
    sentence = "the model does not explain the data: its chi2 is improbable"
    return [sentence if one else "" for one in improbable]


def choose_galaxies(tree: xr.DataTree, fluxes: BandFluxes, most: int) -> list[tuple[str, list[int]]]:
    """Positions of the galaxies to look at, none twice: five sixths the worst, the rest typical.

    Half of the worst are the least probable under the model, ties by chi2 per band. The other half are those that
    failed, then those of the largest R-hat; one without any is the largest, but galaxies that passed by weighted draws
    have none to rank and are not among these. Where these are too few there are more of the least probable. Typical
    ones passed and have a p-value in the middle half; they are spread evenly over redshift.
    """
    n = len(fluxes.chi2)
    most = min(most, n)
    n_worst = most - (max(1, most // 6) if most > 2 else 0)
    by_p, by_rhat = worst_first(tree, fluxes), _by_convergence(tree)
    improbable = by_p[: -(-n_worst // 2)]
    failed = [index for index in by_rhat if index not in improbable][: n_worst - len(improbable)]
    more = [index for index in by_p if index not in {*improbable, *failed}]
    improbable = [*improbable, *more[: n_worst - len(improbable) - len(failed)]]
    typical = _typical(tree, probabilities(tree, fluxes), {*improbable, *failed}, most - n_worst)
    return [
        ("Least probable under the model", improbable),
        ("Failed, or largest R-hat", failed),
        ("Typical galaxies", typical),
    ]


def worst_first(tree: xr.DataTree, fluxes: BandFluxes) -> list[int]:
    """Positions of all galaxies, the least probable under the model first, ties by chi2 per band."""
    chi2 = np.nan_to_num(fluxes.chi2 / np.maximum(fluxes.detected.sum(axis=1), 1), nan=-np.inf)
    p_values = np.nan_to_num(probabilities(tree, fluxes), nan=np.inf)
    return [int(index) for index in np.lexsort((-chi2, p_values))]


def _by_convergence(tree: xr.DataTree) -> list[int]:
    good = passed(tree)
    rhat = np.where(by_weights(tree), -np.inf, np.nan_to_num(worst_rhat(tree), nan=np.inf))
    ranked = np.lexsort((-rhat, good))
    return [int(index) for index in ranked if not good[index] or rhat[index] > -np.inf]


def _typical(tree: xr.DataTree, p_values: np.ndarray, taken: set[int], wanted: int) -> list[int]:
    good = passed(tree)
    free = [int(index) for index in np.argsort(redshifts(tree), kind="stable") if int(index) not in taken]
    known = p_values[np.isfinite(p_values)]
    low, high = np.quantile(known, (0.25, 0.75)) if known.size else (np.nan, np.nan)
    middle = [index for index in free if good[index] and low <= p_values[index] <= high]
    if len(middle) > wanted > 0:
        return [middle[int(place)] for place in np.linspace(0, len(middle) - 1, wanted).round()]
    inside = {*middle}
    return [*middle, *(index for index in free if index not in inside)][: max(wanted, 0)]


def outcomes(tree: xr.DataTree) -> list[Outcome]:
    """How many galaxies each stage settled, the most frequent stage first; one line where no flow proposed draws."""
    diagnostics, good = dataset(tree, "diagnostics"), passed(tree)
    stages = diagnostics["stage"].values if "stage" in diagnostics else np.full(good.size, "chains")
    found = [
        Outcome(str(stage), int((stages == stage).sum()), int(good[stages == stage].sum()))
        for stage in dict.fromkeys(stages.tolist())
    ]
    return sorted(found, key=lambda item: -item.n)


def reasons_of_failure(tree: xr.DataTree) -> list[tuple[str, int]]:
    """The sentences of the flags, without what belongs to single galaxies, and how many galaxies each hit."""
    flags = dataset(tree, "diagnostics")["flag"].values[~passed(tree)]
    counts: Counter[str] = Counter()
    for flag in flags:
        sentences = {_general(sentence) for sentence in str(flag).split("; ")} - {""}
        counts.update(sentences or {"no reason given"})
    return counts.most_common(_REASONS)


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
    return [name for name in COLUMNS if name in available] or list(available[:5])


def _general(sentence: str) -> str:
    """Without names and numbers of a single galaxy; limits stay."""
    sentence = re.sub(r" in (?!the )\S.*$", "", sentence.strip())
    sentence = re.sub(r"^[\d.]+ ?%? (of )?", "", sentence)
    return re.sub(r"(?<!limit )(?<!below )(?<!above )(?<!least )(?<![\w.])\d[\d.]*", "…", sentence)


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
