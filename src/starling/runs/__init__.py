"""Long fits in parts that are kept as they are finished, with progress; knows files and galaxies, no physics."""

from starling.runs.manifest import RunError, hash_arrays
from starling.runs.progress import progress_bar
from starling.runs.run import Fit, Report, RunProgress, SamplePart, run, work_on

__all__ = [
    "Fit",
    "Report",
    "RunError",
    "RunProgress",
    "SamplePart",
    "hash_arrays",
    "progress_bar",
    "run",
    "work_on",
]
