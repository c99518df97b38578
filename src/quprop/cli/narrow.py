"""A table of numbers that fits 80 columns."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table


def narrow_table(title: str, *columns: str) -> Table:
    """Names in the first column, numbers flush right in the others, nothing drawn between them."""
    table = Table(
        box=None,
        pad_edge=False,
        collapse_padding=True,
        title=f"[bold]{escape(title)}[/bold]" if title else None,
        title_justify="left",
        title_style="",
    )
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table
