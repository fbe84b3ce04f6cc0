"""Emulators with random weights: small, cheap, and as bright as galaxies are."""

from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from starling.components import SPECTRAL_PROPERTIES
from starling.emulators.branch import Branch
from starling.emulators.direct import ROLE, direct_core
from starling.emulators.features import FeatureRecipe, Features, raw_features
from starling.emulators.mixture import mixture_core
from starling.emulators.networks import Architecture, Network, with_affine_outputs
from starling.emulators.photometry import PhotometryEmulator
from starling.emulators.stitched import Domain, stitched_core
from starling.lines import LineLight, line_light
from starling.parameters import ParameterSpace
from starling.photometry import load_bands
from starling.sfh import N_BINS
from starling.spaces import prospector_alpha

Kind = Literal["direct", "mixture"]
LINES_AA = np.array([1215.67, 5006.84, 6562.8], np.float32).astype(float)  # as files keep them
SIX_DOMAINS = ((0.001, 2.25), (1.75, 4.25), (3.75, 6.25), (5.75, 8.25), (7.75, 10.25), (9.75, 12.0))
_SOFTENING = 1e-9
_RECIPE = FeatureRecipe(
    transforms=(("dust2", "log_shifted"), ("zred", "log1p")),
    products=(("dust2", "dust_index"),),
    knots=(("logzsol", -0.5),),
    log_bin_masses=True,
    redshift_harmonics=3,
)


def _branch(
    space: ParameterSpace, seed: int, n_outputs: int, shift: float, width: int, scale: float = 0.3
) -> Branch:
    theta = jax.ShapeDtypeStruct((len(space),), jnp.float32)
    n_inputs = jax.eval_shape(lambda t: raw_features(_RECIPE, space, t), theta).shape[0]
    features = Features(
        jnp.full(n_inputs, 0.1, jnp.float32), jnp.full(n_inputs, 3.0, jnp.float32), _RECIPE, space
    )
    shape = Architecture(n_inputs, n_outputs, width, depth=2, residual=True)
    network = Network(shape, rngs=nnx.Rngs(seed))
    return Branch(
        features, with_affine_outputs(network, jnp.full(n_outputs, scale), jnp.full(n_outputs, shift))
    )


def toy_branches(
    kind: Kind, space: ParameterSpace, n_bands: int, seed: int, width: int = 8
) -> dict[str, Branch]:
    """Networks for a core: about 6 mag per Msun at 10 pc."""
    if kind == "direct":
        return {ROLE: _branch(space, seed, n_bands + len(SPECTRAL_PROPERTIES), 6.0, width)}
    n_channels = n_bands + 3
    return {
        "stars": _branch(space, seed, N_BINS * (n_channels + 3), -5.5, width),
        "lines": _branch(space, seed + 1, LINES_AA.size, -3.0, width),
        "dust": _branch(space, seed + 2, n_channels + 1, -5.0, width),
        "torus": _branch(space, seed + 3, n_channels, -5.0, width),
    }


def _light(kind: Kind, bands: Sequence[str], high: float) -> LineLight | None:
    return line_light(LINES_AA, load_bands(bands), high) if kind == "mixture" else None


def _emulator(core, space: ParameterSpace, bands: Sequence[str]) -> PhotometryEmulator:
    wave = [band.wave_effective_aa for band in load_bands(bands)]
    return PhotometryEmulator(
        core,
        jnp.full(len(bands), 0.02),
        jnp.asarray(wave, jnp.float32),
        space,
        tuple(bands),
        _SOFTENING,
        _SOFTENING,
    )


def toy_emulator(
    kind: Kind, bands: Sequence[str], zred: Domain = (0.5, 3.0), seed: int = 0
) -> PhotometryEmulator:
    """An emulator of one redshift range."""
    space = prospector_alpha(zred=zred)
    branches: Mapping[str, Branch] = toy_branches(kind, space, len(bands), seed)
    light = _light(kind, bands, zred[1])
    core = direct_core(branches, _SOFTENING) if light is None else mixture_core(branches, light, space)
    return _emulator(core, space, bands)


def toy_stitched(
    kind: Kind, bands: Sequence[str], domains: Sequence[Domain] = SIX_DOMAINS, width: int = 8
) -> PhotometryEmulator:
    """Emulators of several redshift ranges, each with weights of its own, stitched."""
    space = prospector_alpha(zred=(domains[0][0], domains[-1][1]))
    members = [
        toy_branches(kind, prospector_alpha(zred=domain), len(bands), 10 * number, width)
        for number, domain in enumerate(domains)
    ]
    core = stitched_core(members, domains, space, _SOFTENING, _light(kind, bands, domains[-1][1]))
    return _emulator(core, space, bands)
