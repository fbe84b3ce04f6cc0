"""Memory that a batch of galaxies takes, engine by engine: what XLA says of the compiled programs.

    python benchmarks/memory.py [--chains 8 64] [--latent 4 16] [--bands 25 45] [--nuts]

The default emulator and the flow of the package. Every engine is led through a batch with its programs compiled and
not run: zeros stand for what they would return, and truth for what would be true or false. A program takes its
arguments, its results and what it needs between; a batch takes as much as its largest program. The programs are those
of this machine's first device; on another kind of device what is needed between differs.
"""

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from starling.amortised import (
    AmortisedSettings,
    Archive,
    LatentChains,
    Stage,
    amortised_posterior,
    batches,
    engine,
    latent_rounds,
    load_proposal,
    shipped_proposal,
)
from starling.emulators import PhotometryEmulator, load_default
from starling.inference import Observation, SamplerSettings, compiled, fit, observe

# what machine code is made of a program does not change its arrays
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Program(NamedTuple):
    """Bytes of a compiled program."""

    name: str
    arguments: int
    results: int
    between: int

    @property
    def total(self) -> int:
        return self.arguments + self.results + self.between


@contextmanager
def dry(*modules: ModuleType) -> Iterator[dict[str, Program]]:
    """What the compiled functions of modules take when they are called meanwhile; they return zeros."""
    found: dict[str, Program] = {}
    before = [(module, name, value) for module in modules for name, value in vars(module).items()]
    functions = [one for one in before if isinstance(one[2], jax.stages.Wrapped)]

    def stand_in(name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            lowered = function.lower(*arguments, **options)
            about = lowered.compile(compiler_options=QUICKLY).memory_analysis()
            sizes = about.argument_size_in_bytes, about.output_size_in_bytes, about.temp_size_in_bytes
            if name not in found or found[name].total < sum(sizes):
                found[name] = Program(name, *sizes)
            return jax.tree.map(_zeros, lowered.out_info)

        return call

    for module, name, value in functions:
        setattr(module, name, stand_in(name, value))
    try:
        yield found
    finally:
        for module, name, value in functions:
            setattr(module, name, value)


def _zeros(leaf: Any) -> jax.Array:
    # all draws of a flow have been made
    return jnp.full(leaf.shape, leaf.dtype == bool, leaf.dtype)


def galaxies(model: PhotometryEmulator, n: int) -> Observation:
    """So many times the same galaxy."""
    theta = model.space.constrain(jnp.zeros(len(model.space)), {})
    flux = np.tile(np.asarray(model(theta), float), (n, 1))
    zred = np.full(n, float(theta[model.space.index("zred")]))
    return observe(flux, 0.05 * flux, fixed={"zred": zred})


def say(engine_name: str, n: int, n_bands: int, programs: dict[str, Program]) -> None:
    largest = max(programs.values(), key=lambda program: program.total)
    print(
        f"{engine_name:<24}{n:>10}{n_bands:>7}{largest.total / 1e6:>11.1f}{largest.arguments / 1e6:>11.1f}"
        f"{largest.results / 1e6:>9.1f}{largest.between / 1e6:>9.1f}  {largest.name}",
        flush=True,
    )


def chains(model: PhotometryEmulator, n: int, kernel: Any) -> dict[str, Program]:
    settings = SamplerSettings(kernel=kernel, batch_size=n)
    settings = replace(settings, n_warmup=settings.chunk, n_draws=settings.chunk)
    with dry(compiled) as found:
        fit(jax.random.key(0), galaxies(model, n), model, settings=settings)
    return found


def by_flow(
    model: PhotometryEmulator, archive: Archive, n: int, stage: Stage, latent: LatentChains | None
) -> dict[str, Program]:
    """``latent``: its chains, apart from the stage that they begin with."""
    settings = AmortisedSettings(
        stages=(stage,), chains=latent, ess=1e99, batch_size=n, n_draws=latent.chunk if latent else 500
    )
    proposal, trained = archive.proposal, archive.trained
    with dry(engine, batches, latent_rounds) as found, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zeros
        amortised_posterior(jax.random.key(0), galaxies(model, n), model, proposal, trained, settings)
    drawn = {"_draw": found.pop("_draw")}
    return found if latent else drawn


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chains", type=int, nargs="*", default=[8, 64], help="batch sizes of plain chains")
    parser.add_argument("--latent", type=int, nargs="*", default=[4, 16], help="batch sizes of latent chains")
    parser.add_argument("--bands", type=int, nargs="+", default=[25, 45])
    parser.add_argument("--nuts", action="store_true", help="plain chains of NUTS, too")
    options = parser.parse_args()
    archive = load_proposal(shipped_proposal("prospector_alpha"))
    whole = load_default()
    known = [band for band in archive.proposal.bands if band in whole.bands]
    print(
        f"{'engine':<24}{'galaxies':>10}{'bands':>7}{'MB':>11}{'arguments':>11}{'results':>9}{'between':>9}  program"
    )
    for n_bands in options.bands:
        model = whole.select(known[:n_bands])
        for kernel in ("hmc", "nuts") if options.nuts else ("hmc",):
            for n in options.chains:
                say(f"chains ({kernel})", n, n_bands, chains(model, n, kernel))
        for stage in AmortisedSettings().stages:
            words = f"weights, {stage.rounds} x {stage.draws}"
            say(words, 1, n_bands, by_flow(model, archive, 1, stage, None))
        for n in options.latent:
            say("latent chains", n, n_bands, by_flow(model, archive, n, Stage(1, 50), LatentChains()))


if __name__ == "__main__":
    main()
