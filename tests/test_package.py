"""Importing does nothing: no file, no environment, no network, no process, no device, no switch of precision."""

import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import starling

# Imports every module of the package under an audit hook and with jax's primitives watched. From an event it walks up
# the stack. Met first a frame of starling: starling did it as it was imported. Met first the import machinery: a
# library that starling imports did it, which is its own business, or it is the version, which importlib.metadata reads.
IMPORT_ALL = """
import importlib, pkgutil, sys
from jax.extend.core import Primitive

WATCHED = {"open", "os.putenv", "os.unsetenv", "os.mkdir", "os.remove", "subprocess.Popen"}

def accuse(deed):
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == "starling" or name.startswith("starling."):
            raise RuntimeError(f"importing {name} does {deed}")
        if name.startswith("importlib.") or frame.f_code.co_filename.startswith("<frozen importlib"):
            return
        frame = frame.f_back

def hook(event, args):
    if event == "open" and str(args[0]).endswith(".py"):
        return  # the source lines of a traceback
    if event in WATCHED or event.startswith("socket."):
        accuse(f"{event}{args}")

def watched_bind(self, *args, **parameters):
    accuse(f"arithmetic in jax: {self}")
    return bind(self, *args, **parameters)

bind, Primitive.bind = Primitive.bind, watched_bind
sys.addaudithook(hook)
import starling
names = [module.name for module in pkgutil.walk_packages(starling.__path__, "starling.")]
for name in names:
    importlib.import_module(name)
print("\\n".join(names))
assert not sys.modules["jax"].config.read("jax_enable_x64"), "something switched jax to 64 bits"
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )


def test_version_is_the_distribution_s() -> None:
    assert starling.__version__ == version("starling-sed")


def test_the_top_level_imports_no_library() -> None:
    finished = run("import starling, sys; print(sorted({'jax', 'numpy', 'astropy'} & set(sys.modules)))")
    assert finished.stdout.strip() == "[]", finished.stderr


def test_importing_every_module_touches_nothing() -> None:
    finished = run(IMPORT_ALL)
    assert finished.returncode == 0, finished.stderr
    assert {"starling.parameters", "starling.inference", "starling.cli"} <= set(finished.stdout.split())


@pytest.mark.parametrize(
    ("line", "deed"),
    [
        ("open('/dev/null').close()", "open"),
        ("import os; os.environ['HOME'] = '/'", "os.putenv"),
        ("import jax.numpy as jnp; jnp.zeros(3)", "arithmetic in jax"),
    ],
)
def test_the_audit_catches(line: str, deed: str, tmp_path: Path) -> None:
    package = tmp_path / "starling"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "eager.py").write_text(line + "\n")
    finished = run(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{IMPORT_ALL}")
    assert f"importing starling.eager does {deed}" in finished.stderr


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="starling")
    assert command.value == "starling.cli:app"
