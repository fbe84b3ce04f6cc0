"""How far the gradient of an emulator is from that of the model that it imitates: a sampler lives on it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.table import Table

from starling.validation.derivatives import (
    REDSHIFT,
    SLOPE_STEP,
    Differentiable,
    redshift_slopes,
    rest_fluxes,
    rounded,
)
from starling.validation.posterior_points import (
    N_BANDS,
    SIGNAL_TO_NOISE,
    likelihood_errors,
    likelihood_verdict,
)

SLOPE = f"{REDSHIFT}, slope"


def gradient_errors(
    emulator: Differentiable, exact: Differentiable, softening: float, n: int, seed: int
) -> dict[str, Any]:
    """Errors of the emulator's gradient on ``n`` new draws from the prior, JSON-able.

    The gradient is that of arsinh magnitudes (``softening``) of the flux at 10 pc per Msun formed, which is what an
    emulator learns, in mag per prior sigma (``starling.validation.derivatives``). ``rms_error`` and ``rms_exact``
    [param, band]: root mean square over galaxies of the error and of the exact value; ``abs_68``: what 68% of the
    errors stay within. ``redshift``, per band: the emulator's derivative in redshift against the exact model's slope
    over 0.008 in z, and the exact model's own derivative against it (``rms_rough``). That derivative is rough: it has
    a step wherever the edge of a pixel or an emission line passes the edge of a filter.
    ``likelihood``: the gradient of log likelihoods and their curvature, see ``likelihood_errors``.
    Raises ValueError where the models have other parameters or bands, or no gradient is finite.
    """
    if (emulator.space.names, emulator.bands) != (exact.space.names, exact.bands):
        raise ValueError(
            "emulator and exact model have not the same parameters and bands: compare like with like"
        )
    x = np.random.default_rng([seed, 0]).standard_normal((n, len(exact.space)))
    ours, theirs = (rest_fluxes(model, x).magnitude_gradient(softening) for model in (emulator, exact))
    slope = redshift_slopes(exact, softening, x)
    kept = np.all(np.isfinite(ours) & np.isfinite(theirs), axis=(1, 2))
    inside = kept & np.isfinite(slope).all(axis=1)
    if not inside.any():
        raise ValueError(f"none of {n} galaxies has a finite gradient in every band")
    error = ours[kept] - theirs[kept]
    zred = exact.space.index(REDSHIFT)
    return {
        "n": int(kept.sum()),
        "n_failed": int(n - kept.sum()),
        "seed": seed,
        "bands": list(exact.bands),
        "parameters": list(exact.space.names),
        "rms_error": rounded(_rms(error).T),
        "rms_exact": rounded(_rms(theirs[kept]).T),
        "abs_68": rounded(np.quantile(np.abs(error), 0.683, axis=0).T),
        "redshift": {
            "n": int(inside.sum()),
            "step": SLOPE_STEP,
            "rms_error": rounded(_rms((ours[..., zred] - slope)[inside])),
            "abs_68": rounded(np.quantile(np.abs(ours[..., zred] - slope)[inside], 0.683, axis=0)),
            "rms_rough": rounded(_rms((theirs[..., zred] - slope)[inside])),
            "rms_exact": rounded(_rms(slope[inside])),
        },
        "likelihood": likelihood_errors(emulator, exact, n, seed),
    }


def gradient_table(gradient: Mapping[str, Any]) -> Table:
    """One row per parameter, over all bands; as ``starling validate`` prints it."""
    title = f"Gradient: d mag per prior sigma, {gradient['n']} new draws from the prior (rms over galaxies and bands)"
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column("parameter", no_wrap=True, min_width=15)
    for heading in ("exact", "error", "relative", "68% within"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading) + 1)
    table.add_column("worst band", overflow="fold")
    for row in gradient_rows(gradient):
        numbers = (f"{row.exact:.4f}", f"{row.error:.4f}", f"{row.relative:.1%}", f"{row.within:.4f}")
        table.add_row(row.parameter, *numbers, row.worst)
    return table


class GradientRow(NamedTuple):
    """A line of the table: a parameter, rms over galaxies and bands (mag per prior sigma), the band with most error."""

    parameter: str
    exact: float
    error: float
    relative: float
    within: float  # 68% of the errors, median band
    worst: str


def gradient_rows(gradient: Mapping[str, Any]) -> list[GradientRow]:
    """The lines of the table, redshift against the exact slope after the derivative in redshift."""
    redshift, bands = gradient["redshift"], gradient["bands"]
    keys = ("rms_error", "rms_exact", "abs_68")
    parts = list(zip(gradient["parameters"], *(gradient[key] for key in keys), strict=True))
    place = gradient["parameters"].index(REDSHIFT) + 1
    parts.insert(place, (SLOPE, *(redshift[key] for key in keys)))
    rows = []
    for name, error, exact, within in parts:
        total, size = (float(np.sqrt(np.mean(np.square(values)))) for values in (error, exact))
        worst = int(np.argmax(error))
        relative = total / max(size, float(np.finfo(float).tiny))
        typical = float(np.median(within))
        rows.append(GradientRow(name, size, total, relative, typical, f"{bands[worst]} {error[worst]:.3f}"))
    return rows


def gradient_verdict(gradient: Mapping[str, Any]) -> str:
    """What it means for sampling, in sentences."""
    redshift = gradient["redshift"]
    rough, size = (float(np.sqrt(np.mean(np.square(redshift[key])))) for key in ("rms_rough", "rms_exact"))
    said = (
        f"The exact derivative in redshift is itself rough, {rough / size:.0%} (rms) off the exact slope over "
        f"{2 * redshift['step']:g} in z: it steps where edges of pixels and emission lines pass edges of filters."
    )
    return "\n".join([said, *(_felt(name, felt) for name, felt in gradient["likelihood"].items())])


def _felt(name: str, felt: Mapping[str, Any]) -> str:
    """What a sampler feels, with redshift free or fixed."""
    snr = "-".join(f"{end:g}" for end in SIGNAL_TO_NOISE)
    galaxies = f", redshift {name} ({felt['n']} galaxies, {N_BANDS} bands at S/N {snr})"
    return likelihood_verdict(galaxies, felt)


def _rms(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(values), axis=0))
