"""Which emulator a name or a path means."""

from pathlib import Path

from starling.emulators.archive import shipped, shipped_names
from starling.emulators.files import default_path

DEFAULT = "default"


def find_emulator(name: str, folder: Path | None = None) -> Path:
    """The file of an emulator: ``default``, the name of one in the package, or a path, which counts from ``folder``."""
    if name == DEFAULT:
        return default_path()
    if name in shipped_names():
        return shipped(name)
    return Path(name) if folder is None else folder / name
