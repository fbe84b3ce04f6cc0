"""A fit of a catalogue in the HATS format, partition by partition, into another one; LSDB reads and writes."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starling.cli.partitions import fit_partition

if TYPE_CHECKING:
    import pandas as pd

_FIRST = 8  # rows that are fitted to learn what columns a result has


def require_lsdb() -> None:
    """ImportError that says how to install LSDB where it is missing."""
    if find_spec("lsdb") is None:
        raise ImportError("HATS catalogues are read and written with LSDB: pip install 'starling-sed[hats]'")


def fit_hats(
    catalog: Any,
    config: Mapping[str, Any],
    out: Path | str,
    *,
    base: Path | str = ".",
    keep: Sequence[str] = (),
    like: "pd.DataFrame | None" = None,
    resume: bool = False,
    progress: bool = False,
) -> None:
    """Fit every row of a catalogue (``lsdb.open_catalog``) and write the summaries as a HATS catalogue.

    ``catalog`` is an ``lsdb.Catalog``. ``config`` and ``base`` are those of ``fit_partition``, which makes the rows; a
    row has the place of the galaxy and the columns ``keep`` of the input beside them. ``like`` is a result of other
    rows, whose columns all partitions get; without, some rows of the catalogue are fitted first. Dask does the
    partitions: where, and how many at once, is a matter of its client; each is in memory as a whole. With ``resume``
    partitions that were written before a stop stay; ``progress`` shows a bar of them.

    Raises ImportError where LSDB is not installed, ValueError where a column is not there, or where none of the first
    rows can be fitted and there is no ``like``.
    """
    require_lsdb()
    info = catalog.hc_structure.catalog_info
    kept = list(dict.fromkeys([info.ra_column, info.dec_column, *keep]))
    if missing := [name for name in kept if name not in catalog.columns]:
        raise ValueError(f"the catalogue has no column {', '.join(missing)}")
    first = head(catalog, _FIRST)
    example = fit_partition(first, config, str(base)) if like is None else like
    fitted = catalog.map_partitions(
        _rows, dict(config), str(base), example, kept, meta=_beside(first.iloc[:0], example.iloc[:0], kept)
    )
    fitted.write_catalog(
        out,
        catalog_name=Path(out).name,
        as_collection=False,
        progress_bar=progress,
        tqdm_kwargs={"desc": "Partitions"},
        resume=resume,
    )


def head(catalog: Any, n: int) -> "pd.DataFrame":
    """The first rows of a catalogue, at most ``n``; as ``catalog.head``, without its bars of progress."""
    import pandas as pd

    found = [catalog.meta]
    for partition in catalog.partitions:
        missing = n - sum(map(len, found))
        if missing <= 0:
            break
        found.append(partition.compute(progress_bar=False).head(missing))
    return pd.concat([one for one in found if len(one)] or found)


def _rows(
    frame: "pd.DataFrame", config: Mapping[str, Any], base: str, like: "pd.DataFrame", kept: Sequence[str]
) -> "pd.DataFrame":
    """What is made of a partition."""
    return _beside(frame, fit_partition(frame, config, base, like), kept)


def _beside(frame: "pd.DataFrame", found: "pd.DataFrame", kept: Sequence[str]) -> "pd.DataFrame":
    """Columns of the input, and the result without those that it has, too."""
    import pandas as pd

    return pd.concat([frame[list(kept)], found.drop(columns=[*kept], errors="ignore")], axis=1)
