"""Commands as a user gives them, in the tests' own process, and configurations for them."""

from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from starling.cli import app

_RUNNER = CliRunner()


def call(*words: object) -> tuple[int, str]:
    """Exit code and everything a command said, with line breaks of the terminal taken out."""
    result = _RUNNER.invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def write(path: Path, content: dict[str, Any]) -> Path:
    """A configuration in a file."""
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
