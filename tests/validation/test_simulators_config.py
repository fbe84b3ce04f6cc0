"""Configurations of comparisons: what is wrong is said with its key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from starling.photometry import load_bands
from starling.validation.simulators_config import CompareConfig, load_compare_config

GOOD: dict[str, Any] = {
    "name": "toy",
    "first": {"simulator": {"tables": "bagpipes"}},
    "second": {"label": "mine", "simulator": {"tables": "mine.safetensors"}},
    "bands": ["sdss_r0", "twomass_J"],
}
FSPS = {"simulator": {"code": "fsps"}}


def load(tmp_path: Path, **changes: Any) -> CompareConfig:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes))
    return load_compare_config(path)


@pytest.mark.parametrize("name", ["fsps", "speculator"])
def test_the_configurations_in_the_repository_are_valid(name: str) -> None:
    config = load_compare_config(Path(__file__).parents[2] / "configs" / f"compare_bc03_{name}.yaml")
    assert config.first.name == "BC03"
    assert config.second.name.startswith("FSPS")
    load_bands(config.bands)


def test_a_side_without_a_label_is_named_after_its_source(tmp_path: Path) -> None:
    config = load(tmp_path, second=FSPS)
    assert (config.first.name, config.second.name) == ("bagpipes", "FSPS")
    assert load(tmp_path, second={"simulator": {"tables": "a/b.safetensors"}}).second.name == "b"
    assert load(tmp_path, second={"emulator": "default"}).second.name == "default"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": {}}, "seconds: unknown key; did you mean 'second'"),
        ({"second": {"label": "x"}}, "second: name either a `simulator` or an `emulator`"),
        ({"second": {"emulator": "default", **FSPS}}, "second: name either"),
        ({"second": GOOD["first"]}, "both called 'bagpipes': give each a label"),
        ({"bands": ["sdss_r0"]}, "bands: .*at least 2"),
        ({"bands": ["sdss_r0", "sdss_r0"]}, "a band appears twice"),
        (
            {"colours": [["sdss_r0", "twomass_H"]]},
            "'twomass_H' is not among the bands; did you mean 'twomass_J'",
        ),
        ({"fixed": {"logz": 0.0}}, "fixed: no parameter 'logz'; did you mean"),
        ({"fixed": {"logzsol": 1.0}}, "fixed.logzsol: 1 is outside -1.98 to 0.19"),
        ({"space": {"model": "desi_bgs"}}, "desi_bgs is a model of spectra"),
        ({"light": "lines"}, "light: .*'stars'"),
        ({"light": "stars", "second": FSPS}, "light: stars is for the exact model; FSPS has no stars apart"),
        ({"light": "no_lines", "second": FSPS}, "light: no_lines is for the exact model"),
        ({"solar": "first", "second": {"emulator": "default"}}, "solar: first is for the exact model"),
        ({"n": 0}, "n: "),
        ({"floor": 0.0}, "floor: "),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **changes)
