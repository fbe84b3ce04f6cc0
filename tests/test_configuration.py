"""YAML files that are read, and what is said of those that cannot be."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from starling.configuration import nearest, read_yaml
from starling.simulation.mock import read_mock_config


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = 1
    kind: Literal["part"] = "part"


class Other(BaseModel):
    model_config = ConfigDict(extra="forbid")
    colour: str = ""
    kind: Literal["other"] = "other"


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    parts: tuple[Part, ...] = ()
    named: dict[str, Part] = Field(default_factory=dict)
    either: Part | Other | None = Field(None, discriminator="kind")


class OwnError(ValueError):
    pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("naem: x", "naem: unknown key; did you mean 'name' or 'named'?"),
        ("parts: []", "name: this key is needed"),
        ("name: x\nparts: [{sise: 1}]", "parts.0.sise: unknown key; did you mean 'size'?"),
        ("name: x\nnamed: {a: {Size: 1}}", "named.a.Size: unknown key; did you mean 'size'?"),
        ("name: x\neither: {kind: other, color: red}", "either.other.color: .*did you mean 'colour'?"),
        ("name: x\nparts: [{size: big}]", "parts.0.size: .* not 'big'"),
        ("name: [", "is not YAML"),
        ("text", "holds no keys; needed are `name`"),
    ],
)
def test_errors_name_the_key_and_the_mend(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(OwnError, match=message.replace("?", r"\?")) as raised:
        read_yaml(path, Whole, OwnError)
    assert str(path) in str(raised.value)


def test_what_is_right_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: x\nparts: [{size: 3}]\neither: {kind: other, colour: red}")
    whole = read_yaml(path, Whole)
    assert whole.parts[0].size == 3
    assert whole.either == Other(colour="red")


def test_a_mock_survey_s_keys_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "mock.yaml"
    path.write_text("n: 3\ndetection_band: a\ndepth_mag: {a: 25}\ncalibraton: 0.1")
    with pytest.raises(ValueError, match="calibraton: unknown key; did you mean 'calibration'"):
        read_mock_config(path)
    with pytest.raises(ValueError, match="cannot read the configuration"):
        read_mock_config(tmp_path / "none.yaml")


def test_few_names_are_all_told() -> None:
    assert nearest("zzz", ["a", "b"]) == "; known are 'a', 'b'"
    assert nearest("NAME", ["name"]) == "; did you mean 'name'?"
    assert nearest("zzz", [f"long{i}" for i in range(20)]) == ""
