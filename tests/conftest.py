"""What all tests share: shapes are checked as they run, and the data that are too large for the repository."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import beartype.typing  # noqa: F401  TYPE_CHECKER names it
import jax
import matplotlib as mpl
import pytest
from jaxtyping import install_import_hook
from surrogate_home import make_surrogate_home

# beartype as jaxtyping's hook calls it: function by function, where `Self` has no meaning; an int is a float to type
# checkers, so it is one here.
TYPE_CHECKER = (
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True,"
    " hint_overrides=beartype.FrozenDict({beartype.typing.Self: object})))"
)
# Before any test module imports starling: every annotated function then checks types and shapes as it is called.
install_import_hook("starling", TYPE_CHECKER)

mpl.use("Agg")
# Whoever runs the tests has programs of their own, which no test may need or change.
os.environ["STARLING_COMPILED"] = "off"
# Fits are shared out over devices, as they are on a machine with several.
jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled() -> Iterator[None]:
    """Drop what a module compiled: every program maps memory, and Linux ends a process with 65,530 maps."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def surrogate_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of FSPS, read-only: real file formats, made-up stars."""
    return make_surrogate_home(tmp_path_factory.mktemp("sps_home"))


@pytest.fixture(scope="session")
def fsps_home(surrogate_home: Path) -> Path:
    """The same, where FSPS is installed to run on it."""
    if find_spec("fsps") is None:
        pytest.skip("needs python-fsps: pip install 'starling-sed[fsps]'")
    return surrogate_home


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder `shared/data` beside the checkout: catalogues, spectra and FSPS tables, read-only."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the folder shared/data beside the checkout")
    return path
