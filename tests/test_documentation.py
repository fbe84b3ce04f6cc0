"""The documentation names what there is, and its examples run."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from starling.catalogues import parse_config
from starling.photometry import load_bands

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "docs/architecture.md"),
    *("notebooks/quickstart.md", "notebooks/network_study.md", "notebooks/compare_simulators.md"),
    *("notebooks/alsing2020.md", "notebooks/mathews2023.md", "notebooks/real_galaxies.md"),
)


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


def first_column(document: str, after: str) -> set[str]:
    """The names in backticks in the first column of the first table after a heading."""
    text = (ROOT / document).read_text().partition(after)[2]
    rows = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert rows, f"no table after {after!r} in {document}"
    return set(re.findall(r"`([^`]+)`", " ".join(row.split("|")[1] for row in rows[0].splitlines())))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_files_that_are_named_exist(document: str) -> None:
    folders = "|".join(("src", "tests", "configs", "docs", "notebooks", r"\.ci"))
    named = re.findall(
        rf"`((?:{folders})/[\w./*-]+|[A-Z]+\.\w+|pyproject\.toml)`", (ROOT / document).read_text()
    )
    missing = [name for name in named if not any(ROOT.glob(name))]
    assert not missing


def test_the_architecture_lists_every_part() -> None:
    package = ROOT / "src" / "starling"
    parts = {path.stem for path in package.glob("[a-z]*") if path.name != "py.typed" and path.stem != "data"}
    assert first_column("docs/architecture.md", "## The parts") == parts


def test_the_architecture_says_why_of_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[>\[]", requirement)[0] for requirement in project["dependencies"]}
    assert first_column("docs/architecture.md", "## Dependencies") == names


def test_the_configuration_in_the_readme_is_valid() -> None:
    (text,) = blocks("README.md", "yaml")
    config = yaml.safe_load(text)
    parse_config(config, "README.md")
    load_bands(tuple(config["photometry"]["bands"]))


@pytest.mark.slow
def test_the_example_in_the_readme_runs() -> None:
    (code,) = blocks("README.md", "python")
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "[" in finished.stdout
