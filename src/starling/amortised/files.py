"""Trained flows on disk (``starling.emulators.archive``): weights, and a header that says what they are for."""

import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from starling.amortised.features import Ends
from starling.amortised.flow import Flow, FlowShape
from starling.amortised.mocks import NoiseRange
from starling.amortised.proposal import Proposal, Standard, feature_count
from starling.amortised.trained import Trained
from starling.emulators.archive import read_archive, write_archive
from starling.inference.coordinates import Coordinates
from starling.parameters import ParameterSpace

FORMAT = "starling-amortised-posterior"
FORMAT_VERSION = 2
_FLOW = "flow."


class Archive(NamedTuple):
    """What a file holds."""

    proposal: Proposal
    trained: Trained
    header: dict[str, Any]


def save_proposal(path: Path, proposal: Proposal, trained: Trained, header: dict[str, Any]) -> None:
    """Write ``path`` (.safetensors) and the header beside it (.json); ``header`` is what the rest does not say."""
    standard = proposal.standard
    content = {
        **header,
        "space": proposal.coordinates.space.to_dict(),
        "fixed": list(proposal.coordinates.fixed),
        "bands": list(proposal.bands),
        "noise": vars(proposal.noise),
        "flow": proposal.flow.shape.to_dict(),
        "ends": {"low": list(standard.ends.low), "high": list(standard.ends.high)},
        "trained": trained.to_dict(),
    }
    arrays = {_FLOW + name: array for name, array in weights_of(proposal.flow).items()}
    arrays |= {"feature_shift": standard.shift, "feature_scale": standard.scale}
    write_archive(path, FORMAT, FORMAT_VERSION, content, arrays)


def load_proposal(path: Path | str) -> Archive:
    """Read a file; ValueError says what is wrong with it and what to do."""
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}; `starling amortise CONFIG` makes one")
    header, arrays = read_archive(Path(path), FORMAT, FORMAT_VERSION)
    try:
        return _build(header, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: header and weights do not fit ({error}); train it again") from error


def shipped_proposals(emulator: str) -> dict[tuple[str, ...], Path]:
    """The files of the package for the emulator of this name, by the parameters that have to be known (in order)."""
    folder = Path(str(resources.files("starling") / "data" / "amortised"))
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        header = json.loads(path.with_suffix(".json").read_text())
        if header["emulator"]["name"] == emulator:
            found[tuple(sorted(header["fixed"]))] = path
    return found


def shipped_proposal(emulator: str, fixed: Iterable[str] = ("zred",)) -> Path | None:
    """The file of the package for galaxies with these parameters known; None where it has none."""
    return shipped_proposals(emulator).get(tuple(sorted(fixed)))


def weights_of(flow: Flow) -> dict[str, Any]:
    """Weights by name, e.g. ``conditioners.0.first``."""
    return {".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(flow))}


def flow_from_weights(shape: FlowShape, weights: dict[str, np.ndarray]) -> Flow:
    """A flow with these weights; ValueError names those that are missing, left over or of another shape."""
    graph, state = nnx.split(nnx.eval_shape(lambda: Flow(shape, rngs=nnx.Rngs(0))))
    leaves = {".".join(map(str, path)): (path, leaf) for path, leaf in nnx.to_flat_state(state)}
    names = sorted(
        name
        for name in {*leaves, *weights}
        if name not in leaves or name not in weights or leaves[name][1].shape != weights[name].shape
    )
    if names:
        raise ValueError(f"the weights do not fit the flow: {', '.join(names)}")
    pairs = [(path, leaf.replace(jnp.asarray(weights[name]))) for name, (path, leaf) in leaves.items()]
    flow: Flow = nnx.merge(graph, nnx.from_flat_state(pairs))
    return flow


def _build(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Archive:
    coordinates = Coordinates(ParameterSpace.from_dict(header["space"]), tuple(header["fixed"]))
    bands, shape = tuple(header["bands"]), FlowShape.from_dict(header["flow"])
    n_features, n_free = feature_count(bands, coordinates), len(coordinates.free)
    shift, scale = arrays.pop("feature_shift"), arrays.pop("feature_scale")
    found = (shape.n_features, shape.n_free, *shift.shape, *scale.shape)
    if found != (n_features, n_free, n_features, n_features):
        raise ValueError(f"{n_features} features and {n_free} free parameters, but a flow for {found}")
    if any(sorted(order) != list(range(n_free)) for order in shape.orders):
        raise ValueError("an order of the flow is no permutation of its coordinates")
    ends = Ends(*(tuple(map(float, header["ends"][name])) for name in ("low", "high")))
    flow = flow_from_weights(shape, {name.removeprefix(_FLOW): array for name, array in arrays.items()})
    standard = Standard(jnp.asarray(shift), jnp.asarray(scale), ends)
    noise = NoiseRange.from_dict(header["noise"])
    return Archive(
        Proposal(flow, standard, coordinates, bands, noise), Trained.from_dict(header["trained"]), header
    )
