"""From a configuration and an emulator to the file of an amortised posterior: train, measure, write."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from starling.amortised.config import AmortiseConfig
from starling.amortised.files import Archive, load_proposal, save_proposal
from starling.amortised.mocks import many_mocks
from starling.amortised.trained import range_of
from starling.amortised.training import FlowReport, train_proposal
from starling.emulators.provenance import provenance
from starling.forward import ForwardModel
from starling.photometry import load_bands

_N_RANGE = 16384  # galaxies that the range of the training is taken from


def amortise(
    config: AmortiseConfig,
    model: ForwardModel,
    emulator: Mapping[str, Any],
    *,
    workdir: Path,
    out: Path,
    resume: bool = True,
    report: Callable[[FlowReport], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Archive:
    """Train on galaxies of ``model``, write ``out``; returns what was written, read back.

    ``emulator`` says which one it is; ``sha256`` of its file decides, with the configuration, whether a checkpoint in
    ``workdir`` is of the same run.
    """
    model = model.select(config.bands)
    unknown = [name for name in config.fixed if name not in model.space]
    if unknown:
        raise ValueError(f"fixed: the model has no parameter {', '.join(unknown)}")
    proposal, loss = train_proposal(
        config,
        model,
        workdir=workdir,
        run_hash=config.run_hash(str(emulator["sha256"])),
        resume=resume,
        report=report,
        should_stop=should_stop,
    )
    mocks = many_mocks(jax.random.key(config.seed + 4), _N_RANGE, model, proposal.coordinates, proposal.noise)
    header = {
        "name": config.name,
        "licence": config.licence,
        "emulator": dict(emulator),
        "curve_sha256": [band.sha256 for band in load_bands(config.bands)],
        "accuracy": {"validation_loss": loss, "n_validation": config.training.n_validation},
        "galaxies_seen": config.training.steps * config.training.batch_size // config.training.reuse,
        "config": config.model_dump(mode="json"),
        "config_sha256": config.sha256(),
        **provenance(),
    }
    save_proposal(out, proposal, range_of(mocks.seen), header)
    return load_proposal(out)
