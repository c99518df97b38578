"""What results look like: sentences and tables, as text, as HTML for a notebook, as rows for a data frame.

A table is one of rich's. Its text is never cut, however narrow the terminal; its HTML has no colours of its own, so it
is read on light and on dark pages alike.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:  # rich is imported when something is printed, not with quprop
    from rich.console import Console, JustifyMethod
    from rich.table import Table

WIDTH = 80  # of printed sentences
MOST = 12  # rows of a table that a notebook shows


class Sentence(NamedTuple):
    """A sentence; where it is broken, what follows is moved in by `hanging`."""

    text: str
    hanging: str = ""


BLANK = Sentence("")
Part: TypeAlias = "Sentence | Table"


def narrow_table(title: str, *columns: str | tuple[str, JustifyMethod], first: str = "") -> Table:
    """Names in the first column, numbers flush right in the others (or as they say), nothing drawn between them."""
    from rich.markup import escape

    from quprop.folding_table import FoldingTable

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


def folded(table: Table, rows: Sequence[tuple[str, ...]], total: int | None = None, what: str = "") -> Table:
    """The table with the first `MOST` of its rows, and in one more how many are left out of `total`."""
    total = len(rows) if total is None else total
    for row in rows[:MOST]:
        table.add_row(*row)
    if total > MOST:
        table.add_row(f"... {total - MOST:,} more{what and ' '}{what}")
    return table


def show(console: Console, parts: Iterable[Part]) -> None:
    """Print them."""
    for part in parts:
        if isinstance(part, Sentence):
            filled = textwrap.fill(part.text, min(WIDTH, console.width), subsequent_indent=part.hanging)
            console.print(filled, markup=False, highlight=False, soft_wrap=True)
        else:
            console.print(part)


def text(parts: Iterable[Part]) -> str:
    """What `show` prints on a terminal that is wide enough, without colours."""
    from rich.console import Console

    out = StringIO()
    show(Console(file=out, width=400, color_system=None, force_terminal=False, legacy_windows=False), parts)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def literal(value: object) -> str:
    """A cell of a table that shows the text of `value` as it is, brackets and all."""
    from rich.markup import escape

    return escape(str(value))


def html(parts: Iterable[Part]) -> str:
    """The parts as HTML; what stands in them is escaped."""
    made = [f"<p>{escape(p.text)}</p>" if isinstance(p, Sentence) else _table(p) for p in parts if p != BLANK]
    return f'<div class="quprop">{"".join(made)}</div>'


def _table(table: Table) -> str:
    out = ['<table style="border-collapse: collapse">']
    if table.title:
        out.append(f'<caption style="text-align: left">{_cell(table.title)}</caption>')
    sides = [column.justify if column.justify in ("right", "center") else "left" for column in table.columns]

    def cells(tag: str, values: Iterable[Any]) -> str:
        made = zip(sides, values, strict=True)
        return "".join(f'<{tag} style="text-align: {side}; padding: 0 0.6em">{_cell(v)}</{tag}>' for side, v in made)

    out.append(f"<thead><tr>{cells('th', (c.header for c in table.columns))}</tr></thead><tbody>")
    out += [f"<tr>{cells('td', row)}</tr>" for row in zip(*(c.cells for c in table.columns), strict=True)]
    return "".join([*out, "</tbody></table>"])


def _cell(cell: Any) -> str:
    """What rich would print, escaped for HTML."""
    from rich.markup import render

    return escape(render(cell).plain if isinstance(cell, str) else str(cell))


def flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A row of numbers and texts: {"cost": {"copies": 3}} becomes {"cost_copies": 3}; of a list its JSON."""
    out: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{before}{key}_")
        else:
            listed = isinstance(value, list | tuple)
            out[f"{before}{key}"] = json.dumps(value) if listed else value
    return out


def flat_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same keys in all of them, None where one has no such entry: `pandas.DataFrame(flat_rows(rows))`."""
    found = [flat(row) for row in rows]
    keys = dict.fromkeys(key for row in found for key in row)
    return [{key: row.get(key) for key in keys} for row in found]
