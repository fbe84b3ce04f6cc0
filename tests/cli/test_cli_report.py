"""``starling report``: of runs that are whole, unfinished, damaged, or none; of galaxies whose draws cost nothing."""

import json
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import xarray as xr
from commands import run_command as _unused  # noqa: F401
