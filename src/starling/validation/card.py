"""The model card of an emulator, in Markdown: what it is, how accurate, what it is not for, what it costs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from starling.components import SPECTRAL_PROPERTIES
from starling.parameters import ParameterSpace
from starling.spaces import training_space
from starling.validation.emulator import NewErrors
from starling.validation.gradients import SLOPE, gradient_rows, gradient_verdict
from starling.validation.weaknesses import weaknesses

GOAL_MAG = 0.01
_MISSING = "not recorded"


class Measured(NamedTuple):
    """What a card tells beside the header: the file, new simulations, figures (caption and file name), commands."""

    file_name: str
    file_bytes: int
    file_sha256: str
    errors: NewErrors | None
    gradient: Mapping[str, Any] | None
    figures: Mapping[str, tuple[str, str]]
    command: str
    remake: str
    wave_um: Sequence[float]


def model_card(header: Mapping[str, Any], measured: Measured) -> str:
    """The card; ``measured.figures`` are by section: bands, tails, parameters, correlation, gradient."""
    parts = [
        f"# Model card of `{header['name']}`",
        _warning(header),
        "## What it is\n\n" + _identity(header, measured),
        "## Parameters\n\n" + _parameters(header),
        "## How it was made\n\n" + _making(header, measured),
        "## How accurate it is\n\n" + _accuracy(header, measured),
        "## Its gradient\n\n" + _gradient(measured),
        "## What it is not for\n\n" + _limits(header, weaknesses(header, measured.errors, measured.gradient)),
        "## What it costs\n\n" + _cost(header),
        "## Every band\n\n" + _bands(header, measured),
        f"This card was written by `{measured.command}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _warning(header: Mapping[str, Any]) -> str:
    if not header["surrogate"]:
        return ""
    return (
        "> **SURROGATE: NOT ASTROPHYSICS.** The tables of the model that this emulator imitates are stand-ins with "
        "made-up numbers. It is for testing software. Nothing that is computed with it says anything about a galaxy; "
        "do not publish it."
    )


def _identity(header: Mapping[str, Any], measured: Measured) -> str:
    space = ParameterSpace.from_dict(header["space"])
    redshift = space.parameters[space.index("zred")]
    networks = [
        f"{role}: {shape['n_inputs']} inputs, {shape['depth']} layers of {shape['width']} ({shape['activation']}"
        f"{', residual' if shape.get('residual') else ''}), {shape['n_outputs']} outputs"
        for role, shape in ((role, network["architecture"]) for role, network in header["networks"].items())
    ]
    return table(
        ("what", "value"),
        (
            ("imitates", header["simulator"]["tables"]),
            ("surrogate", "YES: not astrophysics" if header["surrogate"] else "no"),
            ("kind", f"{header['kind']} (`starling.emulators.{header['kind']}`)"),
            ("networks", "; ".join(networks)),
            ("parameters", f"{len(space)}, space `{space.name}`"),
            (
                "bands",
                f"{len(header['bands'])}, {min(measured.wave_um):.2g} to {max(measured.wave_um):.3g} um",
            ),
            ("redshift", f"{redshift.low:g} to {redshift.high:g}"),
            ("output", header["units"]["flux"] + ", of one galaxy"),
            ("licence", header.get("licence", _MISSING)),
            ("file", f"`{measured.file_name}`, {measured.file_bytes / 1e6:.2f} MB"),
            ("SHA-256 of the file", f"`{measured.file_sha256}`"),
            ("format", f"{header['format']}, version {header['format_version']}"),
        ),
    )


def _parameters(header: Mapping[str, Any]) -> str:
    space = ParameterSpace.from_dict(header["space"])
    wide = training_space(space)
    rows = []
    for parameter, other in zip(space.parameters, wide.parameters, strict=True):
        prior, training = _prior(parameter.prior.to_dict()), _prior(other.prior.to_dict())
        same = "the same" if training == prior else training
        rows.append((f"`{parameter.name}`", parameter.description, parameter.unit, prior, same))
    constants = "".join(f"\n\nHeld at `{name}` = {value:g}." for name, value in space.constants)
    return table(("name", "what", "unit", "prior", "drawn for training from"), rows) + constants


def _prior(description: Mapping[str, Any]) -> str:
    values = ", ".join(
        f"{key} {value:.4g}" for key, value in description.items() if isinstance(value, int | float)
    )
    return f"{str(description['kind']).replace('_', ' ')} ({values})"


def _making(header: Mapping[str, Any], measured: Measured) -> str:
    sets = header["config"].get("sets", {})
    training = header.get("training_set", {})
    drawn = _MISSING
    if "n_train" in sets:
        drawn = f"{sets['n_train']} ({sets.get('method', '')}), {100 * sets.get('prior_fraction', 0):g}% from the prior"
    held_out = ", ".join(f"{statistics['n']} ({kind})" for kind, statistics in header["accuracy"].items())
    versions = ", ".join(f"{name} {number}" for name, number in header["versions"].items())
    rows = (
        ("training galaxies", drawn + ", the rest from the training distribution above"),
        ("held-out galaxies", held_out),
        ("simulations that failed", str(sum(header.get("n_failed", {}).values()))),
        ("SHA-256 of the training set", f"`{training.get('sha256', _MISSING)}`"),
        ("SHA-256 of what decides the training set", f"`{training.get('identity_sha256', _MISSING)}`"),
        ("SHA-256 of the configuration", f"`{header['config_sha256']}`"),
        ("date", header["created"]),
        ("commit", header["git_commit"] or _MISSING),
        ("versions", versions),
        ("optimizer", _optimizer(header["config"].get("training", {}))),
    )
    return f"{table(('what', 'value'), rows)}\n\nThe command that makes it again, in this folder: `{measured.remake}`."


def _optimizer(training: Mapping[str, Any]) -> str:
    stages = training.get("stages", ())
    passes = ", ".join(f"{stage['epochs']} epochs of batches of {stage['batch_size']}" for stage in stages)
    return f"{training.get('optimizer', _MISSING)}; {passes}"


def _accuracy(header: Mapping[str, Any], measured: Measured) -> str:
    samples = {
        "held-out draws from the prior": header["accuracy"]["prior"],
        "held-out draws from the training distribution": header["accuracy"]["training"],
    }
    if measured.errors is not None:
        samples["new draws from the prior, for this card"] = measured.errors.statistics()
    rows = []
    for title, statistics in samples.items():
        bands = _band_columns(statistics)
        sigma, tail = (np.asarray(statistics[key])[bands] for key in ("std", "abs_999"))
        worst = int(np.argmax(sigma))
        rows.append(
            (
                title,
                str(statistics["n"]),
                f"{np.median(sigma):.4f}",
                f"{sigma[worst]:.4f} ({np.asarray(statistics['names'])[bands][worst]})",
                f"{np.sum(sigma > GOAL_MAG)} of {len(sigma)}",
                f"{np.median(tail):.3f}",
                f"{tail.max():.3f}",
            )
        )
    headings = (
        "sample",
        "galaxies",
        "sigma, median band",
        "sigma, worst band",
        f"bands above {GOAL_MAG:g} mag",
    )
    tails = ("99.9% within, median band", "99.9% within, worst band")
    text = "Emulated minus exact, magnitudes.\n\n" + table((*headings, *tails), rows)
    text += _figures(measured, "bands", "tails")
    if measured.errors is not None:
        text += (
            "\n\n"
            + _correlations(measured.errors, measured.wave_um)
            + _figures(measured, "parameters", "correlation")
        )
    return text


def _correlations(errors: NewErrors, wave_um: Sequence[float]) -> str:
    """How much bands err together, in a sentence."""
    n_bands = len(wave_um)
    if n_bands < 2:
        return ""
    correlation = np.corrcoef(errors.error[:, np.argsort(wave_um)], rowvar=False)
    others = np.abs(correlation[np.triu_indices(n_bands, 1)])
    return (
        "A likelihood that takes the errors of bands for independent is right only where they are: the correlation "
        f"between bands next to each other in wavelength is {np.median(np.diag(correlation, 1)):.2f} in the median, "
        f"the absolute correlation of any two {np.median(others):.2f}."
    )


def _gradient(measured: Measured) -> str:
    if measured.gradient is None:
        return "Not measured: `starling validate EMULATOR --card FOLDER --simulate N` measures it."
    rows = [
        (
            row.parameter,
            f"{row.exact:.4f}",
            f"{row.error:.4f}",
            f"{100 * row.relative:.1f}%",
            f"{row.within:.4f}",
            row.worst,
        )
        for row in gradient_rows(measured.gradient)
    ]
    explained = (
        "Derivatives of magnitudes (of the flux at 10 pc per Msun formed) in prior-whitened coordinates: magnitudes "
        f"per prior sigma, root mean square over {measured.gradient['n']} draws from the prior and all bands. A few "
        "galaxies at kinks of the exact model weigh much in these; 68% of the errors are within the last but one "
        f"number (median band). `{SLOPE}`: the emulator's derivative against the exact model's slope.\n\n"
    )
    headings = ("parameter", "exact", "error", "relative", "68% within", "worst band and its error")
    verdict = "\n\n".join(gradient_verdict(measured.gradient).split("\n"))
    return f"{explained}{table(headings, rows)}\n\n{verdict}{_figures(measured, 'gradient')}"


def _limits(header: Mapping[str, Any], found: Sequence[str]) -> str:
    space = ParameterSpace.from_dict(header["space"])
    ends = "; ".join(f"`{p.name}` {p.low:.4g} to {p.high:.4g}" for p in space.parameters)
    lines = [
        (
            f"Galaxies outside its domain: {ends}. Beyond, it extrapolates; fits count the draws that leave what it "
            "was trained on (`outside_domain`)."
        ),
        f"Models with other tables, star-formation histories, dust or IMF than {header['simulator']['tables']}.",
        "Other filters, or other curves of the same filters: `starling validate` compares them with those installed.",
        *found,
    ]
    return "\n".join(f"- {line}" for line in lines)


def _cost(header: Mapping[str, Any]) -> str:
    shapes = [network["architecture"] for network in header["networks"].values()]
    products = sum(
        s["width"] * (s["n_inputs"] + (s["depth"] - 1) * s["width"] + s["n_outputs"]) for s in shapes
    )
    return (
        f"{products:,} multiplications in the networks for all {len(header['bands'])} bands of one galaxy "
        "(`select(bands)` computes only the outputs of some of them), two to three times that with the gradient. Times "
        "for 24 bands are in `docs/results.md`; `uv run python benchmarks/emulator.py` measures them."
    )


def _bands(header: Mapping[str, Any], measured: Measured) -> str:
    prior, training = header["accuracy"]["prior"], header["accuracy"]["training"]
    gradient = measured.gradient
    headings = ["band", "um", "curve", "mean", "sigma", "robust", "99.9%", "within 0.01", "0.02", "0.05"]
    headings += ["training: sigma", "99.9%"] + (["gradient"] if gradient else [])
    rows = []
    for i, name in enumerate(header["bands"]):
        row = [
            f"`{name}`",
            f"{measured.wave_um[i]:.4g}",
            f"`{header['curve_sha256'][i][:10]}`",
            f"{prior['mean'][i]:+.4f}",
            *(f"{prior[key][i]:.4f}" for key in ("std", "robust_sigma", "abs_999")),
            *(f"{100 * prior['within'][limit][i]:.1f}%" for limit in ("0.01", "0.02", "0.05")),
            *(f"{training[key][i]:.4f}" for key in ("std", "abs_999")),
        ]
        if gradient:
            error, exact = (
                np.linalg.norm(np.asarray(gradient[key])[:, i]) for key in ("rms_error", "rms_exact")
            )
            row.append(f"{100 * error / max(exact, 1e-12):.1f}%")
        rows.append(row)
    explained = (
        "Errors in magnitudes on held-out draws from the prior: mean, standard deviation, half the width of the "
        "central 68%, what 99.9% stay within, shares within so many magnitudes; then on the training distribution"
        + ("; last the relative error of the gradient, all parameters together" if gradient else "")
        + ". The curve is known by the first ten digits of its SHA-256.\n\n"
    )
    return explained + table(headings, rows)


def _band_columns(statistics: Mapping[str, Any]) -> list[int]:
    return [i for i, name in enumerate(statistics["names"]) if name not in SPECTRAL_PROPERTIES]


def _figures(measured: Measured, *names: str) -> str:
    shown = (measured.figures[name] for name in names if name in measured.figures)
    return "".join(f"\n\n![{caption}]({file})\n\n*{caption}*" for caption, file in shown)
