"""How far long work is: a bar in a terminal, a line now and then in a log file."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # rich is imported when a bar is shown, not with quprop
    from rich.console import Console


def plain_console(quiet: bool = False) -> Console:
    """Standard output: colours and bars where a person looks at a terminal, plain lines of 80 letters everywhere else,
    whatever the environment says of colours. The output of a notebook's cells is a terminal in name only."""
    from rich.console import Console

    seen = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and "JPY_PARENT_PID" not in os.environ
    return Console(
        quiet=quiet, force_terminal=seen, force_jupyter=False, force_interactive=seen, width=None if seen else 80
    )


_NARROW = 60  # columns of a terminal, below which numbers have its room and no bar is drawn


class Style(NamedTuple):
    """What a log file gets: a line for each tenth of the work, or every so many seconds, and what was done before.
    last: nothing follows that tells the end, so a bar stays; it counts the time that is left."""

    line: str
    seconds: float | None = None
    resumed: str = ""
    last: bool = False


TASKS = Style("{done}/{total} {unit}  {spent:.0f} s  {words}", resumed="{done} of {total} {unit} are there already")
STEPS = Style("{done}/{total}  {words}", seconds=10.0)
TRAINING = Style("{unit} {done}/{total}  {words}  {left:.0f} s left", last=True)


class Progress:
    """Called with how much of the work is done, how much there is, and words on what is done: a text, a row of
    `run_tasks`, or None for work that begins, some of it done before. Fits 80 columns; nothing if the console is quiet,
    or None."""

    def __init__(self, console: Console | None, style: Style, unit: str = "") -> None:
        self.console, self._style, self._unit = console, style, unit
        self._bar: Any = None
        self._start, self._first, self._next = time.monotonic(), 0, 0.0
        self._total: int | None = None

    def __enter__(self) -> Progress:
        if self.console is not None and self.console.is_terminal and not self.console.quiet:
            from rich import progress

            words = progress.TextColumn("{task.fields[words]}")
            bar = progress.BarColumn(bar_width=12 if self._style.last else 20)
            self._bar = progress.Progress(
                *([bar] if self.console.width >= _NARROW else []),
                progress.MofNCompleteColumn(),
                *([progress.TextColumn(self._unit)] if self._unit else []),
                *(
                    (words, progress.TimeRemainingColumn(compact=True), progress.TextColumn("left"))
                    if self._style.last
                    else (progress.TimeElapsedColumn(), words)
                ),
                console=self.console,
                refresh_per_second=4,
                transient=not self._style.last,
            )
            self._task = self._bar.add_task("", total=self._total, completed=self._first, words="")
            self._bar.start()
        return self

    def __call__(self, done: int, total: int, words: str | dict[str, Any] | None) -> None:
        if isinstance(words, dict):
            words = " ".join(str(words["settings"][k]) for k in ("method", "family", "m") if k in words["settings"])
        if words is None:
            self._first, self._total, self._next = done, total, done + max(total // 10, 1)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, words=(words or "")[: self._room()])
        elif words is None:
            if done:
                self._print(self._style.resumed, done, total, "")
        elif self._due(done, total):
            self._print(self._style.line, done, total, words)

    def _room(self) -> int:
        """Letters for words beside the numbers."""
        assert self.console is not None
        return min(36, self.console.width - (44 if self.console.width >= _NARROW else 28))

    def _due(self, done: int, total: int) -> bool:
        now, following = time.monotonic() - self._start, float(done + max(total // 10, 1))
        due = done >= self._next or done == total
        if self._style.seconds is not None:
            due, following = now >= self._next and done < total, now + self._style.seconds
        if due:
            self._next = following
        return due

    def _print(self, line: str, done: int, total: int, words: str) -> None:
        spent = time.monotonic() - self._start
        left = spent / max(done - self._first, 1) * (total - done)
        if line and self.console is not None:
            text = line.format(done=done, total=total, unit=self._unit, words=words, spent=spent, left=left)
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
