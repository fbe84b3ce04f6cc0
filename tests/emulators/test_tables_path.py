"""Where a configuration's file of tables is looked for: beside it, and else where the command is run."""

from pathlib import Path

import pytest
import yaml

from starling.emulators.config import SimulatorConfig, load_config
from starling.emulators.simulate_config import load_simulate_config
from starling.emulators.spectra.config import load_any_config
from starling.validation.simulators_config import load_compare_config
from starling.validation.study_config import load_study

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A training configuration in a folder of its own, which names ``tables.safetensors``."""
    path = tmp_path / "configs" / "train.yaml"
    path.parent.mkdir()
    path.write_text((CONFIGS / "train_fsps_tables.yaml").read_text())
    return path


@pytest.mark.parametrize("load", [load_config, load_any_config, load_simulate_config])
def test_tables_count_from_the_configuration(load, config: Path) -> None:
    name = "tables.safetensors"
    assert load(config).simulator.tables_found == name  # not there: where the command is run
    (config.parent / name).write_text("")
    found = load(config).simulator
    assert found.tables_found == str(config.parent / name)
    # what a set or an emulator says of it does not depend on where the files are
    assert found.tables == name
    assert found.model_dump() == SimulatorConfig(tables=name, batch=found.batch).model_dump()


def test_an_absolute_path_and_a_name_stay_what_they_are(config: Path) -> None:
    (config.parent / "bagpipes").write_text("")
    content = yaml.safe_load(config.read_text())
    for tables in ("bagpipes", str(config.parent / "other.safetensors")):
        config.write_text(yaml.safe_dump(content | {"simulator": {"tables": tables}}))
        assert load_config(config).simulator.tables_found == tables


def test_tables_of_a_comparison_count_from_it(tmp_path: Path) -> None:
    path = tmp_path / "compare.yaml"
    path.write_text((CONFIGS / "compare_bc03_fsps.yaml").read_text())
    (tmp_path / "fsps.safetensors").write_text("")
    second = load_compare_config(path).second.simulator
    assert second is not None
    assert second.tables_found == str(tmp_path / "fsps.safetensors")


def test_tables_of_a_study_count_from_its_training(tmp_path: Path) -> None:
    content = yaml.safe_load((CONFIGS / "study_aegis.yaml").read_text())
    base = content["base"]
    training = yaml.safe_load((CONFIGS / base).read_text()) if isinstance(base, str) else base
    training["simulator"] = {"tables": "mine.safetensors"}
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "mine.safetensors").write_text("")
    (tmp_path / "training" / "train.yaml").write_text(yaml.safe_dump(training))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content | {"base": "training/train.yaml"}))
    found = load_study(tmp_path / "study.yaml").whole.simulator.tables_found
    assert found == str(tmp_path / "training" / "mine.safetensors")
