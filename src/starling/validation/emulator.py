"""How accurate an emulator is: from the statistics in its header, or against the exact model on new galaxies."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich import box
from rich.table import Table

from starling.components import SPECTRAL_PROPERTIES
from starling.emulators.photometry import PhotometryEmulator
from starling.emulators.statistics import WITHIN, error_statistics
from starling.emulators.targets import totals
from starling.photometry import arsinh_magnitude
from starling.simulation import DrawPlan, SimulatedSet, Simulator, draw_chunk
from starling.simulation.store import finite_rows

BAR_MAG = 0.03
_CHUNK = 1024


class NewErrors(NamedTuple):
    """Emulated minus exact magnitudes (arsinh, at 10 pc per Msun formed) and properties of new galaxies."""

    theta: Float[np.ndarray, "row param"]
    error: Float[np.ndarray, "row output"]
    names: tuple[str, ...]
    parameters: tuple[str, ...]
    n_failed: int  # simulations that were not finite, left out

    def statistics(self) -> dict[str, Any]:
        return error_statistics(self.error, self.names)


def errors_on_new_draws(emulator: PhotometryEmulator, simulator: Simulator, n: int, seed: int) -> NewErrors:
    """The emulator's errors on ``n`` new draws from the prior; ``simulator`` gives whole galaxies."""
    # the first draws are the same for any size of a chunk
    plan = DrawPlan(emulator.space, n, seed, "uniform", min(_CHUNK, 1 << (n - 1).bit_length()))
    thetas, errors = [], []

    @jax.jit
    def predict(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        flux = jax.vmap(emulator.rest_flux)(theta)
        values = jax.vmap(emulator.spectral_properties)(theta)
        return arsinh_magnitude(flux, emulator.softening), jnp.stack(
            [values[k] for k in SPECTRAL_PROPERTIES], axis=1
        )

    for index in range(plan.n_chunks):
        theta = draw_chunk(plan, index)
        simulated = SimulatedSet(theta, dict(simulator(theta)), 0)
        exact = totals(emulator.space, emulator.softening, None, simulated)
        magnitude, values = predict(jnp.asarray(theta))
        error = np.hstack([magnitude - exact.magnitudes, values - exact.properties])
        errors.append(error[: plan.rows(index)])
        thetas.append(theta[: plan.rows(index)])
    error, theta = np.concatenate(errors), np.concatenate(thetas)
    kept = finite_rows(error)
    if not kept.any():
        raise ValueError(
            f"none of {n} simulated galaxies is finite: the simulator and the emulator do not fit"
        )
    names = (*emulator.bands, *SPECTRAL_PROPERTIES)
    return NewErrors(theta[kept], error[kept], names, emulator.space.names, int(np.sum(~kept)))


def accuracy_table(statistics: Mapping[str, Any], title: str) -> Table:
    """One row per band (errors in magnitudes) and property (its own unit), as ``starling validate`` prints it.

    "99.9%" is that quantile of the absolute error; the last columns are shares of galaxies within so many mag.
    """
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column("output", no_wrap=True)
    limits = [f"<{limit}" for limit in WITHIN]
    for heading in ("mean", "sigma", "robust", "99.9%", *limits):
        table.add_column(heading, justify="right", no_wrap=True)
    for i, name in enumerate(statistics["names"]):
        sigma = statistics["std"][i]
        numbers = (statistics["mean"][i], sigma, statistics["robust_sigma"][i], statistics["abs_999"][i])
        shares = (statistics["within"][str(limit)][i] for limit in WITHIN)
        style = "red" if sigma > BAR_MAG and name not in SPECTRAL_PROPERTIES else None
        cells = [
            f"{numbers[0]:+.4f}",
            *(f"{x:.4f}" for x in numbers[1:]),
            *(f"{100 * x:.1f}%" for x in shares),
        ]
        table.add_row(name, *cells, style=style)
    return table


def verdict(statistics: Mapping[str, Any], n_worst: int = 5) -> str:
    """One paragraph: how many bands stay below the bar, which are the worst."""
    bands = [
        (sigma, name)
        for sigma, name in zip(statistics["std"], statistics["names"], strict=True)
        if name not in SPECTRAL_PROPERTIES
    ]
    above = sum(sigma > BAR_MAG for sigma, _ in bands)
    worst = ", ".join(f"{name} {sigma:.4f}" for sigma, name in sorted(bands, reverse=True)[:n_worst])
    median = float(np.median([sigma for sigma, _ in bands]))
    result = "every band is below" if above == 0 else f"{above} of {len(bands)} bands are ABOVE"
    return f"{statistics['n']} galaxies: {result} {BAR_MAG} mag (sigma). Median band {median:.4f}; worst: {worst}"


def summary(header: Mapping[str, Any]) -> str:
    """The verdicts of the statistics that an emulator carries."""
    titles = {
        "prior": "Held-out draws from the prior",
        "training": "Held-out draws from the training distribution",
    }
    return "\n".join(f"{titles[kind]}. {verdict(header['accuracy'][kind])}" for kind in titles)
