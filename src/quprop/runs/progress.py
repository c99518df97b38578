"""The progress line of a training run: a bar with loss, metric and time left in a terminal, a line now and then in a
log file."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # rich is imported when a bar is shown, not with quprop
    from rich.console import Console
    from rich.progress import Progress


class TrainingProgress:
    """Shows where a run of ``total`` steps is. Does nothing if not ``enabled``."""

    def __init__(
        self, total: int, *, done: int = 0, enabled: bool = True, console: Console | None = None, unit: str = "step"
    ):
        self.total, self.unit, self.enabled = total, unit, enabled
        self.console = console
        self._bar: Progress | None = None
        self._next_line = done + max(total // 10, 1)
        self._start = time.monotonic()
        self._first = done

    def __enter__(self) -> TrainingProgress:
        if not self.enabled:
            return self
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = self.console or Console()
        if self.console.is_terminal:
            self._bar = Progress(  # within 80 columns
                BarColumn(bar_width=12),
                TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.fields[numbers]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=self.console,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task(self.unit, total=self.total, completed=self._first, numbers="")
            self._bar.start()
        return self

    def update(self, done: int, loss: float, metrics: dict[str, float]) -> None:
        if not self.enabled:
            return
        assert self.console is not None
        if self._bar is not None:
            self._bar.update(self._task, completed=done, numbers=_numbers(loss, metrics))
        elif done >= self._next_line or done >= self.total:
            self._next_line = done + max(self.total // 10, 1)
            spent = time.monotonic() - self._start
            left = spent / max(done - self._first, 1) * (self.total - done)
            self.console.print(
                f"{self.unit} {done}/{self.total}  {_numbers(loss, metrics)}  {left:.0f} s left",
                highlight=False,
                soft_wrap=True,
            )

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _numbers(loss: float, metrics: dict[str, float]) -> str:
    """The loss and the metric that matters most: the test data's, if there are any."""
    named = {name: value for name, value in metrics.items() if not name.endswith("loss")}
    best = next((name for name in named if name.startswith("test_")), next(iter(named), None))
    return f"loss {loss:.8g}" if best is None else f"loss {loss:.4g}  {best.replace('_', ' ')} {named[best]:.4f}"
