"""What spectra are on."""

from typing import NamedTuple

import numpy as np
from jax import Array


class SpectralGrid(NamedTuple):
    """What a simulator's spectra are on: edges of pixels, wavelengths of lines, lines of 1 Lsun in pixels."""

    edges_aa: np.ndarray | Array
    line_wave_aa: np.ndarray | Array
    line_pixels: np.ndarray | Array
