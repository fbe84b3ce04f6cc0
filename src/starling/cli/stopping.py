"""Ctrl-C and SIGTERM that end a long command at its next safe point."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """While the context lasts, the first Ctrl-C or SIGTERM only sets what is yielded; a second one acts as ever."""
    asked = False
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before[number])
        typer.echo("stopping after this epoch or chunk; once more to stop at once")

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
