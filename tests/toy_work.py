"""Work for tests of executors, opened by its name in other processes: files, shards, and what can go wrong.

What takes long to import is imported where it is needed: many tests start processes.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from starling.execution import ExecutionError

WORK = "toy_work:open_work"
SHARDS = "toy_work:open_toy_shards"


@contextmanager
def open_work(settings: dict[str, Any]) -> Iterator[Callable[..., dict[str, Any]]]:
    """Leaves a file for every part, and one for every time that it is opened; does what ``settings`` say.

    ``kill`` are parts at which the process is killed, once each, or every time with ``always``; ``fail`` are parts that
    raise the exception ``kind``.
    """
    folder = Path(settings["folder"])
    (folder / f"opened-{os.getpid()}-{time.monotonic_ns()}").write_text(json.dumps(settings))

    def work(*names: Any) -> dict[str, Any]:
        *which, part = names
        time.sleep(settings.get("seconds", 0.0))
        mark = folder / f"killed-{part}"
        if part in settings.get("kill", []) and (settings.get("always") or not mark.exists()):
            mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        if part in settings.get("fail", []):
            kinds = {"value": ValueError, "ours": ExecutionError, "other": np.linalg.LinAlgError}
            raise kinds[settings["kind"]](f"part {part} is wrong")
        (folder / f"part-{part}").write_text(str(part))
        return {
            "square": part**2,
            "which": which,
            "process": os.getpid(),
            "threads": os.environ.get("PJRT_NPROC"),
        }

    yield work
    (folder / f"closed-{os.getpid()}").write_text("")


def toy_simulator(theta: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "rest_flux": theta[:, :3] ** 2,
        "properties": theta[:, 3:5],
        "lines": theta[:, :0],
        "infrared_share": theta[:, 2],
    }


def toy_plan(n: int) -> Any:
    from starling.simulation import DrawPlan
    from starling.spaces import prospector_alpha

    return DrawPlan(prospector_alpha(agn=False), n, 1, chunk=64)


@contextmanager
def open_toy_shards(settings: dict[str, Any]) -> Iterator[Callable[[int], Any]]:
    """Shards of a set of ``toy_simulator``."""
    from starling.simulation.generate import make_shard

    def simulate(theta: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(settings["seconds"])
        return toy_simulator(theta)

    plan, folder = toy_plan(settings["n"]), Path(settings["folder"])
    yield lambda index: make_shard(simulate, plan, folder, index)
