"""What the header of an emulator says of where it is from: its training set, when and with what it was made."""

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starling.simulation import Plan, SimulatedSet
from starling.simulation.store import content_hash, identity_hash, library_versions


def draws_of(plans: Mapping[str, Plan]) -> dict[str, dict[str, Any]]:
    """What decides the points of sets, JSON-able, by name."""
    return {name: plan.to_dict() | {"n": plan.n} for name, plan in plans.items()}


def describe_training_set(
    draws: Mapping[str, Mapping[str, Any]],
    sets: Mapping[str, SimulatedSet],
    description: Mapping[str, Any],
) -> dict[str, Any]:
    """Rows of the training sets, the hash of their numbers, and that of what decides these (draws and simulator)."""
    train = {name: simulated for name, simulated in sets.items() if name.startswith("train")}
    draws = {name: dict(drawn) for name, drawn in draws.items() if name in train}
    return {
        "rows": {name: len(simulated.theta) for name, simulated in train.items()},
        "sha256": content_hash(train),
        "identity_sha256": identity_hash({"draws": draws, "simulator": dict(description)}),
    }


def provenance() -> dict[str, Any]:
    """When and with what: time, versions, and the commit where the code is a git checkout (else None)."""
    libraries = ("starling-sed", "jax", "flax", "optax", "numpy", "astro-sedpy")
    try:
        where = Path(__file__).parent
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = None
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(libraries),
        "git_commit": commit,
    }
