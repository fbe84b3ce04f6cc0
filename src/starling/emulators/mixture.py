"""The emulator of a galaxy's components: small networks, and a sum that needs no learning.

``stars`` gives the flux of the stars of every bin of the star-formation history, with what dust absorbs of their light
and their bolometric luminosity; ``lines`` the luminosities of emission lines, whose flux in a filter is analytic;
``dust`` the spectrum of the dust's emission; ``torus`` that of the AGN torus. How much mass formed in which bin and how
bright the AGN is only weighs them (``starling.components``). All networks give logarithms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from starling.components import (
    LOG_FAGN,
    RATIOS,
    Components,
    components_from,
    mixture_of,
    spectral_properties,
    terms,
)
from starling.emulators.branch import Branch, merge
from starling.emulators.features import REDSHIFT, Features
from starling.emulators.networks import Architecture, Network, with_affine_outputs
from starling.emulators.targets import fluxes_of_lines
from starling.lines import REST_FRAME_BANDS, LineLight, LineTable, line_table
from starling.parameters import ParameterSpace
from starling.photometry import POGSON, arsinh_magnitude
from starling.sfh import N_BINS

# Parameters that only decide how components are mixed.
MIXED = (*RATIOS, LOG_FAGN)
_PER_BIN = 3  # absorbed, bolometric, mass_fraction
_N_REST = len(REST_FRAME_BANDS)
# Fluxes below this part of the softening are as good as none.
_FAINTEST = 1e-3
# Dust and torus come per Lsun, of which a Msun gives up to this many.
_BRIGHTEST = 1e3
# Outputs by role: so many for every channel, then so many others. Lines have none that belongs to a channel.
_PER_CHANNEL = {"stars": N_BINS, "dust": 1, "torus": 1}
_OTHERS = {"stars": N_BINS * _PER_BIN, "dust": 1, "torus": 0}


def _columns(role: str, n_channels: int, channels: np.ndarray) -> np.ndarray:
    """Outputs of a network that belong to some of its channels, with all the outputs that belong to none."""
    count = _PER_CHANNEL[role]
    of_channels = (np.arange(count)[:, None] * n_channels + channels).ravel()
    return np.concatenate([of_channels, count * n_channels + np.arange(_OTHERS[role])])


def pack(parts: Components, torus: bool) -> dict[str, Float[Array, "*batch output"]]:
    """Components to the outputs of the networks, in their order."""
    stars = parts.stars.reshape(*parts.stars.shape[:-2], -1)
    packed = {
        "stars": jnp.concatenate([stars, parts.absorbed, parts.bolometric, parts.mass_fraction], axis=-1),
        "lines": parts.lines,
        "dust": jnp.concatenate([parts.dust, parts.infrared_share[..., None]], axis=-1),
    }
    return packed | ({"torus": parts.torus} if torus else {})


def unpack(packed: Mapping[str, Float[Array, "*batch output"]]) -> Components:
    """The inverse of ``pack``; zeros for a torus that is not there."""
    stars, dust = packed["stars"], packed["dust"]
    n_channels = dust.shape[-1] - 1
    bins = stars[..., N_BINS * n_channels :].reshape(*stars.shape[:-1], _PER_BIN, N_BINS)
    return Components(
        stars=stars[..., : N_BINS * n_channels].reshape(*stars.shape[:-1], N_BINS, n_channels),
        lines=packed["lines"],
        absorbed=bins[..., 0, :],
        bolometric=bins[..., 1, :],
        mass_fraction=bins[..., 2, :],
        dust=dust[..., :-1],
        infrared_share=dust[..., -1],
        torus=packed.get("torus", jnp.zeros_like(dust[..., :-1])),
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MixtureCore:
    """``theta`` to the logarithms of components by role; ``rest`` has the rest-frame bands, ``bands`` the observed.

    ``bands`` and ``line_table`` have only the lines that can be seen in a band, ``rest`` all of them.
    """

    bands: dict[str, Branch]
    rest: dict[str, Branch]
    line_table: LineTable
    line_wave_aa: Float[Array, " line"]
    rest_lines: Float[Array, "line 3"]
    space: ParameterSpace = field(metadata={"static": True})

    def rest_flux(self, theta: Float[Array, " param"]) -> Float[Array, " band"]:
        """Flux at 10 pc per Msun formed, maggies."""
        return self._add_up({role: branch(theta) for role, branch in self.bands.items()}, theta)

    def linearise(
        self, theta: Float[Array, " param"]
    ) -> tuple[Float[Array, " band"], Float[Array, "param band"]]:
        """``rest_flux`` and its derivatives; no network is asked for those that it does not have."""
        both = {role: branch.linearise(theta) for role, branch in self.bands.items()}
        logs = {role: value for role, (value, _) in both.items()}

        def along(slopes: dict[str, Array], direction: Float[Array, " param"]) -> tuple[Array, Array]:
            return jax.jvp(self._add_up, (logs, theta), (slopes, direction))

        slopes = {role: slope for role, (_, slope) in both.items()}
        flux, derivatives = jax.vmap(along)(slopes, jnp.eye(theta.size, dtype=theta.dtype))
        return flux[0], derivatives

    def _add_up(self, logs: Mapping[str, Array], theta: Float[Array, " param"]) -> Float[Array, " band"]:
        parts = unpack({role: jnp.exp(values) for role, values in logs.items()})
        lines = self.line_table.flux(parts.lines, theta[self.space.index(REDSHIFT)])
        return jnp.sum(terms(parts, mixture_of(self.space, theta), lines), axis=0)

    def spectral_properties(self, theta: Float[Array, " param"]) -> Float[Array, " property=4"]:
        parts, mixture = _evaluate(self.rest, theta), mixture_of(self.space, theta)
        flux = terms(parts, mixture, parts.lines @ self.rest_lines)
        return spectral_properties(parts, mixture, jnp.sum(flux, axis=0))

    @property
    def n_bands(self) -> int:
        return self.bands["dust"].n_outputs - 1

    def select(self, columns: Sequence[int]) -> Self:
        """The core for these of its bands."""
        taken = _take(self.bands, self.n_bands, np.asarray(columns, int))
        table, seen = self.line_table.select(columns)
        taken["lines"] = taken["lines"].take(seen)
        return replace(self, bands=taken, line_table=table)

    def branches(self) -> dict[str, Branch]:
        """The whole networks, as ``mixture_core`` takes them."""
        n_channels = self.n_bands + _N_REST
        channels = np.arange(n_channels)
        whole = dict(self.bands) | {"lines": self.rest["lines"]}
        for role in _PER_CHANNEL.keys() & whole.keys():
            parts = (channels[:-_N_REST], self.bands[role]), (channels[-_N_REST:], self.rest[role])
            n_outputs = _PER_CHANNEL[role] * n_channels + _OTHERS[role]
            whole[role] = merge(n_outputs, *((_columns(role, n_channels, c), branch) for c, branch in parts))
        return whole


def mixture_core(branches: Mapping[str, Branch], light: LineLight, space: ParameterSpace) -> MixtureCore:
    """From networks with an output for every band and rest-frame band."""
    n_channels = branches["dust"].n_outputs - 1
    channels = np.arange(n_channels)
    bands, rest = (_take(branches, n_channels, c) for c in (channels[:-_N_REST], channels[-_N_REST:]))
    zred = space.parameters[space.index(REDSHIFT)]
    table = line_table(light, (zred.low, zred.high))
    core = MixtureCore(bands, rest, table, light.wave_aa, light.rest, space)
    return core.select(range(core.n_bands))


def _take(branches: Mapping[str, Branch], n_channels: int, channels: np.ndarray) -> dict[str, Branch]:
    """The branches with the outputs of these channels only."""
    return {
        role: branch.take(_columns(role, n_channels, channels)) if role in _PER_CHANNEL else branch
        for role, branch in branches.items()
    }


def _evaluate(branches: Mapping[str, Branch], theta: Float[Array, " param"]) -> Components:
    return unpack({role: jnp.exp(branch(theta)) for role, branch in branches.items()})


class MixtureRows(NamedTuple):
    """Training data: standardised inputs and logarithms of the outputs by role.

    ``theta`` has what the components are mixed with; ``line_flux`` is the exact flux of all lines, per Msun formed in
    the youngest bin.
    """

    inputs: dict[str, Float[Array, "row input"]]
    targets: dict[str, Float[Array, "row output"]]
    theta: Float[Array, "row param"]
    line_flux: Float[Array, "row channel"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MixtureTask:
    """RMSE of the magnitudes of whole galaxies, plus that of their terms weighed by their share of the light.

    The network of the lines has a loss of its own, the RMSE of their luminosities in magnitudes (less for lines that
    dust has all but put out), and galaxies get their exact lines: so fluxes need not be computed line by line. In every
    step each galaxy is given the star-formation history and the AGN luminosity of another one, since its components do
    not depend on them: so no two steps see the same galaxy. The second part of the loss keeps the networks from
    explaining each other's light.
    """

    mean: dict[str, Float[Array, " output"]]
    std: dict[str, Float[Array, " output"]]
    shapes: tuple[tuple[str, Architecture], ...] = field(metadata={"static": True})
    space: ParameterSpace = field(metadata={"static": True})
    softening: float = field(metadata={"static": True})
    term_weight: float = field(default=1.0, metadata={"static": True})

    def start(self, seed: int) -> dict[str, Network]:
        return {role: Network(shape, rngs=nnx.Rngs(seed + i)) for i, (role, shape) in enumerate(self.shapes)}

    def loss(
        self,
        networks: dict[str, Network],
        data: MixtureRows,
        rows: Int[Array, " row"],
        partners: Int[Array, " row"],
    ) -> Float[Array, ""]:
        return self.batch_loss(networks, self.batch(data, rows, partners))

    def batch(self, data: MixtureRows, rows: Int[Array, " row"], partners: Int[Array, " row"]) -> MixtureRows:
        """Some rows, with the mixtures of their partners; linear in the data."""
        chosen: MixtureRows = jax.tree.map(lambda array: array[rows], data)
        return chosen._replace(theta=self._exchange(chosen.theta, data.theta[partners]))

    def batch_loss(self, networks: dict[str, Network], batch: MixtureRows) -> Float[Array, ""]:
        errors, of_terms, of_lines = self._errors(networks, batch)
        total = jnp.sqrt(jnp.mean(errors**2)) + self.term_weight * jnp.sqrt(jnp.mean(of_terms))
        return total + jnp.sqrt(jnp.mean(of_lines**2))

    def error(self, networks: dict[str, Network], rows: MixtureRows) -> Float[Array, "row output"]:
        """Emulated minus exact magnitudes and properties of the galaxies as they are, then magnitudes of the lines."""
        errors, _, of_lines = self._errors(networks, rows)
        return jnp.concatenate([errors, of_lines], axis=1)

    def finish(self, networks: dict[str, Network]) -> dict[str, Network]:
        """The networks with natural logarithms as outputs."""
        return {r: with_affine_outputs(n, self.std[r], self.mean[r]) for r, n in networks.items()}

    def _exchange(self, theta: Float[Array, "row param"], other: Float[Array, "row param"]) -> Array:
        """Galaxies with the mixtures of others."""
        foreign = jnp.asarray([name in MIXED for name in self.space.names])
        return jnp.where(foreign, other, theta)

    def _errors(
        self, networks: dict[str, Network], rows: MixtureRows
    ) -> tuple[Float[Array, "row output"], Float[Array, "row channel"], Float[Array, "row line"]]:
        """Errors of magnitudes and properties, squared errors of terms weighed by their share, errors of lines."""
        logs = {r: n(rows.inputs[r]) * self.std[r] + self.mean[r] for r, n in networks.items()}
        mixture = jax.vmap(lambda theta: mixture_of(self.space, theta))(rows.theta)
        flux, quantities = [], []
        for packed in (logs, rows.targets):
            parts = unpack({role: jnp.exp(value) for role, value in packed.items()})
            flux.append(jax.vmap(terms)(parts, mixture, rows.line_flux))
            total = jnp.sum(flux[-1], axis=1)
            magnitudes = arsinh_magnitude(total[:, :-_N_REST], self.softening)
            properties = jax.vmap(spectral_properties)(parts, mixture, total[:, -_N_REST:])
            quantities.append(jnp.concatenate([magnitudes, properties], axis=1))
        emulated, exact = flux
        total = jnp.sum(exact, axis=1, keepdims=True)
        share = exact / jnp.sqrt(total**2 + 4.0 * self.softening**2)
        floor = _FAINTEST * self.softening
        ratio = jnp.log((emulated + floor) / (exact + floor))
        luminosity = jnp.exp(rows.targets["lines"])
        seen = luminosity / (luminosity + _FAINTEST * jnp.exp(self.mean["lines"]))
        of_lines = POGSON * seen * (logs["lines"] - rows.targets["lines"])
        return quantities[0] - quantities[1], jnp.sum((POGSON * share * ratio) ** 2, axis=1), of_lines


def mixture_rows(
    features: Mapping[str, Features],
    light: LineLight,
    space: ParameterSpace,
    softening: float,
    theta: Float[Array, "row param"],
    outputs: Mapping[str, Float[Array, "row ..."]],
) -> MixtureRows:
    """Inputs and targets from a simulator's outputs; pure, differentiable."""
    parts = components_from(outputs)
    inputs = {role: jax.lax.map(f, theta, batch_size=8192) for role, f in features.items()}
    packed = pack(parts, torus="torus" in features)
    # what is below this is no light; added, so that logarithms stay smooth
    floor = {role: _FAINTEST * softening / (1.0 if role == "stars" else _BRIGHTEST) for role in features}
    targets = {role: jnp.log(packed[role] + floor[role]) for role in features}
    return MixtureRows(
        inputs, targets, theta, fluxes_of_lines(light, theta[:, space.index(REDSHIFT)], parts.lines)
    )


def mixture_task(
    shapes: Mapping[str, Architecture],
    train: MixtureRows,
    space: ParameterSpace,
    softening: float,
    term_weight: float = 1.0,
) -> MixtureTask:
    """The task for networks of these shapes, by role."""
    mean = {role: jnp.mean(values, axis=0) for role, values in train.targets.items()}
    std = {role: jnp.std(values, axis=0) for role, values in train.targets.items()}
    std = {role: jnp.where(values > 1e-6, values, 1.0) for role, values in std.items()}
    return MixtureTask(mean, std, tuple(shapes.items()), space, softening, term_weight)
