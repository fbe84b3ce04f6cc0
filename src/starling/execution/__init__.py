"""Long fits: in parts, resumable, with progress; knows files and galaxies, no physics."""

from starling.execution.manifest import RunError, hash_arrays
from starling.execution.progress import progress_bar
from starling.execution.run import RunProgress, run

__all__ = ["RunError", "RunProgress", "hash_arrays", "progress_bar", "run"]
