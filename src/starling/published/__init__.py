"""Emulators that others published: Speculator's (Alsing et al. 2020) and Parrot's (Mathews et al. 2023) files."""

from starling.published.parrot_model import ParrotModel, parrot_model
from starling.published.pickles import RefusedPickle
from starling.published.recognise import Published, is_published, open_published
from starling.published.speculator import SpeculatorPhotometry, SpeculatorSpectrum, read_speculator
from starling.published.speculator_model import SpeculatorModel, speculator_model

__all__ = [
    "ParrotModel",
    "Published",
    "RefusedPickle",
    "SpeculatorModel",
    "SpeculatorPhotometry",
    "SpeculatorSpectrum",
    "is_published",
    "open_published",
    "parrot_model",
    "read_speculator",
    "speculator_model",
]
