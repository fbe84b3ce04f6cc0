"""Sets that are there, for a training: bands are chosen, other draws are told, what does not fit is refused."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from starling.emulators.config import TrainingConfig
from starling.emulators.pipeline import draw_plans, make_sets
from starling.emulators.simulate_config import SimulateConfig, load_simulate_config
from starling.emulators.stored import ASKED, asked_of, open_sets
from starling.lines import REST_FRAME_BANDS
from starling.photometry import load_bands
from starling.simulation import points_plan
from starling.simulation.store import MANIFEST
from tests.emulators.conftest import BANDS, NETWORKS, SPACE

SETS = {"n_train": 96, "n_validation": 16, "n_test": 16, "chunk": 16}
CURVES = [band.sha256 for band in load_bands(BANDS)]
DESCRIPTION = {
    "tables": "toy",
    "bands": list(BANDS),
    "curve_sha256": CURVES,
    ASKED: {"simulator": {"tables": "bagpipes"}},
}


def make_config(**changes: Any) -> TrainingConfig:
    content = {"name": "toy", "bands": BANDS, "sets": SETS, "network": NETWORKS["mixture"]}
    return TrainingConfig.model_validate(
        content | {"training": {"stages": [{"epochs": 1, "batch_size": 64}]}} | changes
    )


def numbered(theta: np.ndarray) -> dict[str, np.ndarray]:
    """Every channel holds its number."""
    n, channels = len(theta), np.arange(len(BANDS) + len(REST_FRAME_BANDS), dtype=np.float32)
    return {
        "stars": np.broadcast_to(channels, (n, 7, channels.size)),
        "tangent_dust": np.broadcast_to(channels, (n, channels.size)),
        "rest_flux": np.broadcast_to(channels[: len(BANDS)], (n, len(BANDS))),
        "absorbed": theta[:, :7],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sets")
    make_sets(draw_plans(make_config()), numbered, DESCRIPTION, place)
    return place


def test_bands_are_chosen_and_the_rest_frame_stays(folder: Path) -> None:
    found = open_sets(make_config(bands=(BANDS[3], BANDS[0]), seed=4, sets=SETS | {"n_train": 64}), folder)
    outputs = found.sets["train"].outputs
    n = len(BANDS)
    assert outputs["stars"].shape == (48, 7, 5)
    np.testing.assert_array_equal(outputs["stars"][0, 0], [3, 0, n, n + 1, n + 2])
    np.testing.assert_array_equal(outputs["tangent_dust"][0], [3, 0, n, n + 1, n + 2])
    np.testing.assert_array_equal(outputs["rest_flux"][0], [3, 0])
    assert outputs["absorbed"].shape == (48, 7)
    assert found.description["bands"] == [BANDS[3], BANDS[0]]
    assert found.description["curve_sha256"] == [CURVES[3], CURVES[0]]
    assert (found.draws["train"]["seed"], found.draws["train"]["n"]) == (
        0,
        48,
    )  # of the set, not of the configuration


def test_points_need_the_parameters_only(folder: Path, tmp_path: Path) -> None:
    theta = np.asarray(SPACE.sample(jax.random.key(0), (100,)))
    columns = {name: theta[:, column] for column, name in enumerate(SPACE.names)}
    plans = {name: points_plan(SPACE, columns, 32) for name in draw_plans(make_config())}
    make_sets(plans, numbered, DESCRIPTION, tmp_path)
    found = open_sets(make_config(), tmp_path)
    np.testing.assert_array_equal(found.sets["validation"].theta, theta[:16])
    assert found.draws["train"]["method"] == "points"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"space": {"zred": [0.5, 2.0]}},
            r"train has draws of another space than .* of the configuration: zred",
        ),
        ({"space": {"agn": False}, "network": NETWORKS["direct"]}, "configuration: log_agn_tau, log_fagn"),
        ({"bands": ("sdss_u0", *BANDS)}, "do not have the bands sdss_u0"),
        ({"sets": SETS | {"n_validation": 17}}, "validation has fewer than the 17 draws"),
        ({"simulator": {"tables": "others"}}, r"was made with another simulator\.tables"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_sets(make_config(**changes), folder)


def test_other_curves_and_other_simulators_are_refused(tmp_path: Path) -> None:
    plans = draw_plans(make_config())
    make_sets(plans, numbered, DESCRIPTION | {"curve_sha256": ["0" * 64, *CURVES[1:]]}, tmp_path)
    with pytest.raises(ValueError, match=f"made with other curves of {BANDS[0]}"):
        open_sets(make_config(), tmp_path)
    manifest = json.loads((tmp_path / "validation" / MANIFEST).read_text())
    manifest["identity"]["simulator"]["tables"] = "others"
    (tmp_path / "validation" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="are of different simulators"):
        open_sets(make_config(), tmp_path)
    with pytest.raises(ValueError, match=r"there is no simulated set .*make it with `starling simulate`"):
        open_sets(make_config(), tmp_path / "nowhere")


def test_batches_do_not_count() -> None:
    one, other = (make_config(simulator={"batch": batch}) for batch in (4, 8))
    assert asked_of(one.simulator) == asked_of(other.simulator)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": []}, "photometry in `bands` or of `spectra`: give one"),
        ({"spectra": {"low_aa": 1000, "high_aa": 2000}}, "photometry in `bands` or of `spectra`: give one"),
        ({"draws": {}}, "nothing is asked for"),
        ({"draws": {"a/b": {"n": 1}}}, "'a/b' is no name of a folder"),
        ({"draws": {"a": {"n": 1, "points": "b.csv"}}}, "has either `n`, a number of draws, or `points`"),
        ({"draws": {"a": {"points": "b.csv", "seed": 1}}}, "leave them out where `points` are given"),
        ({"draws": {"train": {"n": 1}}, "sets": SETS}, "train is one of the `sets` already"),
        ({"space": {"model": "desi_bgs"}}, "needs a section `spectra`"),
        ({"bands": [], "spectra": {"low_aa": 1000, "high_aa": 2000}, "tangents": True}, "without tangents"),
    ],
)
def test_configurations_that_ask_for_nothing_sensible(changes: dict[str, Any], message: str) -> None:
    content = {"name": "toy", "bands": ["sdss_g0"], "draws": {"mine": {"n": 10}}}
    with pytest.raises(ValueError, match=message):
        SimulateConfig.model_validate(content | changes)


def test_the_configurations_of_the_project_can_be_simulated() -> None:
    folder = Path(__file__).parents[2] / "configs"
    paths = [*sorted(folder.glob("simulate_*.yaml")), *sorted(folder.glob("train_*.yaml"))]
    assert len(paths) > 5
    for path in paths:
        config = load_simulate_config(path)
        plans = config.plans(lambda _: {})
        assert {"train", "validation", "test_prior", "test_training"} <= plans.keys()
        load_bands(config.bands)
    own = load_simulate_config(folder / "simulate_prospector_alpha.yaml").plans(lambda _: {})["even"]
    assert (own.n, own.to_dict()["method"]) == (4096, "latin_hypercube")
