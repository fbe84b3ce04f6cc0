"""Long fits: in parts, resumable, with progress; knows files and galaxies, no physics."""

from starling.execution.manifest import RunError, hash_arrays
from starling.execution.progress import progress_bar
from starling.execution.run import RunProgress, run
from starling.execution.workers import Workers

__all__ = ["RunError", "RunProgress", "Workers", "hash_arrays", "progress_bar", "run"]
