"""Parts in threads of this process: nothing is started and nothing is sent."""

from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from starling.execution.work import Done, Work


class Threads:
    """An ``Executor`` of ``workers`` threads (the caller's own where it is one); any callable is work for it."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = max(1, workers)

    def run(self, work: Work, parts: Iterable[int]) -> Generator[Done]:
        if self.workers == 1:
            yield from (Done(part, work(part)) for part in parts)
            return
        pool = ThreadPoolExecutor(max_workers=self.workers)
        running: dict[Future[Any], int] = {}
        queue = iter(parts)
        try:
            while True:
                while len(running) < self.workers and (part := next(queue, None)) is not None:
                    running[pool.submit(work, part)] = part
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield Done(running.pop(future), future.result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
