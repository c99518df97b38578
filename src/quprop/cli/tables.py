"""What commands print: lines and tables of numbers that fit 80 columns, and the terminal where it is narrower."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace

from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.markup import escape
from rich.table import Column, Table

from quprop.cost import Cost, short
from quprop.planning.training import tidy


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


def narrow_table(title: str, *columns: str | tuple[str, JustifyMethod], first: str = "") -> Table:
    """Names in the first column, numbers flush right in the others (or as they say), nothing drawn between them."""
    table = FoldingTable(
        box=None,
        pad_edge=False,
        collapse_padding=True,
        title=f"[bold]{escape(title)}[/bold]" if title else None,
        title_justify="left",
        title_style="",
    )
    table.add_column(first, no_wrap=True)
    for column in columns:
        name, justify = (column, "right") if isinstance(column, str) else column
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return table


def toffolis(console: Console, costs: dict[str, Cost]) -> None:
    """A sentence on the methods that take Toffolis, if there are any."""
    taken = [f"{name} {tidy(short(cost.toffolis))}" for name, cost in costs.items() if cost.toffolis]
    if taken:
        line(console, f"Toffolis: {', '.join(taken)}.", "  ")


def line(console: Console, text: str, hanging: str = "") -> None:
    """A sentence, in lines of 80 letters or what the terminal has."""
    as_it_is(console, textwrap.fill(text, min(80, console.width), subsequent_indent=hanging))


def pairs(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    """A title, and names beside what they are."""
    line(console, title)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*row)
    console.print(table, highlight=False)


def as_it_is(console: Console, text: str) -> None:
    """With names of files and commands, which no line break may cut."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
