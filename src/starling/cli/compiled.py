"""Compiled programs on disk, so that the next run of a command need not compile them again.

JAX keeps them by what decides a program: its code, the shapes, the compiler and its options. Here is what JAX leaves to
its users: where they are, how many, whose they are, and what is left of a process that was killed.
"""

import hashlib
import os
import platform
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

VARIABLE = "STARLING_COMPILED"
OFF = "off"
MOST_BYTES = 500_000_000
_PREFIX = "starling-"  # of the folders that are ours: others may keep theirs beside them
_SUFFIX = "-cache"  # of JAX's entries
_CHECKED = ".checked"
_SECONDS = 0.5  # programs that compile faster are not kept

CompiledOption = Annotated[
    str | None,
    typer.Option(
        "--compiled",
        envvar=VARIABLE,
        help="Folder of compiled programs, kept for the next run, or `off`; default: starling's cache folder.",
    ),
]


def keep_compiled(where: str | None = None) -> Path | None:
    """Have JAX keep compiled programs in a folder; the folder, or None where they are not kept.

    ``where``: a folder, ``off``, or nothing for that of the environment (``STARLING_COMPILED``) or the user's cache.
    Nothing happens where JAX was told of a folder (``JAX_COMPILATION_CACHE_DIR``). A folder that cannot be written to
    is a warning; whatever is wrong with it later, programs are compiled. Processes that are started later do the same.
    """
    import jax

    said = where or os.environ.get(VARIABLE, "")
    if said == OFF:
        os.environ[VARIABLE] = OFF
        return None
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return None
    try:
        base = Path(said).expanduser().absolute() if said else default_folder()
        folder = base / f"{_PREFIX}{_machine()}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what is in it will be run
        stamp = folder / _CHECKED
        if not stamp.exists():
            stamp.touch()
            os.utime(stamp, (0.0, 0.0))  # the folder is ours, and nothing in it was judged
        tidy(base)
        stamp.touch()
    except (OSError, RuntimeError) as error:  # no room, no right, no home
        warnings.warn(
            f"compiled programs are not kept: {error}. Name another folder with --compiled or the environment variable "
            f"{VARIABLE}, or say `{OFF}`",
            stacklevel=2,
        )
        os.environ[VARIABLE] = OFF  # once is enough
        return None
    if said:
        os.environ[VARIABLE] = str(base)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS)
    return folder


def default_folder() -> Path:
    """Where this user's caches are; RuntimeError where the user has no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():
        return Path(given) / "starling" / "compiled"
    caches = Path("Library", "Caches") if platform.system() == "Darwin" else Path(".cache")
    return Path.home() / caches / "starling" / "compiled"


def tidy(base: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove entries that were left half written, and those that were not used for longest where there are too many.

    Half written is what a process that was killed leaves, which JAX would warn of in every run, and not replace.
    Entries are judged once: ``.checked`` in a machine's folder is as old as the last time. Nothing is removed from a
    folder without it, or of another name: ``base`` may be shared with other programs.
    """
    entries = []
    for path, stamp in _entries(base):
        with suppress(FileNotFoundError):  # another process is tidying
            about = path.stat()
            if about.st_mtime >= stamp and not _whole(path):
                path.unlink()
                continue
            entries.append((max(about.st_atime, about.st_mtime), about.st_size, path))
    excess = sum(size for _, size, _ in entries) - most_bytes
    for _, size, path in sorted(entries):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _entries(base: Path) -> Iterator[tuple[Path, float]]:
    """All entries of ours, of whichever machine, and when those of its folder were judged last."""
    for stamp in base.glob(f"{_PREFIX}*/{_CHECKED}"):
        judged = stamp.stat().st_mtime
        for path in stamp.parent.glob(f"*{_SUFFIX}"):
            if path.is_file():
                yield path, judged


def _whole(path: Path) -> bool:
    """Whether an entry can be unpacked to its end, whatever is in it."""
    content = path.read_bytes()
    if content[:4] == b"\x28\xb5\x2f\xfd":  # Zstandard, where the user has it: its end is not looked for
        return True
    try:
        zlib.decompress(content)
    except zlib.error:
        return False
    return True


def _machine() -> str:
    """A name for what programs are compiled for: a home that machines of several kinds share has a folder for each."""
    words = [platform.machine(), platform.processor()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        words += next(([line] for line in lines if line.startswith(("flags", "Features"))), [])
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:12]
