"""``quprop methods``: the gradient methods there are."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

from quprop.cli.common import Json, Lines, Quiet, console_for, reported, write_lines, write_result
from quprop.files import check_outputs
from quprop.folding_table import FoldingTable
from quprop.gradients import COSTED

EPILOG = """Each is a class of that name in CamelCase, as in qpr.gradient(model, theta, method=qpr.ParameterShift(...)).

`quprop compare MODEL --precision E` says what each of them costs for a model."""


@reported
def methods_command(
    json_file: Json = None,
    lines_file: Lines = None,
    quiet: Quiet = False,
) -> None:
    """List the gradient methods: copies of the state each holds at once, whether it is unbiased, and what it does."""
    check_outputs(json=json_file, jsonl=lines_file)
    found = listing()
    console = console_for(quiet)
    write_result(json_file, found)
    write_lines(lines_file, found)
    table = FoldingTable(
        box=None, pad_edge=False, collapse_padding=True, width=80, title="gradient methods", title_justify="left"
    )
    table.add_column("method", no_wrap=True)
    table.add_column("copies", justify="right")
    table.add_column("bias", no_wrap=True)
    table.add_column("")
    for row in found:
        table.add_row(row["name"], row["copies"], row["bias"], row["summary"])
    console.print(table)
    console.print(
        "\ncopies: of the state, at once; 0 is a simulator. exact: no shots, no error.\n"
        "formula: its cost is known, it cannot be run.",
        highlight=False,
    )


def listing() -> list[dict[str, Any]]:
    """name, class, copies at once, bias (exact, unbiased, biased; formula: costed only) and the docstring's first
    sentence of each method."""
    out = []
    for name, kind in COSTED.items():
        bias = "exact" if kind.exact else "unbiased" if kind.unbiased else "biased"
        bias = "formula" if kind.costed_only else bias
        out.append(
            {
                "kind": "method",
                "name": name,
                "class": kind.__name__,
                "copies": str(kind.copies),
                "bias": bias,
                "summary": summary(kind),
            }
        )
    return out


def summary(kind: type) -> str:
    """The first sentence of a class's docstring on one line, cut to 120 letters, at a comma or the like if it can."""
    text = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    text = re.split(r"(?<=[\w)\]>])\. (?=[A-Z])", text)[0].rstrip(".,;:")
    if len(text) <= 120:
        return text
    places = [m.start() for m in re.finditer(r"[;:,] ", text[:120])]
    return text[: places[-1]] if places and places[-1] > 30 else textwrap.shorten(text, 120, placeholder=" ...")
