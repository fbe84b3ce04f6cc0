"""Spectra of galaxies: what an instrument sees of a model, and the likelihood of what was observed."""

from starling.spectroscopy.build import spectrum_model
from starling.spectroscopy.joint import GalaxyData, GalaxyModel, galaxy_of, spectrum_galaxy_model
from starling.spectroscopy.lines import OPTICAL_LINES, Line
from starling.spectroscopy.model import Kernel, RestSpectrum, SpectrumModel
from starling.spectroscopy.observation import PER_GALAXY, SpectrumObservation, observe_spectrum
from starling.spectroscopy.readers import from_specutils, read_desi, read_sdss, read_spectrum
from starling.spectroscopy.resolution import BC03_MILES, FSPS_MILES, Library
from starling.spectroscopy.settings import SpectrumSettings, spectrum_space

__all__ = [
    "BC03_MILES",
    "FSPS_MILES",
    "OPTICAL_LINES",
    "PER_GALAXY",
    "GalaxyData",
    "GalaxyModel",
    "Kernel",
    "Library",
    "Line",
    "RestSpectrum",
    "SpectrumModel",
    "SpectrumObservation",
    "SpectrumSettings",
    "from_specutils",
    "galaxy_of",
    "observe_spectrum",
    "read_desi",
    "read_sdss",
    "read_spectrum",
    "spectrum_galaxy_model",
    "spectrum_model",
    "spectrum_space",
]
