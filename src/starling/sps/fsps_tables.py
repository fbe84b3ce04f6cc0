"""Reads single tables out of an FSPS data directory (SPS_HOME); FSPS itself is not needed."""

from pathlib import Path

import numpy as np

from starling.sps.grids import TorusGrid

_TORUS = Path("dust") / "Nenkova08_y010_torusg_n10_q2.0.dat"


def read_torus(sps_home: str | Path) -> TorusGrid:
    """The Nenkova et al. (2008) clumpy tori that FSPS uses, normalised to unit luminosity.

    Raises FileNotFoundError that names the file where ``sps_home`` is no FSPS data directory.
    """
    path = Path(sps_home) / _TORUS
    if not path.is_file():
        raise FileNotFoundError(f"no AGN torus table {_TORUS} in the FSPS data directory {sps_home}")
    with path.open() as lines:
        rows = [line.split() for line in lines if not line.startswith("#")]
    tau = np.array(rows[0], float)
    table = np.array([row for row in rows[1:] if row], float)
    wave, f_nu = table[:, 0], table[:, 1:].T
    if f_nu.shape[0] != tau.size:
        raise ValueError(f"{path}: {tau.size} optical depths but {f_nu.shape[0]} columns")
    l_lambda = f_nu / wave**2
    return TorusGrid("Nenkova08 (FSPS)", tau, wave, l_lambda / np.trapezoid(l_lambda, wave, axis=1)[:, None])
