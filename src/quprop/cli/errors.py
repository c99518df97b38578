"""How commands fail: one sentence on stderr and the right exit status, never a traceback for a user's mistake."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import typer

from quprop.errors import QupropError
from quprop.executor import TaskFailed
from quprop.train import TrainingFailed


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Exit status 2 for input that is refused, 1 for a run that fails or is interrupted."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except QupropError as error:
            _fail(error, 2)
        except (TrainingFailed, TaskFailed, MemoryError, OSError) as error:
            _fail(error, 1)
        except KeyboardInterrupt:
            _fail("interrupted; the last checkpoint stands, continue with --resume", 1)

    return run


def _fail(error: Any, status: int) -> None:
    print(f"quprop: {str(error) or type(error).__name__}", file=sys.stderr)
    raise typer.Exit(status)
