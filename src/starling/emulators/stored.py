"""Simulated sets that are there already, for a training whose space, bands and simulator they fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from starling.emulators.config import SimulatorConfig, TrainingConfig
from starling.emulators.pipeline import draw_plans
from starling.emulators.spectra.config import PixelsConfig
from starling.lines import REST_FRAME_BANDS
from starling.parameters import ParameterSpace
from starling.photometry import load_bands
from starling.simulation import DrawPlan, SimulatedSet, read_set
from starling.simulation.directions import TANGENT
from starling.simulation.shards import n_rows_of
from starling.simulation.store import MANIFEST, differences, read_manifest

# what the light passes through is the last axis of these; bands of the rest frame follow in those of components
_WITH_REST_FRAME = ("stars", "dust", "torus")
_BANDS_ONLY = ("rest_flux",)
ASKED = "asked"


class StoredSets(NamedTuple):
    """Sets by name, the description of their simulator, and what decided their points by name of the set."""

    sets: dict[str, SimulatedSet]
    description: dict[str, Any]
    draws: dict[str, dict[str, Any]]


def asked_of(simulator: SimulatorConfig, pixels: PixelsConfig | None = None) -> dict[str, Any]:
    """What a configuration says of a simulator and decides its numbers; goes into descriptions as ``asked``."""
    asked = {"simulator": simulator.model_dump(mode="json", exclude={"batch"})}
    if pixels is not None:
        asked["spectra"] = pixels.model_dump(mode="json", include={"low_aa", "high_aa", "segments"})
    return asked


def open_sets(config: TrainingConfig, folder: Path) -> StoredSets:
    """The first rows of the sets in a folder, as many as a configuration asks for, in its bands; nothing is written.

    Draws from a set's space with any seed and method will do, and so will points. Raises ValueError where a set is
    absent, not finished, too short or damaged, or of another space, simulator or curve of a band.
    """
    plans = draw_plans(config)
    identities = check_sets(folder, plans, asked_of(config.simulator))
    description = next(iter(identities.values()))["simulator"]
    have = description.get("bands", list(config.bands))
    _check_bands(config, description, have, folder)
    sets = {
        name: _select(read_set(folder / name, plan.n), have, config.bands) for name, plan in plans.items()
    }
    if "curve_sha256" in description:
        curves = dict(zip(have, description["curve_sha256"], strict=True))
        description |= {"curve_sha256": [curves[band] for band in config.bands]}
    if "bands" in description:
        description |= {"bands": list(config.bands)}
    draws = {name: identity["draws"] | {"n": plans[name].n} for name, identity in identities.items()}
    return StoredSets(sets, description, draws)


def check_sets(
    folder: Path, plans: Mapping[str, DrawPlan], asked: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The identities of the sets of some plans; ValueError unless they fit what is ``asked``, and each other."""
    identities = {name: _check(folder / name, plan, asked) for name, plan in plans.items()}
    first, *others = (identity["simulator"] for identity in identities.values())
    if any(other != first for other in others):
        raise ValueError(f"the sets in {folder} are of different simulators")
    return identities


def _check(folder: Path, plan: DrawPlan, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a set; ValueError unless it fits."""
    if not (folder / MANIFEST).exists():
        raise ValueError(f"there is no simulated set {folder}: make it with `starling simulate`")
    identity: dict[str, Any] = read_manifest(folder)["identity"]
    if differing := _other_space(identity["draws"], plan.space):
        raise ValueError(
            f"{folder} has draws of another space than {plan.space.name!r} of the configuration: {differing}"
        )
    before = identity["simulator"].get(ASKED, asked)
    if before != asked:
        differing = ", ".join(differences(before, dict(asked)))
        raise ValueError(f"{folder} was made with another {differing} than the configuration's")
    if n_rows_of(folder) < plan.n:
        raise ValueError(
            f"{folder} has fewer than the {plan.n} draws that the configuration asks for: lower its sets, or "
            "simulate more"
        )
    return identity


def _other_space(draws: Mapping[str, Any], space: ParameterSpace) -> str:
    """In what a set's space differs; points of a table come from no prior, and have to have the parameters only."""
    found, wanted = draws["space"], space.to_dict()
    of_points = draws["method"] == "points"
    before, now = (
        {p["name"]: of_points or p["prior"] for p in described["parameters"]} for described in (found, wanted)
    )
    differing = differences(before, now)
    differing += differences(found.get("constants", {}), wanted.get("constants", {}))
    if not differing and list(before) != list(now):
        return "the order of parameters"
    return ", ".join(dict.fromkeys(place.split(".")[0] for place in differing))


def _check_bands(
    config: TrainingConfig, description: Mapping[str, Any], have: list[str], folder: Path
) -> None:
    if lacking := [band for band in config.bands if band not in have]:
        raise ValueError(f"the sets in {folder} do not have the bands {', '.join(lacking)}")
    curves = dict(zip(have, description.get("curve_sha256", []), strict=False))
    changed = [
        band.name for band in load_bands(config.bands) if curves.get(band.name, band.sha256) != band.sha256
    ]
    if changed:
        raise ValueError(f"the sets in {folder} were made with other curves of {', '.join(changed)}")


def _select(simulated: SimulatedSet, have: list[str], bands: tuple[str, ...]) -> SimulatedSet:
    """A set with some of its bands."""
    if list(bands) == have:
        return simulated
    kept = np.array([have.index(band) for band in bands])
    with_rest = np.concatenate([kept, len(have) + np.arange(len(REST_FRAME_BANDS))])
    outputs = {}
    for name, array in simulated.outputs.items():
        plain = name.removeprefix(TANGENT)
        channels = with_rest if plain in _WITH_REST_FRAME else kept if plain in _BANDS_ONLY else None
        outputs[name] = array if channels is None else array[..., channels]
    return simulated._replace(outputs=outputs)
