"""Configurations of studies: every network once, and errors that name the key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from starling.emulators.config import DirectConfig, MixtureConfig
from starling.validation.study_config import StudyConfig, load_study

BASE: dict[str, Any] = {
    "name": "base",
    "bands": ["sdss_g0", "sdss_r0"],
    "space": {"agn": False},
    "sets": {"n_train": 1000, "chunk": 256},
    "network": {"kind": "mixture", "stars": {"width": 8}, "lines": {}, "dust": {"depth": 2}},
    "training": {"stages": [{"epochs": 1, "batch_size": 10}]},
}
STUDY: dict[str, Any] = {
    "name": "x",
    "base": BASE,
    "sets": {"n_train": 800, "n_test": 200},
    "reference": {"kind": "direct", "width": 16, "depth": 3},
    "vary": {
        "width": [32, 8, 16],
        "depth": [2, 3],
        "activation": ["speculator"],
        "n_train": [400],
        "features": {"ages": {"log_bin_masses": True}},
        "mixture": [{"stars": 4, "lines": 5, "dust": 6}],
    },
}


def changed(**sections: Any) -> dict[str, Any]:
    return STUDY | sections


def test_every_network_comes_once_and_in_order() -> None:
    study = StudyConfig.model_validate(STUDY)
    variations = {v.name: v for v in study.variations()}
    assert list(variations) == [
        "direct-3x8",
        "direct-3x16",
        "direct-3x32",
        "mixture-4-5-6",
        "direct-2x16",
        "direct-3x16-speculator",
        "direct-3x16-n400",
        "direct-3x16-ages",
    ]
    assert set(variations["direct-3x16"].axes) == {"width", "depth", "activation", "n_train", "features"}
    assert variations["direct-3x8"].axes == ("width",)
    few = variations["direct-3x16-n400"].config
    assert (few.sets.n_train, few.sets.n_test, few.sets.chunk) == (400, 200, 256)
    assert few.training == study.base.training
    mixed = variations["mixture-4-5-6"].config.network
    assert isinstance(mixed, MixtureConfig)
    assert (mixed.stars.width, mixed.lines.width, mixed.dust.width, mixed.dust.depth) == (4, 5, 6, 2)
    ages = variations["direct-3x16-ages"].config.network
    assert isinstance(ages, DirectConfig)
    assert ages.features.log_bin_masses
    assert ages.width == 16
    hashes = {v.config.sha256() for v in variations.values()}
    assert len(hashes) == len(variations)


def test_a_base_of_the_papers_kind_is_its_own_reference() -> None:
    base = BASE | {"network": {"kind": "direct", "width": 12, "depth": 2}}
    study = StudyConfig.model_validate({"name": "x", "base": base, "vary": {"width": [24]}})
    assert [v.name for v in study.variations()] == ["direct-2x12", "direct-2x24"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(extra=1), "extra: Extra inputs"),
        (changed(vary={"widths": [1]}), r"vary\.widths: Extra inputs"),
        (changed(vary={"width": [0]}), r"vary\.width\.0: .*greater than 0"),
        (changed(vary={"activation": ["relu"]}), r"vary\.activation\.0: .*'gelu' or 'speculator'"),
        (changed(vary={"n_train": [800]}), "below the 800 training draws"),
        (changed(vary={"features": {"with space": {}}}), r"vary\.features\.with space"),
        (changed(vary={"features": {"a": {"knots": {"dust3": [1.0]}}}}), "dust3"),
        (changed(vary={"mixture": [{"stars": 4}]}), r"vary\.mixture\.0\.lines: Field required"),
        (
            changed(vary={"mixture": [{"stars": 4, "lines": 4, "dust": 4, "torus": 4}]}),
            r"network\.torus belongs to a space with an AGN",
        ),
        (changed(reference=None), "name a network of the papers' kind under reference"),
        (changed(base=BASE | {"n": 1}), r"base\.n: Extra inputs"),
        (
            changed(base=BASE | {"network": {"kind": "direct"}}),
            r"vary\.mixture needs a base that trains a mixture",
        ),
        (changed(bar_mag=0), "bar_mag"),
    ],
)
def test_errors_name_the_key(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message) as raised:
        load_study(path)
    assert str(path) in str(raised.value)


def test_the_base_can_be_a_file_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(changed(base="base.yaml")))
    assert load_study(tmp_path / "study.yaml") == StudyConfig.model_validate(STUDY)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(changed(base="nowhere.yaml")))
    with pytest.raises(ValueError, match=r"cannot read the configuration .*nowhere\.yaml"):
        load_study(tmp_path / "study.yaml")
    with pytest.raises(ValueError, match=r"cannot read the study .*absent\.yaml"):
        load_study(tmp_path / "absent.yaml")


def test_the_studies_of_the_project_are_valid() -> None:
    paths = sorted((Path(__file__).parents[2] / "configs").glob("study_*.yaml"))
    assert paths
    for path in paths:
        assert len(load_study(path).variations()) > 5
