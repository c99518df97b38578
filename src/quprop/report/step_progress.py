"""The progress of one long computation that says how far it is and what it does."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rich is imported when a bar is shown, not with quprop
    from rich.console import Console


class StepProgress:
    """A bar in a terminal, a line now and then in a log file."""

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name
        self._next, self._start = 0.0, time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> StepProgress:
        if self._console.is_terminal and not self._console.quiet:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[what]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._name, total=None, what="")
            self._bar.start()
        return self

    def __call__(self, done: int, total: int, what: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, what=what[:40])
        elif time.monotonic() - self._start >= self._next and done < total:
            self._next = time.monotonic() - self._start + 10
            self._console.print(f"{done}/{total}  {what}", markup=False, highlight=False, soft_wrap=True)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
