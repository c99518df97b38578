"""What commands print: lines and tables of numbers that fit 80 columns."""

from __future__ import annotations

import textwrap

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from quprop.cost import PRESETS, Cost, HardwareModel, short
from quprop.planning.costs import people, tidy


def narrow_table(title: str, *columns: str | tuple[str, JustifyMethod], first: str = "") -> Table:
    """Names in the first column, numbers flush right in the others (or as they say), nothing drawn between them."""
    table = Table(
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


def machine(console: Console, found: HardwareModel) -> None:
    """What counts are turned into time with; the default says that it is no device."""
    more = "; the model machine of Abbas et al., figure 2, no device" if found == PRESETS["figure2"] else ""
    line(console, tidy(f"Machine {found.name}: {found.summary}{more} (quprop plan --machines lists them)."))


_SHORT = {
    "superconducting": "supercond.",
    "neutral_atom": "neutral",
    "fault_tolerant": "fault tol.",
    "trapped_ion": "ions",
}


def short_name(name: str) -> str:
    """A machine, in ten letters."""
    return _SHORT.get(name, name)[:10]


def brief(seconds: float) -> str:
    """A time in a narrow column."""
    return people(seconds).replace(" years", " y").replace(" days", " d")


def line(console: Console, text: str, hanging: str = "") -> None:
    """A sentence, in lines of 80 letters."""
    as_it_is(console, textwrap.fill(text, 80, subsequent_indent=hanging))


def as_it_is(console: Console, text: str) -> None:
    """With names of files and commands, which no line break may cut."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
