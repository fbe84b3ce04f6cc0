"""From a configuration and a simulator to a spectrum emulator: components, coefficients, networks, errors, a file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from starling.components import Components
from starling.emulators.branch import Branch
from starling.emulators.direct import DirectRows, direct_task
from starling.emulators.features import fit_features
from starling.emulators.pipeline import SILENT, Hooks, plans_of
from starling.emulators.provenance import describe_training_set, provenance
from starling.emulators.spectra.basis import Basis, Encoder, Moments, make_ranges
from starling.emulators.spectra.config import SpectrumConfig
from starling.emulators.spectra.files import load_spectrum_emulator, save_spectrum_emulator
from starling.emulators.spectra.grid import SpectralGrid
from starling.emulators.spectra.model import FAINTEST, WHOLE, SpectrumEmulator, others, pack, whole
from starling.emulators.spectra.sources import Galaxies, Simulated, Stored
from starling.emulators.spectra.statistics import BATCH, spectrum_errors, spectrum_statistics
from starling.emulators.training import train_model
from starling.simulation import DrawPlan, SimulatedSet, Simulator
from starling.simulation.store import identity_hash
from starling.spaces import training_space

# The floor under logarithms is this part of the faintest light that counts. Dust takes light away exponentially: the
# logarithm of a term is close to linear in its parameters until a floor bends it, so that of a term does no more than
# keep zeros finite in float32. In whole spectra what is so faint is another term's, not worth a component.
_MARGINS = {WHOLE: 1e-3, "stars": 1e-25, "dust": 1e-20, "torus": 1e-20}
_BRIGHTEST = 1e3  # dust and torus come per Lsun, of which a Msun gives up to this many


class _Bases(NamedTuple):
    """Bases and their inverses, by role."""

    bases: dict[str, tuple[Basis, ...]]
    encoders: dict[str, tuple[Encoder, ...]]


def train_spectrum_emulator(
    config: SpectrumConfig,
    source: Simulator | Stored,
    grid: SpectralGrid,
    description: Mapping[str, Any],
    *,
    workdir: Path,
    out: Path,
    workers: int = 1,
    resume: bool = True,
    hooks: Hooks = SILENT,
) -> SpectrumEmulator:
    """Train, measure on held-out draws from the prior and from the training space, write ``out``, read it back.

    The source, a simulator or sets that are there, gives the fields of ``starling.components.Components`` with
    rest-frame pixels as channels.
    """
    galaxies: Galaxies = (
        source if isinstance(source, Stored) else Simulated(source, workdir / "sets", workers, hooks)
    )
    hooks.say("principal components")
    bases = _fit_bases(config, galaxies, grid)
    for role, found in bases.bases.items():
        sizes = [[len(vectors) for vectors in basis.vectors] for basis in found]
        hooks.say(f"  {role}: {sizes} components")
    prior = config.space.build()
    plans = plans_of(prior, config.sets, config.seed)
    tests = {name: plans.pop(name) for name in ("test_prior", "test_training")}
    sets = _encode(config, galaxies, grid, description, bases, plans)
    branches = {
        role: _train_role(config, role, sets, workdir, description, resume, hooks)
        for role in config.network.networks()
    }
    emulator = SpectrumEmulator(
        branches=branches,
        bases=bases.bases,
        line_wave_aa=jnp.asarray(grid.line_wave_aa, jnp.float32),
        line_pixels=jnp.asarray(grid.line_pixels, jnp.float32),
        edges_aa=jnp.asarray(grid.edges_aa, jnp.float32),
        space=prior,
    )
    hooks.say("errors on held-out spectra")
    accuracy, quantiles = {}, {}
    for name, plan in tests.items():
        errors = spectrum_errors(emulator, galaxies.batches(name, plan, BATCH), grid.line_pixels)
        where = name.removeprefix("test_")
        accuracy[where], quantiles[where] = spectrum_statistics(errors, np.asarray(emulator.wave_aa))
    header = {
        "name": config.name,
        "accuracy": accuracy,
        "simulator": dict(description),
        "surrogate": bool(description.get("surrogate", False)),
        "licence": config.licence,
        "training_set": describe_training_set(galaxies.draws(plans), sets, description),
        "config": config.model_dump(mode="json"),
        "config_sha256": config.sha256(),
        **provenance(),
    }
    save_spectrum_emulator(out, emulator, header, quantiles)
    return load_spectrum_emulator(out)


def _totals(config: SpectrumConfig, grid: SpectralGrid) -> Callable[..., Array]:
    space = config.space.build()
    lines = jnp.asarray(grid.line_pixels, jnp.float32)
    return jax.jit(jax.vmap(lambda theta, parts: whole(space, theta, parts, lines)))


def _fit_bases(config: SpectrumConfig, galaxies: Galaxies, grid: SpectralGrid) -> _Bases:
    wave = np.sqrt(grid.edges_aa[1:] * grid.edges_aa[:-1])
    ranges = make_ranges(wave, config.spectra.seams_aa, config.spectra.overlap)
    space = training_space(config.space.build())
    plan = DrawPlan(space, config.components.n_basis, 1000 * config.seed + 10, config.sets.method, 1024)
    totals = _totals(config, grid)
    roles = config.network.networks()
    moments: dict[str, list[Moments]] = {}
    for theta, parts in galaxies.batches("train", plan):
        total = np.asarray(totals(theta, parts))
        spectra = {WHOLE: total[:, None]} if WHOLE in roles else jax.vmap(pack)(parts)
        finite = np.isfinite(total).all(axis=1)
        if not moments:
            faintest = FAINTEST * np.quantile(np.max(total[finite] * wave, axis=1), 1e-2) / wave
            for role in roles.keys() & spectra.keys():
                lower = _MARGINS[role] * (faintest if role in (WHOLE, "stars") else faintest / _BRIGHTEST)
                moments[role] = [Moments(ranges, lower) for _ in range(spectra[role].shape[1])]
        for role, sums in moments.items():
            for number, one in enumerate(sums):
                one.add(np.asarray(spectra[role][:, number])[finite])
    wanted = config.components
    found = {
        role: [one.components(wanted.most, wanted.rms) for one in sums] for role, sums in moments.items()
    }
    return _Bases(
        {role: tuple(basis for basis, _ in pairs) for role, pairs in found.items()},
        {role: tuple(encoder for _, encoder in pairs) for role, pairs in found.items()},
    )


def _encode(
    config: SpectrumConfig,
    galaxies: Galaxies,
    grid: SpectralGrid,
    description: Mapping[str, Any],
    bases: _Bases,
    plans: Mapping[str, DrawPlan],
) -> dict[str, SimulatedSet]:
    """The sets of plans, as the targets of the networks by role."""
    roles = tuple(config.network.networks())
    space = config.space.build()
    lines = jnp.asarray(grid.line_pixels, jnp.float32)

    @jax.jit
    def encode(
        encoders: Mapping[str, tuple[Encoder, ...]], theta: Array, parts: Components
    ) -> dict[str, Array]:
        def one(theta: Array, parts: Components) -> dict[str, Array]:
            spectra = {WHOLE: whole(space, theta, parts, lines)[None]} if WHOLE in roles else pack(parts)
            beside = {} if WHOLE in roles else others(parts)
            targets = {}
            for role in roles:
                coefficients = [
                    e(s) for e, s in zip(encoders.get(role, ()), spectra.get(role, ()), strict=True)
                ]
                targets[role] = jnp.concatenate([*coefficients, *([beside[role]] if role in beside else [])])
            return targets

        return jax.vmap(one)(theta, parts)

    encoding = config.model_dump(mode="json", include={"seed", "spectra", "components"})
    identity = dict(description) | {"encoding": encoding, "roles": roles}
    return galaxies.encoded(plans, lambda theta, parts: encode(bases.encoders, theta, parts), identity)


def _train_role(
    config: SpectrumConfig,
    role: str,
    sets: Mapping[str, SimulatedSet],
    workdir: Path,
    description: Mapping[str, Any],
    resume: bool,
    hooks: Hooks,
) -> Branch:
    """A network from parameters to the targets of a role."""
    part, space = config.network.networks()[role], config.space.build()
    train = [simulated for name, simulated in sets.items() if name.startswith("train")]
    theta = jnp.asarray(np.concatenate([s.theta for s in train]))
    features = fit_features(part.features.build(), space, theta)
    compute = jax.jit(lambda f, rows: jax.lax.map(f, rows, batch_size=8192))

    def rows(group: list[SimulatedSet]) -> DirectRows:
        theta = jnp.asarray(np.concatenate([s.theta for s in group]))
        return DirectRows(
            compute(features, theta), jnp.asarray(np.concatenate([s.outputs[role] for s in group]))
        )

    data, held_out = rows(train), rows([sets["validation"]])
    n_outputs = data.targets.shape[1]
    task = direct_task(part.shape(features, n_outputs), data)
    hooks.say(f"network of {role}: {data.inputs.shape[1]} inputs, {n_outputs} outputs")
    # what decides this network: those of other roles may be trained anew beside it
    decides = config.model_dump(mode="json", exclude={"name", "network"}) | {
        "network": part.model_dump(mode="json")
    }
    network = train_model(
        task,
        data,
        held_out,
        config.training,
        seed=config.seed,
        workdir=workdir / role,
        run_hash=identity_hash({"config": decides, "role": role, "simulator": dict(description)}),
        output_names=[f"output {number}" for number in range(n_outputs)],
        resume=resume,
        report=hooks.epoch,
        should_stop=hooks.should_stop,
    )
    return Branch(features, task.finish(network))
