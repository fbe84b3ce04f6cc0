"""What nested sampling found of one galaxy, and its file: safetensors with a JSON header, whole or not there."""

import json
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

FORMAT = "starling-nested-1"
_ARRAYS = ("theta", "remoteness", "log_weight", "log_likelihood", "strand")
_EXTRA = "extra."


class Record(NamedTuple):
    """Weighted posterior samples of one galaxy, in dynesty's order (rising likelihood), and its evidence."""

    names: tuple[str, ...]  # all parameters of the space, the last axis of ``theta``
    free: tuple[str, ...]  # those that were sampled
    theta: Float[np.ndarray, "sample param"]
    remoteness: Float[
        np.ndarray, " sample"
    ]  # above 1 outside what the forward model was made for; NaN: unknown
    extra: dict[str, np.ndarray]  # latent sites of the model beyond the space's
    log_weight: Float[np.ndarray, " sample"]  # ln of the posterior weight; the weights add up to 1
    log_likelihood: Float[np.ndarray, " sample"]
    strand: Int[np.ndarray, " sample"]  # which live point it was: points of one strand replaced each other
    log_evidence: float
    log_evidence_err: float
    information: float  # Kullback-Leibler divergence of the posterior from the prior, nats
    n_calls: int
    n_iterations: int
    finished: bool  # False where ``max_calls`` ended the run
    cpu_s: float
    wall_s: float

    @property
    def weight(self) -> Float[np.ndarray, " sample"]:
        """Posterior weights, normalised."""
        weight = np.exp(self.log_weight.astype(float) - float(self.log_weight.max()))
        return weight / weight.sum()

    @property
    def n_effective(self) -> float:
        """Effective number of samples by the weights (Kish 1965)."""
        return float(1.0 / np.sum(self.weight**2))


def save_record(record: Record, path: Path, about: dict[str, Any]) -> Path:
    """Write a record under another name and rename it; ``about`` (JSON-able) says whose it is."""
    fields = record._asdict()
    arrays = {name: np.ascontiguousarray(fields.pop(name)) for name in _ARRAYS}
    arrays |= {_EXTRA + name: np.ascontiguousarray(value) for name, value in fields.pop("extra").items()}
    header = {"format": FORMAT, "about": json.dumps(about), "record": json.dumps(fields)}
    # two processes, on two machines perhaps, may make the same part of a run
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    save_file(arrays, partial, metadata=header)
    partial.replace(path)
    return path


def load_record(path: Path, about: dict[str, Any] | None = None) -> Record | None:
    """A record; None where there is none, where the file is broken, or where it is not ``about`` this."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        if header.get("format") != FORMAT:
            return None
        if about is not None and json.loads(header["about"]) != json.loads(json.dumps(about)):
            return None
        fields = json.loads(header["record"])
        extra = {n.removeprefix(_EXTRA): arrays.pop(n) for n in [*arrays] if n.startswith(_EXTRA)}
        fields |= {name: tuple(fields[name]) for name in ("names", "free")}
        return Record(**fields, **arrays, extra=extra)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None
