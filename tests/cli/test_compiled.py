"""Compiled programs that are kept: where, how many, and what cannot hurt a run."""

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from starling.cli import compiled
from starling.cli.compiled import default_folder, keep_compiled, tidy

_RUN = """
import json, sys, warnings
warnings.simplefilter("error")
warnings.filterwarnings("default", "Error (reading|writing) persistent")
from starling.cli import compiled
compiled._SECONDS = 0.0
folder = compiled.keep_compiled(*sys.argv[1:])
import jax, jax.numpy as jnp
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
x = jax.random.normal(jax.random.key(0), (64, 64))
y = jax.jit(lambda x: jnp.linalg.inv(x @ x.T + jnp.eye(64)) @ jnp.sin(x))(x)
print(json.dumps([str(folder), len(hits), [float(v).hex() for v in y[:, 0]]]))
"""


@pytest.fixture(autouse=True)
def _no_folder_of_jax() -> Iterator[None]:
    """Whoever runs the tests may have told JAX of one."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def run(*words: object, **environment: str) -> tuple[str, int, list[str], str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "STARLING_"))}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, words)],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return *json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
def test_a_second_process_compiles_nothing_and_finds_the_same(tmp_path: Path) -> None:
    folder, hits, values, _ = run(tmp_path / "kept")
    assert hits == 0
    assert Path(folder).parent == tmp_path / "kept"
    assert Path(folder).name.startswith("starling-")
    entries = sorted(Path(folder).glob("*-cache"))
    assert entries
    assert Path(folder).stat().st_mode & 0o077 == 0
    _, hits, same, _ = run(STARLING_COMPILED=str(tmp_path / "kept"))
    assert hits > 0
    assert same == values
    assert sorted(Path(folder).glob("*-cache")) == entries
    program = next(path for path in entries if "lambda" in path.name)
    # what a process that was killed has left is made anew
    program.write_bytes(program.read_bytes()[: program.stat().st_size // 2])
    _, _, same, said = run(tmp_path / "kept")
    assert same == values
    assert "Error" not in said
    assert zlib.decompress(program.read_bytes())
    # what is whole and nonsense is not used
    program.write_bytes(zlib.compress(b"nonsense"))
    _, _, same, said = run(tmp_path / "kept")
    assert same == values
    assert "Error reading persistent compilation cache" in said


def test_where_programs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "starling" / "compiled"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder().is_relative_to(tmp_path)
    assert keep_compiled("off") is None
    assert jax.config.jax_compilation_cache_dir is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=r"are not kept: .*file.* Name another folder with --compiled"):
        assert keep_compiled(str(tmp_path / "file")) is None
    assert jax.config.jax_compilation_cache_dir is None
    assert os.environ[compiled.VARIABLE] == "off"

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(compiled.VARIABLE)
    monkeypatch.setattr(compiled, "default_folder", nowhere)
    with pytest.warns(UserWarning, match="are not kept: Could not determine home directory"):
        assert keep_compiled() is None


def test_no_more_is_kept_than_there_is_room_for(tmp_path: Path) -> None:
    folder = tmp_path / "starling-machine"
    folder.mkdir()
    (folder / ".checked").touch()
    (folder / "folder-cache").mkdir()
    for i in range(5):
        path = folder / f"jit_{i}-cache"
        path.write_bytes(zlib.compress(os.urandom(1000)))
        os.utime(path, (100.0 * i, 50.0))
    (folder / "notes.txt").write_text("not an entry")
    tidy(tmp_path, 2500)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".checked",
        "folder-cache",
        "jit_3-cache",
        "jit_4-cache",
        "notes.txt",
    ]


def test_what_others_keep_in_the_same_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = [
        tmp_path / name for name in ("project/jit_f-cache", "starling-notes/jit_f-cache", "jit_f-cache")
    ]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half written")
    (tmp_path / "project" / ".checked").touch()
    monkeypatch.setattr(compiled, "_machine", lambda: "machine")
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setenv(compiled.VARIABLE, str(tmp_path))
    ours = tmp_path / "starling-machine"
    ours.mkdir()
    (ours / "jit_f-cache").write_bytes(b"half written")
    os.utime(ours / "jit_f-cache", (50.0, 50.0))
    assert keep_compiled() == ours
    assert [path.name for path in ours.iterdir()] == [".checked"]
    assert (ours / ".checked").stat().st_mtime > 50.0
    tidy(tmp_path, 0)
    assert all(path.read_bytes() == b"half written" for path in theirs)
