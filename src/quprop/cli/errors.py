"""How commands end: one sentence on stderr and the right exit status, never a traceback for a user's mistake."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from quprop.errors import QupropError
from quprop.files import FileError
from quprop.runs.executor import TaskFailed
from quprop.training.train import TrainingFailed

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Exit status 2 for input that is refused, 1 for a run that fails, 130 for one that Ctrl-C or SIGTERM ends.

    Both arrive in the command as KeyboardInterrupt; the text of one that it raises again says what is left to do.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            with _interruptible():
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
def _interruptible() -> Iterator[None]:
    """SIGTERM acts as Ctrl-C does; what is ignored stays ignored."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


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
