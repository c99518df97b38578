"""What the commands share: options, and how they end.

A command ends with one sentence on stderr and the right exit status, never with a traceback for a user's mistake.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console

from quprop.errors import QupropError
from quprop.files import FileError
from quprop.runs.executor import TaskFailed
from quprop.runs.interrupt import Interrupt
from quprop.training.train import TrainingFailed

# -- options that several commands have, with the same words everywhere -----------------------------------------------

Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the whole result there too.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw it there: .png, .pdf or .svg.")]
Machine = Annotated[str, typer.Option("--hardware", metavar="NAME", help="What turns counts into time.")]
Precision = Annotated[float | None, typer.Option("--precision", metavar="E", help="Standard error of every component.")]
MaxError = Annotated[
    float | None, typer.Option("--max-error", metavar="E", help="Largest error of all components at once.")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the problem.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes. Default: one.")]


def with_options(command: Callable[[Any], None]) -> Callable[..., None]:
    """The command line of a command whose one argument is a dataclass of options, `Annotated` as typer knows them."""
    (argument,) = get_type_hints(command).keys() - {"return"}
    request = get_type_hints(command)[argument]
    hints = get_type_hints(request, include_extras=True)

    @functools.wraps(command)
    def run(**options: Any) -> None:
        command(request(**options))

    kind, none = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    listed = [
        inspect.Parameter(f.name, kind, default=none if f.default is MISSING else f.default, annotation=hints[f.name])
        for f in fields(request)
    ]
    run.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
    run.__annotations__ = hints
    return run


def split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def check_error(precision: float | None, max_error: float | None) -> None:
    if (precision is None) == (max_error is None):
        raise QupropError("give one of --precision E and --max-error E")


def console_for(quiet: bool) -> Console:
    return Console(quiet=quiet, width=None if Console().is_terminal else 80)


# -- how commands end -------------------------------------------------------------------------------------------------

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Exit status 2 for input that is refused, 1 for a run that fails, 130 for one that Ctrl-C or SIGTERM ends.

    Both arrive in the command as KeyboardInterrupt; the text of one that it raises again says what is left to do.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            with Interrupt(at_once=True):
                command(*arguments, **options)
                sys.stdout.flush()
        except KeyboardInterrupt as error:
            _fail("; ".join(["interrupted", *map(str, error.args)]), INTERRUPTED)
        except FileError as error:
            _fail(error, FAILED)
        except QupropError as error:
            _fail(error, BAD_INPUT)
        except (TrainingFailed, TaskFailed, MemoryError, OSError) as error:
            if isinstance(error, OSError):
                _let_go_of_output()
            _fail(error, FAILED)

    return run


@contextmanager
def told(out: Path, again: str) -> Iterator[None]:
    """What ends a run before its end says how it is continued."""
    try:
        yield
    except KeyboardInterrupt:
        begun = (out / "run.toml").exists()
        raise KeyboardInterrupt(f"continue with: {again}" if begun else "nothing was written") from None
    except FileError as error:
        if not (out / "checkpoint.npz").exists():
            raise
        raise FileError(f"{error}; the last checkpoint stands: {again}") from None


def _let_go_of_output() -> None:
    """Where stdout takes nothing more (a closed pipe, a full disk), Python must not try once more when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _fail(error: Any, status: int) -> None:
    with suppress(OSError):
        print(f"quprop: {str(error) or type(error).__name__}", file=sys.stderr)
    raise typer.Exit(status)
