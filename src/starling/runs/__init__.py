"""Long fits in parts that are kept as they are finished, with progress; knows files and galaxies, no physics."""

from starling.runs.manifest import RunError, hash_arrays, read_manifest
from starling.runs.posterior import StoredRun, of_galaxies, open_run
from starling.runs.progress import progress_bar
from starling.runs.run import Fit, Report, RunProgress, SamplePart, complete, merged, run, summary, work_on
from starling.runs.storage import Storage, storage_of
from starling.runs.tables import write_table

__all__ = [
    "Fit",
    "Report",
    "RunError",
    "RunProgress",
    "SamplePart",
    "Storage",
    "StoredRun",
    "complete",
    "hash_arrays",
    "merged",
    "of_galaxies",
    "open_run",
    "progress_bar",
    "read_manifest",
    "run",
    "storage_of",
    "summary",
    "work_on",
    "write_table",
]
