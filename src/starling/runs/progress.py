"""A progress bar for a run: galaxies done, rate, time left, passed so far."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from starling.runs.run import RunProgress


class _Rate(ProgressColumn):
    """Galaxies per minute and the time left, from the time since the first transition."""

    def render(self, task: Task) -> Text:
        speed, left = task.speed, task.time_remaining
        if task.finished or not speed or left is None:
            return Text("")
        minutes, seconds = divmod(int(left), 60)
        return Text(f"{speed * 60:.1f} galaxies/min, {minutes}:{seconds:02d} left", style="cyan")


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Callable[[RunProgress], None]]:
    """A bar on ``console`` while the context lasts; what it yields takes the progress of a run.

    Where the console is no terminal (a log file), a line for every finished part instead.
    """
    if not console.is_terminal:
        yield _lines(console)
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[done]}/{task.total:.0f} galaxies, {task.fields[passed]} passed"),
        _Rate(),
        TimeElapsedColumn(),
        console=console,
        speed_estimate_period=3600.0,
    )
    with bar:
        task = bar.add_task("starting", total=total, done=0, passed=0)

        def show(now: RunProgress) -> None:
            bar.update(task, completed=now.completed, description=now.stage, done=now.done, passed=now.passed)

        yield show


def _lines(console: Console) -> Callable[[RunProgress], None]:
    """Says how far a run is whenever that changed."""
    said = 0

    def show(now: RunProgress) -> None:
        nonlocal said
        if now.done != said:
            said = now.done
            console.print(f"{now.done}/{now.total} galaxies, {now.passed} passed")

    return show
