"""The progress line of a list of tasks: a bar in a terminal, a line now and then in a log file."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rich is imported when a bar is shown, not with quprop
    from rich.console import Console
    from rich.progress import Progress


class TaskProgress:
    """Called as `run_tasks` calls its `progress`; within 80 columns. Does nothing if the console is quiet."""

    def __init__(self, console: Console, unit: str = "rows", label: str = "") -> None:
        self.console, self.unit, self.label = console, unit, label
        self._bar: Progress | None = None
        self._start, self._first, self._next = time.monotonic(), 0, 0

    def __enter__(self) -> TaskProgress:
        if not self.console.quiet and self.console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn(self.unit),
                TimeElapsedColumn(),
                TextColumn("{task.fields[last]}"),
                console=self.console,
                refresh_per_second=4,
                transient=True,
            )
            self._task = self._bar.add_task("", total=None, last="")
            self._bar.start()
        return self

    def __call__(self, done: int, total: int, row: dict[str, Any] | None) -> None:
        last = "" if row is None else _words(row["settings"])
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, last=last[:36])
            return
        if row is None:
            self._first, self._next = done, done + max(total // 10, 1)
            if done:
                self.console.print(f"{done} of {total} {self.unit} are there already", highlight=False)
        elif done >= self._next or done == total:
            self._next = done + max(total // 10, 1)
            spent = time.monotonic() - self._start
            self.console.print(f"{done}/{total} {self.unit}  {spent:.0f} s  {last}", highlight=False, soft_wrap=True)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _words(settings: dict[str, Any]) -> str:
    parts = [str(settings[k]) for k in ("method", "family", "m") if k in settings]
    return " ".join(parts)
