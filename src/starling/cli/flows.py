"""Which flow proposes the posteriors of a fit."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from starling.amortised import Archive, load_proposal, shipped_proposals
from starling.amortised.checks import check_fits
from starling.cli.emulators import DEFAULT
from starling.emulators.files import DEFAULT as DEFAULT_EMULATOR
from starling.forward import ForwardModel
from starling.inference import Observation

AUTO, NONE = "auto", "none"


class Chosen(NamedTuple):
    """The flow, if any, and in words which or why none."""

    archive: Archive | None
    words: str


def choose_flow(
    name: str,
    emulator: str,
    folder: Path,
    forward_model: ForwardModel,
    observations: Observation,
    *,
    free_zero_points: bool = False,
) -> Chosen:
    """The flow ``name`` (a path counts from ``folder``) for an emulator's name or path and these galaxies.

    ValueError where one that was asked for by its path is for something else; ``auto`` then means none.
    """
    if name == NONE:
        return Chosen(None, "chains alone, as configured")
    if free_zero_points:
        if name != AUTO:
            raise ValueError(
                "model.flow: a flow does not sample zero points: `zero_points: {treatment: marginalise}` integrates "
                "them out, `model: {flow: none}` samples them with chains"
            )
        return Chosen(None, "chains alone: zero points are sampled, which a flow does not")
    if name != AUTO:
        archive = load_proposal(folder / name)
        check_fits(archive.proposal, observations, forward_model)
        return Chosen(archive, f"the flow {Path(name).name}, chains where it does not do")
    shipped = shipped_proposals(DEFAULT_EMULATOR if emulator == DEFAULT else emulator)
    path = shipped.get(tuple(sorted(observations.fixed)))
    if path is None:
        return Chosen(None, f"chains alone: {_why_none(shipped, observations)}")
    try:
        archive = load_proposal(path)
        check_fits(archive.proposal, observations, forward_model)
    except ValueError as error:
        return Chosen(None, f"chains alone: {error}")
    return Chosen(archive, f"the flow {path.name} of the package, chains where it does not do")


def _why_none(shipped: Iterable[tuple[str, ...]], observations: Observation) -> str:
    known = [" and ".join(names) or "nothing" for names in shipped]
    if not known:
        return "the package has no flow for this emulator (`starling amortise` trains one)"
    return (
        f"the flows of the package are for galaxies with known {', or '.join(known)}; these have "
        f"{', '.join(observations.fixed) or 'nothing'} fixed (`starling amortise` trains one)"
    )
