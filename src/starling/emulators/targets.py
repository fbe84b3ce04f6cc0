"""What the emulators are measured by: magnitudes and properties of whole galaxies, from any simulated set."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.components import Components, components_from, mixture_of, spectral_properties, terms
from starling.lines import REST_FRAME_BANDS, LineLight
from starling.parameters import ParameterSpace
from starling.photometry import arsinh_magnitude
from starling.simulation import SimulatedSet

_BATCH = 4096
_N_REST = len(REST_FRAME_BANDS)


class Totals(NamedTuple):
    """Parameters, arsinh magnitudes of the flux at 10 pc per Msun formed, ``SPECTRAL_PROPERTIES``."""

    theta: Float[Array, "row param"]
    magnitudes: Float[Array, "row band"]
    properties: Float[Array, "row property=4"]
    softening: float


def has_components(outputs: Mapping[str, Any]) -> bool:
    """Whether a simulator's arrays are components, and not only fluxes of whole galaxies."""
    return set(Components._fields) <= set(outputs)


@jax.jit
def fluxes_of_lines(
    light: LineLight, zred: Float[Array, " row"], lines: Float[Array, "row line"]
) -> Float[Array, "row channel"]:
    """Flux of all emission lines of many galaxies."""
    flux: Float[Array, "row channel"] = jax.lax.map(
        lambda row: row[1] @ light(row[0]), (zred, lines), batch_size=256
    )
    return flux


def magnitudes_and_properties(
    space: ParameterSpace,
    softening: float,
    light: LineLight | None,
    theta: Float[Array, "row param"],
    outputs: Mapping[str, Float[Array, "row ..."]],
) -> tuple[Float[Array, "row band"], Float[Array, "row property=4"]]:
    """arsinh magnitudes and ``SPECTRAL_PROPERTIES`` of galaxies from a simulator's outputs; pure, differentiable."""
    if not has_components(outputs):
        return arsinh_magnitude(outputs["rest_flux"], softening), outputs["properties"]

    def one(parts: Components, theta: Array, line_flux: Array) -> tuple[Array, Array]:
        mixture = mixture_of(space, theta)
        flux = jnp.sum(terms(parts, mixture, line_flux), axis=0)
        return arsinh_magnitude(flux[:-_N_REST], softening), spectral_properties(
            parts, mixture, flux[-_N_REST:]
        )

    if light is None:
        raise ValueError("a set with components needs the light of emission lines in the bands: `light`")
    parts = components_from(outputs)
    line_flux = fluxes_of_lines(light, theta[:, space.index("zred")], parts.lines)
    magnitudes, properties = jax.vmap(one)(parts, theta, line_flux)
    return magnitudes, properties


_in_magnitudes = jax.jit(magnitudes_and_properties, static_argnames=("space", "softening"))


def totals(
    space: ParameterSpace, softening: float, light: LineLight | None, simulated: SimulatedSet
) -> Totals:
    """Magnitudes and properties of the galaxies of a set; ``light`` is needed where it holds components."""
    names = Components._fields if has_components(simulated.outputs) else ("rest_flux", "properties")
    pieces = [
        _in_magnitudes(
            space,
            softening,
            light,
            jnp.asarray(simulated.theta[rows]),
            {name: jnp.asarray(simulated.outputs[name][rows]) for name in names},
        )
        for rows in np.array_split(np.arange(len(simulated.theta)), -(-len(simulated.theta) // _BATCH))
    ]
    magnitudes, properties = (jnp.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    return Totals(jnp.asarray(simulated.theta), magnitudes, properties, softening)
