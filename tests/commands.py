"""Commands as a user gives them, in the tests' own process, and configurations for them."""

import time
from collections.abc import Iterable
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


def gone(pids: Iterable[int]) -> bool:
    """Whether processes end within some seconds: what is killed stays in /proc until somebody collects it."""
    paths = [Path(f"/proc/{pid}") for pid in pids]
    for _ in range(400):
        if not any(path.exists() for path in paths):
            return True
        time.sleep(0.05)
    return False
