"""A table of rich that no terminal is too narrow for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table


class FoldingTable(Table):
    """A table that comes in several, each with the first column, where the terminal is too narrow: no number is cut."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in self._parts(console, options):
            yield from Table.__rich_console__(part, console, options)

    def _parts(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        if self._needs(self.columns, console) <= options.max_width:
            whole = copy(self)
            whole.width = None if self.width is None else min(self.width, options.max_width)
            yield whole
            return
        first = self.columns[0]
        if any(self._needs([first, column], console) > options.max_width for column in self.columns[1:]):
            first = replace(first, no_wrap=False, overflow="fold")
        chosen: list[Column] = []
        title = self.title
        for column in [*self.columns[1:], None]:
            if column is None or (chosen and self._needs([first, *chosen, column], console) > options.max_width):
                part = self._of([first, *chosen])
                part.title, title = title, None
                yield part
                chosen = []
            if column is not None:
                chosen.append(column)

    def _of(self, columns: Sequence[Column]) -> Table:
        part = copy(self)
        part.columns = [replace(column, _index=index) for index, column in enumerate(columns)]
        part.width = None
        return part

    def _needs(self, columns: Sequence[Column], console: Console) -> int:
        """Letters: of what may be wrapped the longest word."""
        part, endless = self._of(columns), console.options.update(max_width=10_000)
        wide = [(part._measure_column(console, endless, column), column.no_wrap) for column in part.columns]
        return sum(size.maximum if whole else size.minimum for size, whole in wide) + part._extra_width
