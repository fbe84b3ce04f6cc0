"""Emulators: networks that imitate an exact model, their training and their files."""

from starling.emulators.files import default_path, load_default, load_emulator, read_header, save_emulator
from starling.emulators.photometry import PhotometryEmulator

__all__ = [
    "PhotometryEmulator",
    "default_path",
    "load_default",
    "load_emulator",
    "read_header",
    "save_emulator",
]
