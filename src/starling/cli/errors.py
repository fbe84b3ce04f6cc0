"""Every command ends with a result or with one clear message; a traceback on request only."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

INTERRUPTED = 130


def add_command(app: typer.Typer, function: Callable[..., None]) -> None:
    """Make a function a command that tells what went wrong without a traceback, unless it is called with --debug."""

    @functools.wraps(function)
    def command(*args: Any, debug: bool, **options: Any) -> None:
        try:
            function(*args, **options)
        except KeyboardInterrupt:
            say_error("stopped")
            raise typer.Exit(INTERRUPTED) from None
        except (ValueError, RuntimeError, OSError, ImportError, MemoryError) as error:
            if debug or isinstance(error, typer.Exit | typer.Abort):
                raise
            say_error(str(error) or type(error).__name__)
            raise typer.Exit(1) from None

    option = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
    signature = inspect.signature(function)
    added = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), added])  # type: ignore[attr-defined]
    command.__annotations__ = {**function.__annotations__, "debug": option}
    app.command(name=function.__name__.replace("_", "-"))(command)


def say_error(message: str) -> None:
    """A message on the error stream."""
    Console(stderr=True).print(f"[bold red]error:[/] {_escape(message)}", highlight=False, soft_wrap=True)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
