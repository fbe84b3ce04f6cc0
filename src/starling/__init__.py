"""Posteriors for the properties of galaxies from their photometry.

This module has the version only; import from the others (``starling.emulators``, ``starling.inference``, ...).
"""

from importlib.metadata import version

__version__ = version("starling-sed")
