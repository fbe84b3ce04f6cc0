"""Emulators of rest-frame spectra."""

from starling.emulators.archive import shipped
from starling.emulators.spectra.files import load_spectrum_emulator, save_spectrum_emulator
from starling.emulators.spectra.model import SpectrumEmulator

__all__ = ["SpectrumEmulator", "load_spectrum_emulator", "save_spectrum_emulator", "shipped"]
