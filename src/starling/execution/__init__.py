"""Work in parts, in threads, in processes or on a cluster; knows numbers of parts and nothing of what is done."""

from starling.execution.config import ExecutionConfig, cores, open_client, open_executor, read_execution
from starling.execution.processes import Processes
from starling.execution.threads import Threads
from starling.execution.work import Done, ExecutionError, Executor, Job, Work

__all__ = [
    "Done",
    "ExecutionConfig",
    "ExecutionError",
    "Executor",
    "Job",
    "Processes",
    "Threads",
    "Work",
    "cores",
    "open_client",
    "open_executor",
    "read_execution",
]
