"""What commands print: lines and tables of numbers that fit 80 columns, and the terminal where it is narrower."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from quprop.cost import Cost
from quprop.hardware_models import HardwareModel
from quprop.planning import compare_table
from quprop.tables import Sentence, show
from quprop.tables import narrow_table as narrow_table


def toffolis(console: Console, costs: dict[str, Cost]) -> None:
    """A sentence on the methods that take Toffolis, if there are any."""
    show(console, compare_table.toffolis(costs))


def machine(console: Console, found: HardwareModel) -> None:
    """What counts are turned into time with."""
    show(console, [compare_table.machine(found)])


def line(console: Console, text: str, hanging: str = "") -> None:
    """A sentence, in lines of 80 letters or what the terminal has."""
    show(console, [Sentence(text, hanging)])


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
