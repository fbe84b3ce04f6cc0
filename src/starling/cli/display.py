"""What a training run says on a terminal (bars with the loss and the time left), and in a log file (lines)."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from starling.emulators.pipeline import Hooks
from starling.emulators.training import EpochReport
from starling.simulation import Progress


@contextmanager
def training_display(console: Console) -> Iterator[Hooks]:
    """Hooks that show a run on ``console`` while the context lasts: a bar for every set and one for the training.

    Where the console is no terminal, a line for every chunk and epoch instead.
    """
    if not console.is_terminal:
        yield Hooks(
            say=lambda text: _line(console, text),
            simulated=lambda progress: _line(console, str(progress)),
            epoch=lambda report: _line(console, str(report)),
        )
        return
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        console=console,
    )
    with bars:
        simulating = bars.add_task("simulating", total=None, visible=False, state="")
        training = bars.add_task("training", total=None, visible=False, state="")

        def simulated(now: Progress) -> None:
            failed = f", {now.failed} failed" if now.failed else ""
            state = (
                f"{now.done}/{now.total} galaxies, {now.rate:.0f}/s, {clock(now.seconds_left)} left{failed}"
            )
            bars.update(
                simulating, total=now.total, completed=now.done, visible=now.done < now.total, state=state
            )

        def epoch(report: EpochReport) -> None:
            bars.update(
                training, total=report.n_epochs, completed=report.epoch, visible=True, state=describe(report)
            )
            if report.ended:
                bars.stop_task(training)
                _line(console, report.ended)

        yield Hooks(say=lambda text: _line(console, text), simulated=simulated, epoch=epoch)


def describe(report: EpochReport) -> str:
    """The state of a training in a few words."""
    return (
        f"{report.epoch}/{report.n_epochs}  loss {report.train_loss:.4f}  validation {report.validation_loss:.4f}  "
        f"worst {report.worst_output} {report.worst_sigma:.4f}  {clock(report.seconds_left)} left"
    )


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _line(console: Console, text: str) -> None:
    """A line as it is: no markup, no colours, no line breaks of the console's own."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
